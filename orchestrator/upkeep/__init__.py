"""Looking at sweeps and machines, and tidying up."""
