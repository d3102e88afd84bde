"""The mixers, by the names that architectures use."""

from .attention.declaration import ATTENTION
from .gdn.declaration import GDN
from .mamba2.declaration import MAMBA2
from .mixer import Mixer

MIXERS: dict[str, Mixer] = {
    "attention": ATTENTION,
    "gdn": GDN,
    "mamba2": MAMBA2,
}
