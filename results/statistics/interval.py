"""Intervals: of draws, of means of few values, and what scatter beyond the errors does to them."""

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, stdtrit

from .curve import Floats

Interval = tuple[float | None, float | None]
"""A side that the measurements do not bound is None."""

POSITION_OCTAVES = 0.02
"""No optimum is known nearer than this standard deviation."""

BEYOND_CHANCE = 0.01
"""Scatter that errors alone would exceed this rarely is believed, and widens the interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    interval: Interval

    @property
    def excludes_zero(self) -> bool:
        low, high = self.interval
        return (low is not None and low > 0) or (high is not None and high < 0)


def percentiles(values_R: Floats, point: float, outside: float = 2.5) -> tuple[float, float]:
    """The interval of the draws that leaves `outside` percent on either side; it holds the point."""
    low, high = np.percentile(values_R, [outside, 100 - outside])
    return min(float(low), point), max(float(high), point)


def student(degrees: int) -> float:
    """Standard errors to either side of a mean that hold 95 %, by the error's degrees of freedom."""
    return float(stdtrit(degrees, 0.975))


def inflation(squares: float, degrees: int) -> float:
    """Root of the reduced chi-square where chance alone would hardly reach it, else 1."""
    if degrees < 1 or squares <= float(chdtri(degrees, BEYOND_CHANCE)):
        return 1.0
    return float(np.sqrt(squares / degrees))
