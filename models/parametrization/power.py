"""The algebra of the tables: monomials in the ratios m_W, m_L, m_B, m_T, m_E, m_G of width, depth, batch,
tokens, experts and granularity."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, Self


class Ratios(NamedTuple):
    """What a training is over its base."""

    width: float
    depth: float
    batch: float = 1.0
    tokens: float = 1.0
    experts: float = 1.0
    granularity: float = 1.0


NAMES = ("m_W", "m_L", "m_B", "m_T", "m_E", "m_G")
LARGEST = 9
FACTOR = re.compile(r"(m_[WLBTEG])(?:\^([+-]?\d+(?:\.\d+|/\d+)?))?")


@dataclass(frozen=True, slots=True)
class Power:
    """The monomial m_W^width * m_L^depth * m_B^batch * m_T^tokens * m_E^experts * m_G^granularity."""

    width: Fraction = Fraction(0)
    depth: Fraction = Fraction(0)
    batch: Fraction = Fraction(0)
    tokens: Fraction = Fraction(0)
    experts: Fraction = Fraction(0)
    granularity: Fraction = Fraction(0)

    @classmethod
    def read(cls, text: str) -> Self:
        """Of what `str` writes: `m_W^-1/2 m_L`, or `1`. Raises ValueError for anything else."""
        if not text.split():
            raise ValueError("is empty; write 1 for what stays")
        exponents = dict.fromkeys(NAMES, Fraction(0))
        for word in [] if text.strip() == "1" else text.split():
            match = FACTOR.fullmatch(word)
            told = f"{word!r} is no power of {', '.join(NAMES)}, such as m_W^-1/2"
            if match is None:
                raise ValueError(told)
            try:
                exponents[match[1]] += Fraction(match[2] or 1)
            except ZeroDivisionError:
                raise ValueError(told) from None
            if abs(exponents[match[1]]) > LARGEST:
                raise ValueError(f"{word!r} is beyond any rule; exponents are at most {LARGEST}")
        return cls(*exponents.values())

    def __iter__(self) -> Iterator[Fraction]:
        return iter((self.width, self.depth, self.batch, self.tokens, self.experts, self.granularity))

    def __mul__(self, other: "Power") -> "Power":
        return Power(*(one + another for one, another in zip(self, other, strict=True)))

    def __rtruediv__(self, one: Literal[1]) -> "Power":
        return self ** Fraction(-1)

    def __truediv__(self, other: "Power") -> "Power":
        return self * (1 / other)

    def __pow__(self, exponent: Fraction | int) -> "Power":
        return Power(*(one * exponent for one in self))

    def __call__(self, ratios: Ratios) -> float:
        """The ratios' part of a value; 1 exactly where all of them are."""
        value = float(ratios.width ** float(self.width) * ratios.depth ** float(self.depth))
        if self.of_budget:
            value *= ratios.batch ** float(self.batch) * ratios.tokens ** float(self.tokens)
        if self.experts or self.granularity:
            value *= ratios.experts ** float(self.experts) * ratios.granularity ** float(self.granularity)
        return value

    @property
    def of_budget(self) -> bool:
        """Whether it follows batch or tokens."""
        return bool(self.batch or self.tokens)

    def __str__(self) -> str:
        parts = zip(NAMES, self, strict=True)
        return " ".join(name if power == 1 else f"{name}^{power}" for name, power in parts if power) or "1"


ONE = Power()
W = Power(width=Fraction(1))
L = Power(depth=Fraction(1))
E = Power(experts=Fraction(1))
G = Power(granularity=Fraction(1))
HALF = Fraction(1, 2)
