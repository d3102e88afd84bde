"""The algebra of the tables: monomials in the width ratio m_W and the depth ratio m_L."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


@dataclass(frozen=True, slots=True)
class Power:
    """The monomial m_W^width * m_L^depth."""

    width: Fraction = Fraction(0)
    depth: Fraction = Fraction(0)

    def __mul__(self, other: "Power") -> "Power":
        return Power(self.width + other.width, self.depth + other.depth)

    def __rtruediv__(self, one: Literal[1]) -> "Power":
        return self ** Fraction(-1)

    def __truediv__(self, other: "Power") -> "Power":
        return self * (1 / other)

    def __pow__(self, exponent: Fraction | int) -> "Power":
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
