"""What a coordinate check expects: how every measured quantity scales when hyperparameters transfer.

The exponents are those of the spectral condition (arXiv:2603.00541, conditions 3.1 and B.1), read as
sizes of coordinates: every part keeps learning at the same rate, no part blows up. They do not depend on
the optimizer; whether a parametrization meets them is what is measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..recipe.role import Role
from .power import ONE, L, Power
from .registry import PARAMETRIZATIONS

Quantity = Literal["activation", "update", "propagated", "change", "gradient"]


@dataclass(frozen=True, slots=True)
class Expectation:
    """The exponent a quantity must have or, `at_most`, must not exceed."""

    power: Power
    at_most: bool = False


INSIDE = 1 / L
"""What one branch may add to the stream: there are m_L times as many."""

# The effect of what was learned, (W_t - W_0) x_t, times the multiplier on its way to the stream or the
# logits; for vectors the learned change itself.
UPDATE: Mapping[Role, Power] = {
    Role.INPUT:         ONE,
    Role.HIDDEN:        INSIDE,
    Role.OUTPUT:        ONE,
    Role.VECTOR:        ONE,
    Role.HIDDEN_VECTOR: INSIDE,
    Role.HIDDEN_SCALAR: INSIDE,
    Role.NARROW:        INSIDE,
    Role.ROUTER:        INSIDE,
    Role.EXPERT_IN:     INSIDE,
    Role.EXPERT_OUT:    INSIDE,
    Role.NARROW_VECTOR: INSIDE,
}  # fmt: skip
"""Learnable multipliers have no row: their effect is part of their matrix's."""


def expectation(
    quantity: Quantity, role: Role | None, parametrization: str, of_logits: bool = False
) -> Expectation:
    """What to expect of a module of this role; None stands for the stream of residuals. `of_logits`: it makes
    queries or keys of heads that grow, whose products are taken over the head's size."""
    match quantity:
        case "activation":
            # Logits start at m_W^-1/2 and grow to Theta(1) as the readout aligns.
            return Expectation(ONE, at_most=role is Role.OUTPUT)
        case "change":
            # Of logits, a part is random readout on changed activations, which falls like m_W^-1/2 at
            # first; what the readout itself learns is its update.
            return Expectation(ONE, at_most=role is Role.OUTPUT)
        case "propagated":
            # W_0 (x_t - x_0): what earlier layers learned, as far as random weights pass it on.
            return Expectation(ONE, at_most=True)
        case "update":
            assert role is not None
            return Expectation(UPDATE[role])
        case "gradient":
            # Adam's epsilon must keep its place beside the gradient: its row is the gradient's exponent.
            assert role is not None
            # A gain shared by all heads sums terms that only learn to point the same way. So do queries and
            # keys of growing heads: theirs begin at n^-3/2, and reach n^-1 as the two align.
            epsilon = PARAMETRIZATIONS[parametrization].gradients[role].epsilon
            assert epsilon is not None, "every row of AdamW has one"
            return Expectation(epsilon, at_most=of_logits or role is Role.HIDDEN_SCALAR)
