"""muP without rows for experts and for what is narrow (routers, gates of growing heads, shared keys).

They count as hidden, their vectors as hidden vectors, and no state is rescaled. What a user gets who applies
muP to Gated DeltaNet by the book; there to be compared with.
"""

from ..recipe.role import Role, Site
from . import mup
from .experts import LIKE
from .parametrization import Parametrization
from .power import ONE
from .row import UpdateTable


def _update(optimizer: str) -> UpdateTable:
    table = mup.UPDATE[optimizer]
    rows = {**table, **dict.fromkeys((Role.NARROW, *LIKE), table[Role.HIDDEN])}
    if Role.NARROW_VECTOR in table:
        rows[Role.NARROW_VECTOR] = table[Role.HIDDEN_VECTOR]
    return rows


MUP_PLAIN = Parametrization(
    init={**mup.INIT, **dict.fromkeys(LIKE, mup.INIT[Role.HIDDEN])},
    multiplier={**mup.MULTIPLIER, Site.GROWING_STATE: ONE, Site.GROWING_SCORES: ONE},
    update=_update,
    gradients=mup.UPDATE["adamw"],
)
