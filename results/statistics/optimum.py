"""The optimum of every scale of a family: its window, its place on the fitted quartic, its interval.

Everything later (slope, penalty, verdict) is computed on the draws of the fit, so that all uncertainties
are propagated together.

R draws, C coefficients, F places looked at
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .curve import Curve, Floats
from .posterior import DRAWS, NOISE_NATS, POWERS, Points, Quartics, posterior

Status = Literal["ok", "at_edge", "all_diverged", "too_few"]
Interval = tuple[float | None, float | None]

WINDOW_NATS = 0.3
"""The fit uses the points this close to the minimum."""
REACH_OCTAVES = 2.0
"""And this near, as further out a quartic does not hold, unless there is no wall of WALL_NATS yet."""
WALL_NATS = 0.1
MIN_POINTS, WANTED_POINTS = 3, 5
CAP_NATS = 0.8
"""Windows are filled up to WANTED_POINTS with points that are no higher than this above the minimum."""

POSITION_OCTAVES = 0.02
"""An optimum's interval is never narrower than this standard deviation: curves are no quartics."""
TIE_SIGMAS = 2.5
"""Points within so many standard deviations of the minimum may be the minimum."""
PLACES = 121


@dataclass(frozen=True, slots=True)
class Fit:
    """One curve's part of the family's fit. `window` are the indices it was fitted on.

    `vertex` is log2 of the optimum and `loss` the loss there, the grid's own where nothing was fitted.
    `shape` [5] are the coefficients of powers of (x - center), and `_R` are draws of the same.
    """

    status: Status
    curve: Curve
    window: slice
    vertex: float | None
    loss: float | None
    edge: Literal["low", "high"] | None = None
    center: float = 0.0
    shape: Floats | None = None
    shape_RC: Floats | None = None
    vertex_R: Floats | None = None

    @property
    def usable(self) -> bool:
        return self.status == "ok"

    @property
    def loss_R(self) -> Floats:
        """The loss at each draw's own optimum."""
        assert self.shape_RC is not None
        return values(self.shape_RC, self._place_R)

    @property
    def curvature_R(self) -> Floats:
        """Second derivative of the loss at each draw's optimum, nats per octave squared."""
        assert self.shape_RC is not None
        return values(_derivative(_derivative(self.shape_RC)), self._place_R)

    @property
    def _place_R(self) -> Floats:
        """Where the quartics are read: inside the window, although an optimum may lie beyond its end."""
        assert self.vertex_R is not None
        x = self.curve.x
        return np.clip(self.vertex_R, x[self.window.start], x[self.window.stop - 1]) - self.center


@dataclass(frozen=True, slots=True)
class FamilyFit:
    """The fits of all curves of a family, and the standard deviation of one run around them."""

    fits: tuple[Fit, ...]
    noise_nats: float


def fit_family(curves: Sequence[Curve]) -> FamilyFit:
    """Fits all curves together; what cannot be fitted says why by its status."""
    fits = [_placed(curve) for curve in curves]
    usable = [index for index, fit in enumerate(fits) if fit.usable]
    if not usable:
        return FamilyFit(tuple(fits), NOISE_NATS)
    quartics, noise = posterior([_points(fits[index]) for index in usable])
    for index, fitted in zip(usable, quartics, strict=True):
        fits[index] = _fitted(fits[index], fitted)
    return FamilyFit(tuple(fits), noise)


def optimum_interval(fit: Fit, noise: float) -> Interval | None:
    """95 %, in log2; None on a side where the optimum may lie beyond the grid.

    Next to a value that diverged, or among values that tie, the end is the first that is clearly worse.
    """
    curve = fit.curve
    if fit.status == "at_edge" and len(curve.x) > 1:
        inner = _first_worse(curve, 0 if fit.edge == "low" else len(curve.x) - 1, noise, fit.edge == "low")
        return (None, inner) if fit.edge == "low" else (inner, None)
    if fit.vertex_R is None or fit.vertex is None:
        return None
    floor_R = POSITION_OCTAVES * np.random.default_rng(1).standard_normal(DRAWS)
    low, high = (float(end) for end in np.percentile(fit.vertex_R + floor_R, [2.5, 97.5]))
    first, last = float(curve.x[fit.window.start]), float(curve.x[fit.window.stop - 1])
    open_low, open_high = (
        abs(low - first) < 3 * POSITION_OCTAVES or low < first,
        abs(high - last) < 3 * POSITION_OCTAVES or high > last,
    )
    return (
        _first_worse(curve, fit.window.start, noise, False) if open_low else min(low, fit.vertex),
        _first_worse(curve, fit.window.stop - 1, noise, True) if open_high else max(high, fit.vertex),
    )


def values(shape_RC: Floats, t_R: Floats) -> Floats:
    """Each polynomial at its own place."""
    result = np.zeros(len(shape_RC))
    for power in range(shape_RC.shape[1] - 1, -1, -1):
        result = result * t_R + shape_RC[:, power]
    return result


def _first_worse(curve: Curve, index: int, noise: float, upwards: bool) -> float | None:
    """The first value beyond `index` that is no tie with the minimum; None beyond the grid."""
    best = float(np.min(curve.y[curve.usable]))
    step = 1 if upwards else -1
    index += step
    while 0 <= index < len(curve.x):
        tie = best + TIE_SIGMAS * noise / np.sqrt(curve.runs[index])
        if not curve.y[index] <= tie and not np.isnan(curve.y[index]):
            return float(curve.x[index])
        index += step
    return None


def _placed(curve: Curve) -> Fit:
    """The window of a curve, or the reason why it has none."""
    if not curve.usable.any():
        return Fit("all_diverged", curve, slice(0, 0), None, None)
    y = np.where(curve.usable, curve.y, np.inf)
    best = int(np.argmin(y))
    x_best, y_best = float(curve.x[best]), float(y[best])
    if best in (0, len(curve.x) - 1) and len(curve.x) > 1:
        return Fit("at_edge", curve, slice(best, best + 1), x_best, y_best, "low" if best == 0 else "high")
    window = _window(curve, best)
    enough = int(curve.usable[window].sum()) >= MIN_POINTS
    return Fit("ok" if enough else "too_few", curve, window, x_best, y_best)


def _window(curve: Curve, best: int) -> slice:
    """The values around the best that the fit uses: a spike among them is stepped over, divergence is not."""
    x, y = curve.x, curve.y
    inside = np.abs(x - x[best]) <= REACH_OCTAVES + 1e-9
    wall = y >= y[best] + WALL_NATS
    start, stop, count = best, best + 1, 1
    while True:
        left = y[start - 1] if start > 0 and (inside[start - 1] or not wall[start]) else np.inf
        right = y[stop] if stop < len(y) and (inside[stop] or not wall[stop - 1]) else np.inf
        if np.isnan(left) or np.isnan(right):
            start, stop = (start - 1, stop) if np.isnan(left) else (start, stop + 1)
            continue
        # The lower side first; the other one where only it still lacks a wall.
        sides = sorted([(left, wall[start], -1), (right, wall[stop - 1], 1)])
        wanted = [step for height, walled, step in sides if _belongs(height - y[best], bool(walled), count)]
        if not wanted:
            return slice(start, stop)
        start, stop = (start - 1, stop) if wanted[0] < 0 else (start, stop + 1)
        count += 1


def _belongs(height: float, walled: bool, count: int) -> bool:
    """Whether a window of `count` points takes the next one in, so high above the minimum."""
    if height <= WINDOW_NATS or (np.isfinite(height) and count < MIN_POINTS):
        return True
    return height <= CAP_NATS and (count < WANTED_POINTS or not walled)


def _points(fit: Fit) -> Points:
    """What a window holds: its usable values, and the seeds' scatter among them."""
    curve = fit.curve
    place = np.flatnonzero(curve.usable[fit.window]) + fit.window.start
    inside_SP, count = curve.scatter_SP[:, place], int(np.isfinite(curve.scatter_SP).sum())
    there = int(np.isfinite(inside_SP).sum())
    seeds = (len(curve.scatter_SP) - 1) * there / max(count, 1)  # the window's part of the seeds' effects
    return Points(
        x=curve.x[place],
        y=curve.y[place],
        runs=curve.runs[place],
        squares=float(np.nansum(inside_SP**2)),
        freedom=max(0.0, there - len(place) - seeds),
    )


def _fitted(fit: Fit, quartics: Quartics) -> Fit:
    center, shape, shape_RC = quartics.center, quartics.shape, quartics.shape_RC
    ends = float(fit.curve.x[fit.window.start]) - center, float(fit.curve.x[fit.window.stop - 1]) - center
    vertex = _minima(shape[None], *ends)
    vertex_R = _beyond(fit, _minima(shape_RC, *ends) + center)
    return Fit(
        "ok",
        fit.curve,
        fit.window,
        float(vertex[0]) + center,
        float(values(shape[None], vertex)[0]),
        center=center,
        shape=shape,
        shape_RC=shape_RC,
        vertex_R=vertex_R,
    )


def _beyond(fit: Fit, vertex_R: Floats) -> Floats:
    """Where a window ends beside divergence, an optimum at its end may be anywhere up to that value."""
    x, y = fit.curve.x, fit.curve.y
    generator = np.random.default_rng(round(1000 * fit.curve.scale))
    for end, outside in ((fit.window.stop - 1, fit.window.stop), (fit.window.start, fit.window.start - 1)):
        if 0 <= outside < len(x) and np.isposinf(y[outside]):
            further_R = generator.uniform(x[end], x[outside], len(vertex_R))
            vertex_R = np.where(np.isclose(vertex_R, x[end]), further_R, vertex_R)
    return vertex_R


def _minima(shape_RC: Floats, low: float, high: float) -> Floats:
    """Where each polynomial is least between the ends: the best of a fine grid, then Newton's steps."""
    t_F = np.linspace(low, high, PLACES)
    t_R: Floats = t_F[np.argmin(shape_RC @ (t_F[None, :] ** POWERS[:, None]), axis=1)]
    slope_RC = _derivative(shape_RC)
    bend_RC = _derivative(slope_RC)
    cell = t_F[1] - t_F[0]
    for _ in range(2):
        bend = values(bend_RC, t_R)
        step = np.where(bend > 0, values(slope_RC, t_R) / np.where(bend > 0, bend, 1.0), 0.0)
        t_R = np.clip(t_R - np.clip(step, -cell, cell), low, high)
    return t_R


def _derivative(shape_RC: Floats) -> Floats:
    derivative: Floats = shape_RC[:, 1:] * np.arange(1, shape_RC.shape[1])
    return derivative
