"""The optimum of one scale: the vertex of a local quadratic in log2 of the swept hyperparameter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Status = Literal["ok", "at_edge", "all_diverged", "too_few"]

WINDOW_NATS = 0.15
"""The fit uses the contiguous points this close to the minimum: near it a loss curve is a parabola."""

MIN_POINTS = 3


@dataclass(frozen=True, slots=True)
class Curve:
    """Loss against one hyperparameter at one scale: means over seeds, in log2, ascending.

    `y` is infinite where at least half of the seeds diverged. `spread` is the pooled standard deviation
    of a single run around the seed and point effects, None with one seed; `degrees` its freedom.
    """

    scale: float
    x: Floats
    y: Floats
    seeds: int
    trials: int
    diverged: int
    spread: float | None = None
    degrees: int = 0


@dataclass(frozen=True, slots=True)
class Fit:
    """The local quadratic of one curve. `window` are the indices it was fitted on."""

    status: Status
    curve: Curve
    window: slice
    vertex: float | None
    loss: float | None
    edge: Literal["low", "high"] | None = None

    @property
    def usable(self) -> bool:
        return self.status == "ok"


def fit_optimum(curve: Curve) -> Fit:
    """Fits one curve; at a grid edge the optimum is only bounded, and the status says so."""
    finite = np.isfinite(curve.y)
    if not finite.any():
        return Fit("all_diverged", curve, slice(0, 0), None, None)
    best = int(np.argmin(curve.y))
    x_best, y_best = float(curve.x[best]), float(curve.y[best])
    if best in (0, len(curve.x) - 1) and len(curve.x) > 1:
        return Fit("at_edge", curve, slice(best, best + 1), x_best, y_best, "low" if best == 0 else "high")
    window = fit_window(curve, best, MIN_POINTS)
    if window.stop - window.start < MIN_POINTS:
        return Fit("too_few", curve, window, x_best, y_best)
    vertex, loss = vertices(curve, window, curve.y[None, window])
    return Fit("ok", curve, window, float(vertex[0]), float(loss[0]))


def fit_window(curve: Curve, best: int, points: int) -> slice:
    """Contiguous indices around `best` within WINDOW_NATS, grown to at least `points` finite ones."""
    near = curve.y <= curve.y[best] + WINDOW_NATS
    finite = np.isfinite(curve.y)
    start, stop = best, best + 1
    while start > 0 and near[start - 1]:
        start -= 1
    while stop < len(near) and near[stop]:
        stop += 1
    while stop - start < points:
        left = curve.y[start - 1] if start > 0 and finite[start - 1] else np.inf
        right = curve.y[stop] if stop < len(near) and finite[stop] else np.inf
        if not np.isfinite(min(left, right)):
            break
        start, stop = (start - 1, stop) if left <= right else (start, stop + 1)
    return slice(start, stop)


def vertices(curve: Curve, window: slice, y_RP: Floats) -> tuple[Floats, Floats]:
    """Vertex and its loss of the parabola through each of R sets of losses on the window's P points.

    A vertex outside the neighbours of the set's best point, or a parabola that opens downwards, would
    extrapolate; there the optimum stays within the cell around the best point.
    """
    x = curve.x[window]
    center = x.mean()
    coefficients = np.linalg.lstsq(np.vander(x - center, 3), y_RP.T, rcond=None)[0]
    a, b, c = coefficients
    best = np.argmin(y_RP, axis=1) + window.start
    low, high = curve.x[np.maximum(best - 1, 0)], curve.x[np.minimum(best + 1, len(curve.x) - 1)]
    convex = a > 1e-12
    offset = np.where(convex, -b / (2 * np.where(convex, a, 1.0)), curve.x[best] - center)
    vertex = np.clip(offset + center, low, high)
    t = vertex - center
    return vertex, np.where(convex, a * t * t + b * t + c, y_RP.min(axis=1))


def noise(fits: Sequence[Fit]) -> tuple[float, int]:
    """Standard deviation of a curve's points around a smooth curve, and its degrees of freedom.

    Pooled over the scales: the larger of what local parabolas with a shared lopsidedness leave over
    and what the seeds scatter by. The first holds the curves' misfit too, so it errs on the wide side.
    Windows with no point to spare are grown by one only when no scale has a point to spare: a grown
    window reaches up the walls of the curve, where the misfit says nothing about noise.
    """
    scatter, freedom = _seed_scatter(fits)
    for points in (MIN_POINTS, MIN_POINTS + 1):
        smooth, degrees = _roughness([fit for fit in fits if fit.usable], points)
        if degrees:
            return (scatter, freedom) if scatter > smooth else (smooth, degrees)
    return scatter, freedom


def _roughness(fits: Sequence[Fit], points: int) -> tuple[float, int]:
    """What is left of the windows after a parabola per scale and one cubic term shared by all.

    The shared term takes out the lopsidedness that the curves of a family have in common, which is
    shape and not noise; it costs one degree of freedom.
    """
    residuals, cubics = [np.zeros(0)], [np.zeros(0)]
    degrees = 0
    for fit in fits:
        window = fit_window(fit.curve, int(np.argmin(fit.curve.y)), points)
        x, y = fit.curve.x[window], fit.curve.y[window]
        t = x - x.mean()
        design = np.vander(t, 3)
        both = np.stack([y, t**3], axis=1)
        left = both - design @ np.linalg.lstsq(design, both, rcond=None)[0]
        residuals.append(left[:, 0])
        cubics.append(left[:, 1])
        degrees += len(x) - 3
    residual, cubic = np.concatenate(residuals), np.concatenate(cubics)
    if degrees < 2:
        return (float(np.sqrt(residual @ residual)), 1) if degrees else (0.0, 0)
    residual = residual - cubic * (cubic @ residual) / (cubic @ cubic)
    return float(np.sqrt(residual @ residual / (degrees - 1))), degrees - 1


def _seed_scatter(fits: Sequence[Fit]) -> tuple[float, int]:
    """Standard deviation of a mean over the seeds, pooled over the scales."""
    seeded = [
        (fit.curve.spread**2 / fit.curve.seeds, fit.curve.degrees)
        for fit in fits
        if fit.curve.spread is not None
    ]
    degrees = sum(freedom for _, freedom in seeded)
    return (float(np.sqrt(sum(v * d for v, d in seeded) / degrees)) if degrees else 0.0), degrees
