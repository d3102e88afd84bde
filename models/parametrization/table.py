"""The scaling rules as tables that read like the papers': one row a role, one column a quantity.

m_W = width / base width and m_L = depth / base depth. A cell multiplies the base value; hidden learning
rate `1 / W` means base learning rate / m_W. SP is the table of ones, its base being the shape itself.

Sources
  [1] arXiv:2603.00541v2, spectral condition for joint width and depth scaling, k >= 2 transformations
      per residual branch: tables 1 and 3-7 (AdamW: table 6, SGD: table 5).
  [2] arXiv:2203.03466, tensor programs V, table 3; the `mup` package agrees (tests/test_mup_package.py).
  [3] arXiv:2606.04048v1, Gated DeltaNet: gates of a fixed number of growing heads.
  [4] docs/parametrization.md, derivations of this project.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from .role import Role, Site


@dataclass(frozen=True, slots=True)
class Power:
    """The monomial m_W^width * m_L^depth."""

    width: Fraction = Fraction(0)
    depth: Fraction = Fraction(0)

    def __mul__(self, other: "Power | Literal[1]") -> "Power":
        other = ONE if other == 1 else other
        return Power(self.width + other.width, self.depth + other.depth)

    def __rtruediv__(self, one: Literal[1]) -> "Power":
        return self ** Fraction(-1)

    def __truediv__(self, other: "Power") -> "Power":
        return self * (1 / other)

    def __pow__(self, exponent: Fraction) -> "Power":
        return Power(self.width * exponent, self.depth * exponent)

    def __call__(self, m_w: float, m_l: float) -> float:
        return float(m_w ** float(self.width) * m_l ** float(self.depth))

    def __str__(self) -> str:
        parts = [("m_W", self.width), ("m_L", self.depth)]
        text = [name if power == 1 else f"{name}^{power}" for name, power in parts if power]
        return " ".join(text) or "1"


ONE = Power()
W = Power(width=Fraction(1))
L = Power(depth=Fraction(1))
HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class Update:
    """How one optimizer's base hyperparameters scale for one role, and where the row comes from."""

    learning_rate: Power
    weight_decay: Power
    epsilon: Power | None
    source: str


InitTable = Mapping[Role, Power]
UpdateTable = Mapping[Role, Update]
MultiplierTable = Mapping[Site, Power]


# --- muP: spectral condition, k >= 2 ----------------------------------------------------------------

# Standard deviation at initialisation, [1] tables 1 and 3-7.
MUP_INIT: InitTable = {
    Role.INPUT:         ONE,
    Role.HIDDEN:        1 / W**HALF,
    Role.OUTPUT:        ONE,
    Role.VECTOR:        ONE,
    Role.HIDDEN_VECTOR: ONE,
    Role.HIDDEN_SCALAR: ONE,
    Role.GATE:          1 / W**HALF,
    Role.GATE_VECTOR:   ONE,
}  # fmt: skip

# Forward multipliers: [1] table 1; attention [2] section 4; state [3] section 4.
# The two rows of a growing head hold because head_dim is then proportional to the width.
MUP_MULTIPLIER: MultiplierTable = {
    Site.EMBEDDING:         ONE,
    Site.BRANCH:            1 / L,
    Site.ATTENTION:         ONE,
    Site.GROWING_ATTENTION: 1 / W**HALF,  # on top of 1/sqrt(head_dim): together 1/head_dim
    Site.STATE:             ONE,
    Site.GROWING_STATE:     W**HALF,
    Site.READOUT:           1 / W,
}  # fmt: skip

# AdamW: [1] table 6.     learning rate   weight decay   epsilon
MUP_ADAMW: UpdateTable = {
    Role.INPUT:         Update(ONE,       ONE,           1 / W,             "[1] table 6, input"),
    Role.HIDDEN:        Update(1 / W,     W,             1 / (L * W),       "[1] table 6, hidden"),
    Role.OUTPUT:        Update(ONE,       ONE,           1 / W,             "[1] table 6, output"),
    Role.VECTOR:        Update(ONE,       ONE,           1 / W,             "[1] table 6, input bias"),
    Role.HIDDEN_VECTOR: Update(ONE,       ONE,           1 / (L * W),       "[1] table 6, hidden bias"),
    Role.HIDDEN_SCALAR: Update(ONE,       ONE,           1 / L,             "[4] shared gain"),
    Role.GATE:          Update(1 / W,     W,             1 / (L * W**HALF), "[3] W_a, W_b"),
    Role.GATE_VECTOR:   Update(ONE,       ONE,           1 / (L * W**HALF), "[3] A_log, dt_bias"),
}  # fmt: skip

# SGD with Nesterov momentum: [1] table 5. It has no epsilon.
MUP_SGD: UpdateTable = {
    Role.INPUT:         Update(W,           1 / W,             None, "[1] table 5, input"),
    Role.HIDDEN:        Update(L,           1 / L,             None, "[1] table 5, hidden"),
    Role.OUTPUT:        Update(W,           1 / W,             None, "[1] table 5, output"),
    Role.VECTOR:        Update(W,           1 / W,             None, "[1] table 5, input bias"),
    Role.HIDDEN_VECTOR: Update(L * W,       1 / (L * W),       None, "[1] table 5, hidden bias"),
    Role.HIDDEN_SCALAR: Update(L,           1 / L,             None, "[4] shared gain"),
    Role.GATE:          Update(L / W**HALF, W**HALF / L,       None, "[3] W_a, W_b"),
    Role.GATE_VECTOR:   Update(L * W**HALF, 1 / (L * W**HALF), None, "[3] A_log, dt_bias"),
}  # fmt: skip

# --- SP: one value for all sizes --------------------------------------------------------------------

SP_INIT: InitTable = dict.fromkeys(Role, ONE)
SP_MULTIPLIER: MultiplierTable = dict.fromkeys(Site, ONE)
SP_ADAMW: UpdateTable = dict.fromkeys(Role, Update(ONE, ONE, ONE, "SP: every ratio is 1"))
SP_SGD: UpdateTable = dict.fromkeys(Role, Update(ONE, ONE, None, "SP: every ratio is 1"))

INIT: Mapping[str, InitTable] = {"sp": SP_INIT, "mup": MUP_INIT}
MULTIPLIER: Mapping[str, MultiplierTable] = {"sp": SP_MULTIPLIER, "mup": MUP_MULTIPLIER}
UPDATE: Mapping[tuple[str, str], UpdateTable] = {
    ("sp", "adamw"): SP_ADAMW,
    ("sp", "sgd"): SP_SGD,
    ("mup", "adamw"): MUP_ADAMW,
    ("mup", "sgd"): MUP_SGD,
}
