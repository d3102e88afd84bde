"""What the parameters and modules of models that people train are: a table for each."""
