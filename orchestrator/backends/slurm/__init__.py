"""Job arrays on Slurm, through submitit."""
