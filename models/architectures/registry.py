"""The architectures, by the names that sweep files use."""

from .architecture import Architecture
from .stack import Stack

ARCHITECTURES: dict[str, Architecture] = {
    "transformer": Stack(("attention",)),
    "gdn": Stack(("gdn",)),
    "mamba2": Stack(("mamba2",)),
    "gdn-hybrid": Stack(("gdn", "attention"), interleaved=True),
    "mamba2-hybrid": Stack(("mamba2", "attention"), interleaved=True),
    "parallel-hybrid": Stack(("attention", "mamba2")),  # Falcon-H1, arXiv:2507.22448
}
