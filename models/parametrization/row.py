"""What a table is made of: one row a role, one column a quantity."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..recipe.role import Role, Site
from .power import Power


@dataclass(frozen=True, slots=True)
class Update:
    """How one optimizer's base hyperparameters scale for one role, and where the row comes from.

    `weight_decay` is that of decay coupled to the learning rate. `epsilon`, and `gamma` on an estimate of the
    curvature, are None where there is none.
    """

    learning_rate: Power
    weight_decay: Power
    epsilon: Power | None
    source: str
    gamma: Power | None = None

    @property
    def independent_decay(self) -> Power:
        """The same shrinking per step, for a decay that the learning rate does not multiply."""
        return self.learning_rate * self.weight_decay


InitTable = Mapping[Role, Power]
MultiplierTable = Mapping[Site, Power]
UpdateTable = Mapping[Role, Update]


def without_epsilon(table: UpdateTable) -> UpdateTable:
    """The same rows for an optimizer that has no epsilon."""
    return {role: replace(row, epsilon=None) for role, row in table.items()}


def with_gamma(table: UpdateTable) -> UpdateTable:
    """The same rows for an optimizer that divides a gradient by gamma times squares of gradients: gamma grows
    as gradients fall, and they fall like epsilon, which must keep its place beside them."""
    return {
        role: replace(row, gamma=None if row.epsilon is None else 1 / row.epsilon)
        for role, row in table.items()
    }


def without_multipliers(table: UpdateTable) -> UpdateTable:
    """The same rows for an optimizer that leaves learnable multipliers to AdamW."""
    return {role: row for role, row in table.items() if role is not Role.MULTIPLIER}
