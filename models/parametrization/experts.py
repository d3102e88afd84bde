"""What a mixture of experts adds to a table: the rows of its router and of its experts.

A router's row is that of what is narrow, an expert's that of a hidden matrix, times what follows here from
m_E and m_G, the number of experts and the granularity over those of the base. A granularity cuts every expert
into as many parts, and a token has as many times the experts.

Derivation [4]. The outputs of a token's experts are averaged, and independent ones would cancel like
m_G^-1/2. The output matrices of a token's experts are therefore seen as one matrix, of the units of all of
them: entries of each, and what they learn, grow like m_G. Where width and granularity grow together AdamW's
rows are those of arXiv:2605.14200 (`MupBottleneck` in its code).

Of m_E times the experts a token has as many as before, and what it teaches them comes back to it whole: no
rate depends on m_E. An expert's gradient sums those of 1 / m_E of the tokens, which are independent where
their inputs differ: it falls like m_E^-1/2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..recipe.role import Role
from .power import HALF, ONE, E, G, Power
from .row import InitTable, Update, UpdateTable

LIKE = {Role.ROUTER: Role.NARROW, Role.EXPERT_IN: Role.HIDDEN, Role.EXPERT_OUT: Role.HIDDEN}
"""The row that each begins with."""

INIT: Mapping[Role, Power] = {Role.ROUTER: ONE, Role.EXPERT_IN: ONE, Role.EXPERT_OUT: G}


@dataclass(frozen=True, slots=True)
class Factor:
    """Times a row's learning rate and epsilon; decay is divided by it, so that it shrinks as much a step."""

    learning_rate: Power
    epsilon: Power = ONE


# Adam moves every entry alike, whatever its gradient; epsilon keeps its place beside that.
ADAMW = {
    Role.ROUTER:     Factor(ONE, 1 / (E * G) ** HALF),
    Role.EXPERT_IN:  Factor(ONE, 1 / E**HALF),
    Role.EXPERT_OUT: Factor(G,   1 / (E**HALF * G)),
}  # fmt: skip

SGD = {
    Role.ROUTER:     Factor(G**HALF),
    Role.EXPERT_IN:  Factor(ONE),
    Role.EXPERT_OUT: Factor(G**2),
}  # fmt: skip

# An update of RMS operator norm 1 for any shape, in which no size of a gradient is left.
MUON = dict.fromkeys(LIKE, Factor(ONE))

# Times sqrt(max(fan_in, fan_out)), of experts that have no more units than the stream has coordinates.
MUON_KIMI = {
    Role.ROUTER:     Factor((E * G) ** HALF),
    Role.EXPERT_IN:  Factor(1 / G**HALF),
    Role.EXPERT_OUT: Factor(G**HALF),
}  # fmt: skip

# Without a factor of sqrt(fan_out/fan_in); epsilon stands beside squared norms of gradients.
SHAMPOO = {
    Role.ROUTER:     Factor((E * G) ** HALF, 1 / (E * G)),
    Role.EXPERT_IN:  Factor(1 / G**HALF,     1 / (E * G)),
    Role.EXPERT_OUT: Factor(G**HALF,         1 / (E * G**3)),
}  # fmt: skip

# Rates are AdamW's: its step moves every entry in the eigenbasis. Epsilon stands beside norms of gradients.
SOAP = {role: Factor(ADAMW[role].learning_rate, SHAMPOO[role].epsilon ** HALF) for role in LIKE}

FACTORS: Mapping[str, Mapping[Role, Factor]] = {
    "adamw": ADAMW, "lion": ADAMW, "sophia": ADAMW, "sgd": SGD, "muon": MUON, "muon-kimi": MUON_KIMI,
    "normuon": MUON, "dion": MUON, "shampoo": SHAMPOO, "soap": SOAP, "spectral-sphere": MUON,
}  # fmt: skip


def init_with_experts(table: InitTable) -> InitTable:
    return {**table, **{role: expert_init(role, table) for role in LIKE}}


def expert_init(role: Role, table: InitTable) -> Power:
    return table[LIKE[role]] * INIT[role]


def with_experts(tables: Mapping[str, UpdateTable]) -> dict[str, UpdateTable]:
    """The tables of all optimizers with these rows, in the order of roles."""
    found: dict[str, UpdateTable] = {}
    for optimizer, table in tables.items():
        whole = {**table, **{role: expert_row(optimizer, role, table) for role in LIKE}}
        found[optimizer] = {role: whole[role] for role in Role if role in whole}
    return found


def expert_row(optimizer: str, role: Role, table: UpdateTable) -> Update:
    """What follows from the row that it begins with."""
    row, factor = table[LIKE[role]], FACTORS[optimizer][role]
    return Update(
        learning_rate=row.learning_rate * factor.learning_rate,
        weight_decay=row.weight_decay / factor.learning_rate,
        epsilon=None if row.epsilon is None else row.epsilon * factor.epsilon,
        gamma=None if row.gamma is None else row.gamma / factor.epsilon,
        source=f"{row.source}; experts [4]",
    )
