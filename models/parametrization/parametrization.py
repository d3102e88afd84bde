"""What a parametrization is: tables of how everything scales with the ratios m_W of width and m_L of depth.

A new one is a file with a `Parametrization` and a line in `registry`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .row import InitTable, MultiplierTable, UpdateTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Parametrization:
    """`update` is the table of an optimizer, by its name; raises KeyError for one without.

    Matrix optimizers have rows for matrices alone. `needs_base`: whether its ratios refer to a base shape;
    without one every shape is its own base. `gradients`: a table of AdamW whose epsilon, which must keep its
    place beside the gradient, scales as a coordinate check expects the gradients to.
    """

    init: InitTable
    multiplier: MultiplierTable
    update: Callable[[str], UpdateTable]
    gradients: UpdateTable
    needs_base: bool = True
