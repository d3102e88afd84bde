"""muP without rows for what is narrow (gates of growing heads, shared keys and values).

They count as hidden, their vectors as hidden vectors, and no state is rescaled. What a user gets who applies
muP to Gated DeltaNet by the book; there to be compared with.
"""

from ..recipe.role import Role, Site
from . import mup
from .parametrization import Parametrization
from .power import ONE
from .row import UpdateTable


def _update(optimizer: str) -> UpdateTable:
    table = mup.UPDATE[optimizer]
    rows = {**table, Role.NARROW: table[Role.HIDDEN]}
    if Role.NARROW_VECTOR in table:
        rows[Role.NARROW_VECTOR] = table[Role.HIDDEN_VECTOR]
    return rows


MUP_PLAIN = Parametrization(
    init=mup.INIT,
    multiplier={**mup.MULTIPLIER, Site.GROWING_STATE: ONE, Site.GROWING_SCORES: ONE},
    update=_update,
    gradients=mup.ADAMW,
)
