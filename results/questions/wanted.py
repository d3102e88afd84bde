"""Points that a comparison lacks, and those that would show where an optimum is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..statistics.drift import ScaleOptimum
from ..statistics.optimum import Fit
from .comparison import Comparison


@dataclass(frozen=True, slots=True)
class Wanted:
    """Points of one comparison at one scale: log2 of the hyperparameter, for all its seeds or one more.

    `like` is the scale whose trials are copied, another than `scale` where that one is new. `begins` a scale
    that has no trial yet.
    """

    comparison: Comparison
    scale: float
    log2_values: tuple[float, ...]
    why: str
    like: float
    new_seed: bool = False
    begins: bool = False


def enclosing(
    fit: Fit, optimum: ScaleOptimum, finest: float, waiting: Sequence[float], allowed: float
) -> tuple[list[float], str]:
    """Values that would enclose an optimum which is not enclosed yet, and why they are wanted.

    Values beyond an edge are those that wait, or as far away as the last two are apart; none of these where
    all losses are within what is allowed.
    """
    match fit.status:
        case "all_diverged":
            return [outwards(fit, waiting, low=True)], "every trial diverged"
        case "at_edge":
            low, x = fit.edge == "low", fit.curve.x
            ends_there = not any(value < x[0] if low else value > x[-1] for value in waiting)
            if ends_there and fit.spread <= allowed < math.inf:
                return [], ""
            return [outwards(fit, waiting, low)], "the optimum is at the edge"
        case "too_few":
            return halved(fit, optimum, finest), "too few points around the minimum"
        case "ok":
            return [], ""


def outwards(fit: Fit, waiting: Sequence[float], low: bool) -> float:
    """The next value beyond the lowest, or highest, that was tried."""
    x = fit.curve.x
    beyond = [value for value in waiting if (value < x[0] if low else value > x[-1])]
    if beyond:
        return max(beyond) if low else min(beyond)
    if len(x) == 1:
        return float(x[0]) - 1 if low else float(x[0]) + 1
    return float(2 * x[0] - x[1]) if low else float(2 * x[-1] - x[-2])


def reach(optimum: ScaleOptimum) -> float:
    """The wider side of the interval."""
    if optimum.interval is None or optimum.log2_optimum is None or None in optimum.interval:
        return math.inf
    low, high = optimum.interval
    assert low is not None and high is not None
    return max(high - optimum.log2_optimum, optimum.log2_optimum - low)


def halved(fit: Fit, optimum: ScaleOptimum, finest: float) -> list[float]:
    """The middles of two gaps that may hold the optimum: those beside the best point first, then the widest.

    Gaps that are fine enough are left alone.
    """
    x = fit.curve.x
    best = fit.curve.lowest
    low, high = optimum.interval or (None, None)
    low, high = x[0] if low is None else low, x[-1] if high is None else high
    near = float(x[best]) if optimum.log2_optimum is None else optimum.log2_optimum
    gaps = [
        (float(left), float(right), index in (best - 1, best))
        for index, (left, right) in enumerate(pairwise(x))
        if divisible(right - left, finest) and (index in (best - 1, best) or (left < high and right > low))
    ]
    gaps.sort(key=lambda gap: (not gap[2], gap[0] - gap[1], abs((gap[0] + gap[1]) / 2 - near)))
    return [(left + right) / 2 for left, right, _ in gaps[:2]]


def divisible(gap: float, finest: float) -> bool:
    """Whether the halves of a gap are no finer than that."""
    return gap >= 2 * finest - 1e-9
