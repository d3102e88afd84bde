"""What a table is made of: one row a role, one column a quantity."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

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

    def each(self, change: Callable[[Power], Power], source: str | None = None) -> Self:
        """The row with every power changed; the source stays unless it is given."""
        return replace(
            self,
            learning_rate=change(self.learning_rate),
            weight_decay=change(self.weight_decay),
            epsilon=None if self.epsilon is None else change(self.epsilon),
            gamma=None if self.gamma is None else change(self.gamma),
            source=source or self.source,
        )


InitTable = Mapping[Role, Power]
MultiplierTable = Mapping[Site, Power]
UpdateTable = Mapping[Role, Update]


def lion_rows(adamw: UpdateTable) -> UpdateTable:
    """AdamW's, for an optimizer that has no epsilon and leaves learnable multipliers to AdamW."""
    return {role: replace(row, epsilon=None) for role, row in _without_multipliers(adamw).items()}


def sophia_rows(adamw: UpdateTable) -> UpdateTable:
    """AdamW's, for an optimizer that leaves learnable multipliers to it and divides a gradient by gamma times
    squares of gradients.

    Gamma grows as gradients fall, and they fall like epsilon, which must keep its place beside them.
    """
    return {
        role: replace(row, gamma=None if row.epsilon is None else 1 / row.epsilon)
        for role, row in _without_multipliers(adamw).items()
    }


def _without_multipliers(table: UpdateTable) -> UpdateTable:
    return {role: row for role, row in table.items() if role is not Role.MULTIPLIER}
