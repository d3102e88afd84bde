"""mutransfer measures whether tuned hyperparameters transfer across model scale."""

__version__ = "0.1.0"
