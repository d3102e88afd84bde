"""The parametrizations, by the names that sweep files use; the user's own, as they are made known."""

import re
from collections import ChainMap
from typing import Never

from .depth_mup import DEPTH_MUP
from .mup import MUP
from .mup_plain import MUP_PLAIN
from .mup_width import MUP_WIDTH
from .parametrization import Parametrization
from .standard import SP

BUILT_IN: dict[str, Parametrization] = {
    "sp": SP,
    "mup": MUP,
    "depth-mup": DEPTH_MUP,
    "mup-width": MUP_WIDTH,
    "mup-plain": MUP_PLAIN,
}

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
OWN_TABLE = re.compile(rf"{NAME.pattern}@[0-9a-f]{{8}}")
"""How a trial names one of the user's own."""
OWN: dict[str, Parametrization] = {}
"""Those that a sweep file or a job has made known to this process, by name@digest."""


def plain_name(known: str) -> str:
    """Without the digest."""
    return known.partition("@")[0]


class Known(ChainMap[str, Parametrization]):
    """Raises ValueError, naming the field, for one that is not known."""

    def __missing__(self, name: str) -> Never:
        raise ValueError(f"parametrization: {name} is a table that nothing here says")


PARAMETRIZATIONS = Known(BUILT_IN, OWN)
