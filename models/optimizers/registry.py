"""The optimizers, by the names that sweep files use."""

from .adamw import ADAMW
from .dion import DION
from .lion import LION
from .muon import MUON, MUON_KIMI, NORMUON
from .optimizer import Optimizer
from .sgd import SGD
from .shampoo import SHAMPOO
from .soap import SOAP
from .sophia import SOPHIA
from .spectral_sphere import SPECTRAL_SPHERE

OPTIMIZERS: dict[str, Optimizer] = {
    "adamw": ADAMW,
    "sgd": SGD,
    "lion": LION,
    "sophia": SOPHIA,
    "muon": MUON,
    "muon-kimi": MUON_KIMI,
    "normuon": NORMUON,
    "dion": DION,
    "shampoo": SHAMPOO,
    "soap": SOAP,
    "spectral-sphere": SPECTRAL_SPHERE,
}

BESIDE = "adamw"
"""What takes the parameters that a matrix optimizer does not act on, and learnable multipliers always."""

PAIRING = frozenset({"adamw_lr_ratio", "matrices", "fused_qkv"})
"""The fields that decide how a matrix optimizer and AdamW share the parameters, and what one matrix is."""


def optimizer_reads(name: str) -> frozenset[str]:
    """The fields that only some optimizers read and this one does, by itself or by AdamW beside it."""
    own = OPTIMIZERS[name]
    return own.reads | OPTIMIZERS[BESIDE].reads | PAIRING if own.matrices else own.reads
