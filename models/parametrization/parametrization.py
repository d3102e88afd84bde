"""What a parametrization is: tables of how everything scales with the ratios m_W of width and m_L of depth.

A new one is a file with a `Parametrization` and a line in `registry`; or, of the user's own, a YAML file
(`own`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .power import ONE, Power
from .row import InitTable, MultiplierTable, UpdateTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Parametrization:
    """`update` is the table of an optimizer, by its name; raises KeyError for one without.

    Matrix optimizers have rows for matrices alone. `needs_base`: whether its ratios refer to a base shape;
    without one every shape is its own base. `gradients`: a table of AdamW whose epsilon, which must keep its
    place beside the gradient, scales as a coordinate check expects the gradients to.
    `beta1` and `beta2` are the powers of 1 - beta, of all roles. `of_budget`: whether any power is one of
    batch or tokens. `content`: one of the user's own, as plain values.
    """

    init: InitTable
    multiplier: MultiplierTable
    update: Callable[[str], UpdateTable]
    gradients: UpdateTable
    needs_base: bool = True
    beta1: Power = ONE
    beta2: Power = ONE
    of_budget: bool = False
    content: Mapping[str, Any] | None = None
