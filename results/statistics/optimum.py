"""The optimum of every scale of a family, its interval, and where it is only bounded.

Everything later (slope, penalty, verdict) is computed on the draws of the curves, so that all uncertainties
are propagated together.

R draws
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .curve import Curve, Floats, Truths
from .interval import POSITION_OCTAVES, Interval
from .outliers import cleaned
from .valley import Points, Valley, valleys
from .walls import meeting

Status = Literal["ok", "at_edge", "all_diverged", "too_few"]

MIN_POINTS = 3
TIE_SIGMAS = 2.5
"""Losses within so many standard deviations of the lowest may be the minimum."""


@dataclass(frozen=True, slots=True)
class Fit:
    """One curve's part of the family's fit.

    `vertex` is log2 of the optimum and `loss` the loss there, the grid's own where the optimum is at its edge
    or nothing was fitted. `vertex_R` are its draws: at an edge, whose optimum may lie beyond, none is beyond.
    """

    status: Status
    curve: Curve
    vertex: float | None
    loss: float | None
    edge: Literal["low", "high"] | None = None
    valley: Valley | None = None
    vertex_R: Floats | None = None

    @property
    def usable(self) -> bool:
        return self.status == "ok"

    @property
    def spread(self) -> float:
        """Of the losses; infinite where any diverged."""
        return float(np.ptp(self.curve.y[~np.isnan(self.curve.y)]))

    @property
    def loss_R(self) -> Floats:
        """The loss at each draw's own optimum."""
        assert self.valley is not None
        return self.valley.lowest_R

    @property
    def curvature_R(self) -> Floats:
        """Loss per octave squared, at each draw's own optimum."""
        assert self.valley is not None
        return self.valley.curvature_R


@dataclass(frozen=True, slots=True)
class FamilyFit:
    """The fits of all curves of a family, and the standard deviation of one run near the minima: the median
    over the scales, None where nothing was fitted."""

    fits: tuple[Fit, ...]
    noise: float | None


def fit_family(curves: Sequence[Curve]) -> FamilyFit:
    """Fits all curves together; what cannot be fitted says why by its status."""
    fits = [_placed(curve) for curve in cleaned(curves)]
    fitted = [index for index, fit in enumerate(fits) if _enough(fit.curve)]
    if not fitted:
        return FamilyFit(tuple(fits), None)
    drawn = valleys([_points(fits[index].curve) for index in fitted])
    for index, valley in zip(fitted, drawn, strict=True):
        fits[index] = _fitted(fits[index], valley, index)
    return FamilyFit(tuple(fits), float(np.median([valley.noise for valley in drawn])))


def optimum_interval(fit: Fit) -> Interval | None:
    """95 %, in log2; None on a side where the optimum may lie beyond the grid.

    It holds the lowest measured value too, where noise may be all that parts it from the minimum, and the
    places where two walls may meet, which smooth curves do not know. Next to a value that diverged, or among
    values that tie, the end is the first that is clearly worse.
    """
    curve = fit.curve
    tie = TIE_SIGMAS * (fit.valley.noise if fit.valley else 0.0)
    if fit.status == "at_edge" and len(curve.x) > 1:
        inner = _first_worse(curve, 0 if fit.edge == "low" else len(curve.x) - 1, tie, fit.edge == "low")
        return (None, inner) if fit.edge == "low" else (inner, None)
    if not fit.usable or fit.vertex is None or fit.vertex_R is None or fit.valley is None:
        return None
    low, high = (float(end) for end in np.percentile(fit.vertex_R, [2.5, 97.5]))
    lowest = curve.lowest
    if fit.loss is not None and curve.y[lowest] <= fit.loss + fit.valley.noise / np.sqrt(curve.runs[lowest]):
        low, high = min(low, float(curve.x[lowest])), max(high, float(curve.x[lowest]))
    if (corner := meeting(curve, fit.valley.noise)) is not None:
        low, high = min(low, corner[0]), max(high, corner[1])
    there = np.flatnonzero(curve.usable)
    open_low = low < curve.x[there[0]] + 3 * POSITION_OCTAVES
    open_high = high > curve.x[there[-1]] - 3 * POSITION_OCTAVES
    return (
        _first_worse(curve, int(there[0]), tie, False) if open_low else min(low, fit.vertex),
        _first_worse(curve, int(there[-1]), tie, True) if open_high else max(high, fit.vertex),
    )


def _first_worse(curve: Curve, index: int, tie: float, upwards: bool) -> float | None:
    """The first value beyond `index` that is no tie with the minimum; None beyond the grid."""
    best = float(np.min(curve.y[curve.usable]))
    step = 1 if upwards else -1
    index += step
    while 0 <= index < len(curve.x):
        if not np.isnan(curve.y[index]) and curve.y[index] > best + tie / np.sqrt(curve.runs[index]):
            return float(curve.x[index])
        index += step
    return None


def _placed(curve: Curve) -> Fit:
    """Where the lowest point of a curve stands, and whether it says where the optimum is."""
    if not curve.usable.any():
        return Fit("all_diverged", curve, None, None)
    best = curve.lowest
    x_best, y_best = float(curve.x[best]), float(curve.y[best])
    if best in (0, len(curve.x) - 1) and len(curve.x) > 1:
        return Fit("at_edge", curve, x_best, y_best, "low" if best == 0 else "high")
    return Fit("ok" if _enough(curve) else "too_few", curve, x_best, y_best)


def _enough(curve: Curve) -> bool:
    """Three values, of which one may have diverged: with a value on either side the optimum is enclosed."""
    usable = int(curve.usable.sum())
    return usable >= MIN_POINTS or (usable == MIN_POINTS - 1 and bool(np.isposinf(curve.y).any()))


def _points(curve: Curve) -> Points:
    """The usable values of a curve, and the seeds' scatter there."""
    there = curve.usable
    return Points(curve.x[there], curve.y[there], curve.runs[there], curve.scatter_SP[:, there])


def _fitted(fit: Fit, valley: Valley, index: int) -> Fit:
    """An optimum at the edge stays there: its draws say how far inside it may be."""
    vertex_R = _beyond(fit.curve, _floored(fit.curve, valley.vertex_R, index), index)
    if fit.status != "ok":
        return replace(fit, valley=valley, vertex_R=vertex_R)
    vertex = float(np.median(valley.vertex_R))  # among what was measured, although it may lie beyond
    loss = _allowed(fit.curve, float(np.median(valley.lowest_R)), valley.noise)
    return replace(fit, valley=valley, vertex_R=vertex_R, vertex=vertex, loss=loss)


def _allowed(curve: Curve, loss: float, noise: float) -> float:
    """No lower than noise or a parabola through the lowest point and its neighbours; nor below zero where all
    losses are above."""
    lowest, there = curve.lowest, np.flatnonzero(curve.usable)
    floor = curve.y[lowest] - noise / np.sqrt(curve.runs[lowest])
    at = int(np.flatnonzero(there == lowest)[0])
    if 0 < at < len(there) - 1:
        around = there[at - 1 : at + 2]
        a, b, c = np.polyfit(curve.x[around] - curve.x[lowest], curve.y[around], 2)
        floor = min(floor, c - b**2 / (4 * a)) if a > 0 else floor
    loss = max(loss, float(floor))
    return loss if loss > 0 or (curve.y[there] <= 0).any() else float(curve.y[lowest])


def _floored(curve: Curve, vertex_R: Floats, index: int) -> Floats:
    """Nearer than the floor no optimum is known; one at the end of the points stays there."""
    x = curve.x[curve.usable]
    floor_R = POSITION_OCTAVES * np.random.default_rng([1, index]).standard_normal(len(vertex_R))
    at_end_R: Truths = np.isclose(vertex_R, x[0]) | np.isclose(vertex_R, x[-1])
    return np.where(at_end_R, vertex_R, np.clip(vertex_R + floor_R, x[0], x[-1]))


def beside_divergence(curve: Curve) -> Iterator[tuple[float, float]]:
    """The ends of what is usable next to which trials diverged: log2 of the end, and of the value beyond."""
    there = np.flatnonzero(curve.usable)
    for end, outside in ((there[-1], there[-1] + 1), (there[0], there[0] - 1)):
        if 0 <= outside < len(curve.x) and np.isposinf(curve.y[outside]):
            yield float(curve.x[end]), float(curve.x[outside])


def _beyond(curve: Curve, vertex_R: Floats, index: int) -> Floats:
    """Where the points end beside divergence, an optimum at their end may be anywhere up to that value."""
    generator = np.random.default_rng([2, index])
    for end, outside in beside_divergence(curve):
        far_R = end + generator.uniform(0, 1, len(vertex_R)) * (outside - end)
        vertex_R = np.where(np.isclose(vertex_R, end), far_R, vertex_R)
    return vertex_R
