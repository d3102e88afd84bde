"""SP: the table of ones. Every shape is its own base, and one set of hyperparameters serves all sizes."""

from ..recipe.role import Role, Site
from . import mup
from .parametrization import Parametrization
from .power import ONE
from .row import UpdateTable


def _ones(optimizer: str) -> UpdateTable:
    """The rows that muP has, each of ones."""
    return {
        role: row.each(lambda power: ONE, "SP: every ratio is 1")
        for role, row in mup.UPDATE[optimizer].items()
    }


SP = Parametrization(
    init=dict.fromkeys(Role, ONE),
    multiplier=dict.fromkeys(Site, ONE),
    update=_ones,
    gradients=mup.UPDATE["adamw"],
    needs_base=False,
)
