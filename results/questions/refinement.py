"""Which further points would say more: around each optimum, beyond an edge, other seeds, another scale.

Pure: what is asked for depends on the measurements alone, so that a refinement that was interrupted asks
for the same points again.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..statistics.drift import ScaleOptimum
from ..statistics.optimum import Fit
from ..statistics.verdict import MIN_SCALES
from .comparison import Comparison

FINEST_OCTAVES = 0.25
"""Points nearer than this to their neighbours say little that another seed would not say better."""
NEAR_OCTAVES = 2.0
"""One more seed is trained this near to an optimum."""
SETTLED_OCTAVES = 0.15
"""Half an interval narrower than this does not keep a verdict open."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Points of one comparison at one scale: log2 of the hyperparameter, for all its seeds or one more.

    `like` is the scale whose trials are copied, another than `scale` where that one is new.
    """

    comparison: Comparison
    scale: float
    log2_values: tuple[float, ...]
    why: str
    like: float
    new_seed: bool = False


def refinement(comparisons: Sequence[Comparison], target: float, finest: float) -> list[Wanted]:
    """The next points towards intervals of at most `target` octaves to either side; none when all are."""
    return [wanted for comparison in comparisons for wanted in _finer(comparison, target, finest)]


def suggestion(comparisons: Sequence[Comparison]) -> list[Wanted]:
    """The cheapest trials that could settle each inconclusive comparison, the cheapest first.

    Points where optima are not known well, then a further scale where there are too few, then one more
    seed near every optimum: what a verdict lacks comes in this order of price.
    """
    found: list[Wanted] = []
    for comparison in comparisons:
        if comparison.drift.verdict != "inconclusive":
            continue
        found += (
            list(_finer(comparison, SETTLED_OCTAVES, FINEST_OCTAVES))
            or list(_further_scales(comparison))
            or list(_further_seed(comparison))
        )
    return sorted(found, key=lambda wanted: wanted.scale)


def _finer(comparison: Comparison, target: float, finest: float) -> Iterator[Wanted]:
    drift = comparison.drift
    for fit, optimum in zip(drift.fitted.fits, drift.optima, strict=True):
        values, why = _points(fit, optimum, target, finest)
        if values:
            yield Wanted(comparison, fit.curve.scale, tuple(sorted(values)), why, fit.curve.scale)


def _points(fit: Fit, optimum: ScaleOptimum, target: float, finest: float) -> tuple[list[float], str]:
    """Values that this scale lacks, and why they are wanted."""
    x = fit.curve.x
    spacing = float(np.min(np.diff(x))) if len(x) > 1 else 1.0
    match fit.status:
        case "all_diverged":
            return [float(x[0]) - spacing], "every trial diverged"
        case "at_edge":
            outwards = float(x[0]) - spacing if fit.edge == "low" else float(x[-1]) + spacing
            return [outwards], "the optimum is at the edge"
        case "too_few":
            return _halved(fit, optimum, finest), "too few points around the minimum"
        case "ok":
            if _reach(optimum) <= target:
                return [], ""
            return _halved(fit, optimum, finest), f"the optimum is known within {_reach(optimum):.2f} octaves"


def _reach(optimum: ScaleOptimum) -> float:
    """The wider side of the interval."""
    if optimum.interval is None or optimum.log2_optimum is None or None in optimum.interval:
        return math.inf
    low, high = optimum.interval
    assert low is not None and high is not None
    return max(high - optimum.log2_optimum, optimum.log2_optimum - low)


def _halved(fit: Fit, optimum: ScaleOptimum, finest: float) -> list[float]:
    """The middles of two gaps that may hold the optimum: those beside the best point first, then the widest.

    Gaps that are fine enough are left alone.
    """
    x = fit.curve.x
    best = int(np.argmin(np.where(fit.curve.usable, fit.curve.y, np.inf)))
    low, high = optimum.interval or (None, None)
    low, high = x[0] if low is None else low, x[-1] if high is None else high
    near = float(x[best]) if optimum.log2_optimum is None else optimum.log2_optimum
    gaps = [
        (float(left), float(right), index in (best - 1, best))
        for index, (left, right) in enumerate(pairwise(x))
        if right - left >= 2 * finest - 1e-9 and (index in (best - 1, best) or (left < high and right > low))
    ]
    gaps.sort(key=lambda gap: (not gap[2], gap[0] - gap[1], abs((gap[0] + gap[1]) / 2 - near)))
    return [(left + right) / 2 for left, right, _ in gaps[:2]]


def _further_scales(comparison: Comparison) -> Iterator[Wanted]:
    """Half of the smallest scale's doublings below it: the cheapest model that has not been measured."""
    drift = comparison.drift
    fits = [fit for fit in drift.fitted.fits if fit.usable]
    if len(fits) >= MIN_SCALES or not fits:
        return
    smallest = fits[0].curve
    wanted = smallest.scale / 2 if smallest.scale >= 16 else drift.fitted.fits[-1].curve.scale * 2
    values = tuple(float(x) for x in smallest.x[smallest.usable])
    yield Wanted(comparison, wanted, values, f"{len(fits)} usable scales", smallest.scale)


def _further_seed(comparison: Comparison) -> Iterator[Wanted]:
    for fit in comparison.drift.fitted.fits:
        if fit.usable and fit.vertex is not None:
            x = fit.curve.x[fit.curve.usable]
            values = tuple(float(value) for value in x[np.abs(x - fit.vertex) <= NEAR_OCTAVES])
            yield Wanted(comparison, fit.curve.scale, values, "noise", fit.curve.scale, new_seed=True)
