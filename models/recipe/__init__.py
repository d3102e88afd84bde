"""What one training is: its fields, shape and parameters, and which trainings are the same one. No torch."""
