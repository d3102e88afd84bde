"""Optimizers on stacked parameters: one update direction per file, one shared step."""

from collections.abc import Callable

from .adamw import AdamW
from .direction import Direction, Hyperparameters
from .lion import Lion
from .muon import Muon, MuonKimi
from .sgd import SGD
from .shampoo import Shampoo
from .soap import SOAP
from .sophia import Sophia
from .spectral_sphere import SpectralSphere

DIRECTIONS: dict[str, Callable[[Hyperparameters], Direction]] = {
    "adamw": AdamW,
    "sgd": SGD,
    "lion": Lion,
    "sophia": Sophia,
    "muon": Muon,
    "muon-kimi": MuonKimi,
    "shampoo": Shampoo,
    "soap": SOAP,
    "spectral-sphere": SpectralSphere,
}
"""By the names that sweep files use."""
