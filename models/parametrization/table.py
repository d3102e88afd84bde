"""The parametrizations side by side, and those that are told by their difference from another.

`mup` (k >= 2) and `depth-mup` (k = 1) have files of their own, one literal an optimizer. Here are
  sp         the table of ones: every shape is its own base (`Recipe.base_shape`)
  mup-width  muP's width rules and no depth rule: every power of m_L is left out
  mup-plain  muP without rows for what is narrow (gates of growing heads, shared keys and values): they
             count as hidden, their vectors as hidden vectors, and no state is rescaled. What a user
             gets who applies muP to Gated DeltaNet by the book; there to be compared with.
"""

from dataclasses import replace
from fractions import Fraction

from ..recipe.role import Role, Site
from . import depth_mup, mup
from .power import ONE, Power
from .row import InitTable, MultiplierTable, Update, UpdateTable


def _width_only(power: Power) -> Power:
    return replace(power, depth=Fraction(0))


def _without_depth(table: UpdateTable) -> UpdateTable:
    return {
        role: Update(
            _width_only(row.learning_rate),
            _width_only(row.weight_decay),
            None if row.epsilon is None else _width_only(row.epsilon),
            row.source,
        )
        for role, row in table.items()
    }


def _ones(table: UpdateTable) -> UpdateTable:
    return {
        role: Update(ONE, ONE, None if row.epsilon is None else ONE, "SP: every ratio is 1")
        for role, row in table.items()
    }


def _plain(table: UpdateTable) -> UpdateTable:
    rows = {**table, Role.NARROW: table[Role.HIDDEN]}
    if Role.NARROW_VECTOR in table:
        rows[Role.NARROW_VECTOR] = table[Role.HIDDEN_VECTOR]
    return rows


INIT: dict[str, InitTable] = {
    "sp": dict.fromkeys(Role, ONE),
    "mup": mup.INIT,
    "depth-mup": depth_mup.INIT,
    "mup-width": mup.INIT,
    "mup-plain": mup.INIT,
}

MULTIPLIER: dict[str, MultiplierTable] = {
    "sp": dict.fromkeys(Site, ONE),
    "mup": mup.MULTIPLIER,
    "depth-mup": depth_mup.MULTIPLIER,
    "mup-width": {site: _width_only(power) for site, power in mup.MULTIPLIER.items()},
    "mup-plain": {**mup.MULTIPLIER, Site.GROWING_STATE: ONE, Site.GROWING_SCORES: ONE},
}

UPDATE: dict[tuple[str, str], UpdateTable] = {
    (parametrization, optimizer): derive(table)
    for parametrization, tables, derive in (
        ("sp", mup.UPDATE, _ones),
        ("mup", mup.UPDATE, dict),
        ("depth-mup", depth_mup.UPDATE, dict),
        ("mup-width", mup.UPDATE, _without_depth),
        ("mup-plain", mup.UPDATE, _plain),
    )
    for optimizer, table in tables.items()
}
"""By (parametrization, optimizer). Matrix optimizers have rows for matrices alone."""
