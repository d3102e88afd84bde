"""The trials that a refined sweep asks for next: few at large scales, and those that tell most per cost.

The smallest scale trains its grid. Each larger one begins with a few of its values around what the smaller
ones predict. Then points are added where they are expected to tell most for what they cost: of the questions
that are open, and when none is, of the optima that are not known well enough.

Pure: what is asked for depends on the measurements alone, so that a refinement that was interrupted asks
for the same points again.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from ..statistics.curve import Floats, scale_name
from ..statistics.drift import Drift, ScaleOptimum
from ..statistics.information import expected_gain
from ..statistics.optimum import Fit
from ..statistics.verdict import MIN_SCALES
from .comparison import Comparison
from .grouping import grouped
from .wanted import Wanted, divisible, enclosing, outwards, reach

DRIFT_OCTAVES = 1.0
"""With one optimum known, another is looked for as far away as if it moved so much per doubling: learning
rates that are inversely proportional to the scale are the fastest that theory knows."""
AROUND_OCTAVES = 2.0
"""A scale begins with values so far to either side of what is predicted, and so far from each other."""
MIN_BEGUN = 3
AT_ONCE, WORTH = 2, 0.5
"""Points of one comparison in a round, and what the second must be worth, as a share of the first."""
TELLS, TELLS_OPTIMUM = 0.04, 0.16
"""A point is asked for that is expected to remove this share, or more, of the variance of what a verdict
leaves open; four times as much of an optimum's, on which no verdict hangs."""
LOOSE = 2.0
"""Where the line tells an optimum, its own interval may be so many times wider."""


def smallest(rows: pd.DataFrame, known_columns: Sequence[str]) -> pd.Series:
    """By row: whether no comparison has a smaller scale. These rows need no prediction to begin with."""
    first = pd.Series(True, index=rows.index)
    for group in grouped(rows, known_columns):
        scale = group.members[group.axis]
        first[group.members.index[scale > scale.min()]] = False
    return first


def refinement(comparisons: Sequence[Comparison], target: float, finest: float) -> list[Wanted]:
    """The next points; none when nothing is open and each optimum is known within `target` octaves."""
    found: list[Wanted] = []
    for comparison in comparisons:
        found += _enclosing(comparison, finest)
        found += (
            list(_beginning(comparison))
            or list(_transferred(comparison, finest))
            or list(_telling(comparison, target, finest))
        )
    return found


def _enclosing(comparison: Comparison, finest: float) -> Iterator[Wanted]:
    drift = comparison.drift
    for fit, optimum in zip(drift.fitted.fits, drift.optima, strict=True):
        scale = fit.curve.scale
        waiting = comparison.waiting.get(scale, ())
        values, why = enclosing(fit, optimum, finest, waiting, drift.allowed.loss)
        if values:
            yield Wanted(comparison, scale, tuple(sorted(values)), why, scale)


def _beginning(comparison: Comparison) -> Iterator[Wanted]:
    """The smallest scale that waits whole; one a round, as it tells where to look at the next."""
    begun = {curve.scale for curve in comparison.drift.curves}
    untouched = sorted(scale for scale in comparison.waiting if scale not in begun)
    span = _predicted(comparison.drift, untouched[0]) if untouched else None
    if span is not None:
        scale = untouched[0]
        values = _spread(np.array(comparison.waiting[scale]), *span)
        yield Wanted(
            comparison, scale, values, f"{comparison.axis} {scale_name(scale)} begins", scale, begins=True
        )


def _predicted(drift: Drift, scale: float) -> tuple[float, float] | None:
    """log2 of where the optimum of a further scale is looked for; None where none is known."""
    if drift.line is not None:
        value, low, high = drift.line.band(scale)
    else:
        known = [optimum for optimum in drift.optima if optimum.log2_optimum is not None]
        if not known:
            return None
        nearest = min(known, key=lambda optimum: abs(math.log2(scale / optimum.scale)))
        away = DRIFT_OCTAVES * abs(math.log2(scale / nearest.scale))
        assert nearest.log2_optimum is not None
        value = nearest.log2_optimum
        ends = nearest.interval or (value, value)
        low = -math.inf if ends[0] is None else ends[0] - away
        high = math.inf if ends[1] is None else ends[1] + away
    return min(low, value - AROUND_OCTAVES), max(high, value + AROUND_OCTAVES)


def _spread(values: Floats, low: float, high: float) -> tuple[float, ...]:
    """Of ascending values those nearest to evenly spaced places from low to high, and at least three."""
    low, high = np.clip([low, high], values[0], values[-1])
    places = np.linspace(low, high, math.ceil((high - low) / AROUND_OCTAVES - 1e-9) + 1)
    chosen = {float(values[np.abs(values - place).argmin()]) for place in places}
    for value in sorted(values.tolist(), key=lambda value: abs(value - (low + high) / 2)):
        if len(chosen) < MIN_BEGUN:
            chosen.add(value)
    return tuple(sorted(chosen))


def _transferred(comparison: Comparison, finest: float) -> Iterator[Wanted]:
    """A value nearer to the transferred one, where the largest scale's loss there was not measured."""
    drift, transfer = comparison.drift, comparison.drift.transfer
    fit = drift.fitted.fits[-1]
    if transfer is None or not fit.usable or np.isfinite(transfer.most_R).any():
        return
    if drift.verdict != "inconclusive" or drift.questions["costs"].answer != "open":
        return
    scale, x = fit.curve.scale, fit.curve.x
    waiting = comparison.waiting.get(scale, ())
    if not x[0] <= transfer.chosen <= x[-1]:
        values = [outwards(fit, waiting, low=transfer.chosen < x[0])]
    else:
        right = int(np.searchsorted(x, transfer.chosen))
        values = list(_inside(float(x[right - 1]), float(x[right]), waiting, finest))
    if values:
        yield Wanted(comparison, scale, tuple(values), "the loss at the transferred value", scale)


def _telling(comparison: Comparison, target: float, finest: float) -> Iterator[Wanted]:
    """The points that are expected to tell most for what they cost, each at another scale."""
    drift = comparison.drift
    open_ = _open(drift)
    found = []
    for fit, optimum in zip(drift.fitted.fits, drift.optima, strict=True):
        scale = fit.curve.scale
        if not fit.usable or fit.vertex_R is None or (not open_ and _known(drift, optimum, target)):
            continue
        asked = open_ or [fit.vertex_R]
        least = (TELLS if open_ else TELLS_OPTIMUM) * sum(float(asked_R.var()) for asked_R in asked)
        gains = [
            (sum(expected_gain(fit, x, asked_R) for asked_R in asked), x)
            for x in _between(fit, comparison.waiting.get(scale, ()), finest)
        ]
        gain, x = max(gains, default=(0.0, 0.0))
        if gain > least:
            # A trial costs its operations and its place in a round, which counts the same at every scale.
            found.append((gain / math.sqrt(comparison.flops.get(scale, 1.0)), scale, x))
    found.sort(reverse=True)
    why = "what the verdict leaves open" if open_ else "the optimum is not known well enough"
    for worth, scale, x in found[:AT_ONCE]:
        if worth >= WORTH * found[0][0]:
            yield Wanted(comparison, scale, (x,), why, scale)


def _between(fit: Fit, waiting: Sequence[float], finest: float) -> Iterator[float]:
    """Values of the grid that lie among those that were tried, and the middles of gaps without any. What lies
    between two that broke, or were stopped, would be no better."""
    there = ~np.isnan(fit.curve.y)
    for (left, low), (right, high) in pairwise(
        zip(fit.curve.x[there].tolist(), fit.curve.y[there], strict=True)
    ):
        if not np.isinf([low, high]).all():
            yield from _inside(left, right, waiting, finest)


def _inside(left: float, right: float, waiting: Sequence[float], finest: float) -> Sequence[float]:
    """The values that wait in a gap; its middle where there are none."""
    inside = [value for value in waiting if left < value < right]
    return inside or ([(left + right) / 2] if divisible(right - left, finest) else [])


def _open(drift: Drift) -> list[Floats]:
    """Draws of what decides the questions that are open, in their standard deviations."""
    if drift.verdict != "inconclusive":
        return []
    asked: list[Floats] = []
    if drift.questions["moves"].answer == "open" and drift.line is not None:
        asked.append(drift.line.slope_R)
    if drift.questions["costs"].answer == "open" and drift.transfer is not None:
        # What lies far above the allowed loss is all the same.
        asked.append(np.minimum(drift.transfer.most_R, 2 * drift.allowed.loss))
    return [draws / draws.std() for draws in asked if draws.std() > 0]


def _known(drift: Drift, optimum: ScaleOptimum, target: float) -> bool:
    """Whether an optimum is known by its own points, or more loosely by them and by the line through all."""
    own = reach(optimum)
    return own <= target or (own <= LOOSE * target and _line_reach(drift, optimum.scale) <= target)


def _line_reach(drift: Drift, scale: float) -> float:
    """How far to either side the line through the optima leaves this scale's own."""
    if drift.line is None or sum(fit.usable for fit in drift.fitted.fits) < MIN_SCALES:
        return math.inf
    value, low, high = drift.line.band(scale)
    return max(high - value, value - low)
