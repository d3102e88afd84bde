"""Optimizers on stacked parameters: one update direction per file, one shared step."""

from collections.abc import Callable

from .adamw import AdamW
from .direction import Direction, Hyperparameters
from .sgd import SGD

DIRECTIONS: dict[str, Callable[[Hyperparameters], Direction]] = {"adamw": AdamW, "sgd": SGD}

__all__ = ["DIRECTIONS", "SGD", "AdamW"]
