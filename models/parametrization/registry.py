"""The parametrizations, by the names that sweep files use."""

from .depth_mup import DEPTH_MUP
from .mup import MUP
from .mup_plain import MUP_PLAIN
from .mup_width import MUP_WIDTH
from .parametrization import Parametrization
from .standard import SP

PARAMETRIZATIONS: dict[str, Parametrization] = {
    "sp": SP,
    "mup": MUP,
    "depth-mup": DEPTH_MUP,
    "mup-width": MUP_WIDTH,
    "mup-plain": MUP_PLAIN,
}
