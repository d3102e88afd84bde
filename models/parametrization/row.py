"""What a table is made of: one row a role, one column a quantity."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..recipe.role import Role, Site
from .power import Power


@dataclass(frozen=True, slots=True)
class Update:
    """How one optimizer's base hyperparameters scale for one role, and where the row comes from.

    `weight_decay` is that of decay coupled to the learning rate. `epsilon` is None where there is none.
    """

    learning_rate: Power
    weight_decay: Power
    epsilon: Power | None
    source: str

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


def without_multipliers(table: UpdateTable) -> UpdateTable:
    """The same rows for an optimizer that leaves learnable multipliers to AdamW."""
    return {role: row for role, row in table.items() if role is not Role.MULTIPLIER}
