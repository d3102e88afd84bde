"""muP's width rules and no depth rule: every power of m_L is left out."""

from dataclasses import replace
from fractions import Fraction

from . import mup
from .parametrization import Parametrization
from .power import Power
from .row import UpdateTable


def _width_only(power: Power) -> Power:
    return replace(power, depth=Fraction(0))


def _update(optimizer: str) -> UpdateTable:
    return {role: row.each(_width_only) for role, row in mup.UPDATE[optimizer].items()}


MUP_WIDTH = Parametrization(
    init=mup.INIT,
    multiplier={site: _width_only(power) for site, power in mup.MULTIPLIER.items()},
    update=_update,
    gradients=mup.UPDATE["adamw"],
)
