"""mutransfer measures whether tuned hyperparameters transfer across model scale."""

from .models.handover.trial import trial

__all__ = ["trial"]
__version__ = "0.1.0"
