"""How the optimum moves with scale, what transferring it costs, and the verdict.

Everything is computed on the draws of the family's fit, so that the uncertainty of the curves, of their
noise and of their shape is in every interval. All intervals are 95 % unless they say otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curve import Curve, Floats, Truths
from .interval import inflation, percentiles
from .optimum import (
    POSITION_OCTAVES,
    FamilyFit,
    Fit,
    Interval,
    Status,
    fit_family,
    optimum_interval,
    values,
)
from .posterior import DRAWS
from .scaling import Metrics, metrics
from .verdict import Estimate, Verdict, decide

SAME_OCTAVES = 1e-6
"""A value this close to one that was tried is that one: what is said of it must not hang on the rounding of a
mean of optima, which differs from machine to machine."""


@dataclass(frozen=True, slots=True)
class ScaleOptimum:
    """The optimum at one scale with its interval; None where it is not known."""

    scale: float
    status: Status
    log2_optimum: float | None
    interval: Interval | None
    loss: float | None
    trials: int
    diverged: int

    @property
    def at_edge(self) -> bool:
        return self.status == "at_edge"


@dataclass(frozen=True, slots=True)
class Drift:
    """The judgement of one comparison.

    `slope` is in octaves per doubling of the scale, `shift` in octaves from the smallest usable scale to
    the largest; `penalty` (what the verdict uses: the smaller half's optima, weighted by their precision) and
    `smallest_penalty` (the value chosen on the smallest scale alone) are in nats. The `_R` are their draws.
    """

    optima: tuple[ScaleOptimum, ...]
    fitted: FamilyFit
    slope: Estimate | None
    slope_bounds: tuple[float, float] | None  # 90 %, for the two one-sided tests
    shift: Estimate | None
    penalty: Estimate | None
    smallest_penalty: Estimate | None
    transferred_log2: float | None
    metrics: Metrics | None
    verdict: Verdict
    reasons: tuple[str, ...]
    slope_R: Floats | None = None
    penalty_R: Floats | None = None

    @property
    def curves(self) -> tuple[Curve, ...]:
        return tuple(fit.curve for fit in self.fitted.fits)

    @property
    def noise_nats(self) -> float:
        return self.fitted.noise_nats


def judge(curves: Sequence[Curve]) -> Drift:
    """Optimum per scale, slope, transfer penalty and verdict of curves ordered by scale."""
    fitted = fit_family(curves)
    fits = fitted.fits
    usable = [index for index, fit in enumerate(fits) if fit.usable]
    slope, bounds, slope_R = _slope([fits[index] for index in usable])
    penalty, transferred, penalty_R = transfer_penalty(fitted, smaller_half(fits))
    smallest, *_ = transfer_penalty(fitted, usable[:1])
    verdict, reasons = decide(fits, slope, bounds, penalty)
    return Drift(
        optima=tuple(_scale_optimum(fit, fitted.noise_nats) for fit in fits),
        fitted=fitted,
        slope=slope,
        slope_bounds=bounds,
        shift=_shift([fits[index] for index in usable]),
        penalty=penalty,
        smallest_penalty=smallest,
        transferred_log2=transferred,
        metrics=metrics([fits[index] for index in usable]),
        verdict=verdict,
        reasons=tuple(reasons),
        slope_R=slope_R,
        penalty_R=penalty_R,
    )


def _scale_optimum(fit: Fit, noise: float) -> ScaleOptimum:
    return ScaleOptimum(
        fit.curve.scale,
        fit.status,
        fit.vertex,
        optimum_interval(fit, noise),
        fit.loss,
        fit.curve.trials,
        fit.curve.diverged,
    )


def _slope(fits: Sequence[Fit]) -> tuple[Estimate | None, tuple[float, float] | None, Floats | None]:
    """Weighted least squares of the optimum on log2 scale, its interval, and its draws.

    Where the optima scatter about the line by clearly more than their errors, the interval grows by that
    factor.
    """
    if len(fits) < 2:
        return None, None, None
    t = np.log2([fit.curve.scale for fit in fits])
    optimum = np.array([fit.vertex for fit in fits])
    drawn_RS = np.stack([fit.vertex_R for fit in fits if fit.vertex_R is not None], axis=1)
    error = np.maximum(drawn_RS.std(axis=0), POSITION_OCTAVES)
    weight = 1 / error**2
    center = t - np.average(t, weights=weight)
    lever = weight * center / (weight @ center**2)
    slope = float(lever @ optimum)
    residual = optimum - np.average(optimum, weights=weight) - slope * center
    wider = inflation(float(np.sum((residual / error) ** 2)), len(fits) - 2)
    slope_R = slope + (drawn_RS - optimum) @ lever * wider
    return Estimate(slope, percentiles(slope_R, slope)), percentiles(slope_R, slope, 5.0), slope_R


def _shift(fits: Sequence[Fit]) -> Estimate | None:
    """The largest usable scale's optimum minus the smallest's."""
    if len(fits) < 2:
        return None
    first, last = fits[0], fits[-1]
    assert first.vertex_R is not None and last.vertex_R is not None
    assert first.vertex is not None and last.vertex is not None
    shift = last.vertex - first.vertex
    return Estimate(shift, percentiles(last.vertex_R - first.vertex_R, shift))


def smaller_half(fits: Sequence[Fit]) -> list[int]:
    """Indices of the usable fits among the smaller half of the scales, or of the smallest usable one."""
    usable = [index for index, fit in enumerate(fits) if fit.usable]
    return [index for index in usable if index < len(fits) // 2] or usable[:1]


def transfer_penalty(
    fitted: FamilyFit, chosen_on: Sequence[int]
) -> tuple[Estimate | None, float | None, Floats | None]:
    """Loss at the largest scale at the value chosen on other scales, minus its own minimum.

    Also that value, and the penalty's draws. The upper end is None where the largest scale diverges at
    that value, or where its own minimum is beyond the grid: then only the lower end is known.
    """
    fits = fitted.fits
    largest = fits[-1] if fits else None
    if not chosen_on or largest is None or largest.loss is None or chosen_on[0] == len(fits) - 1:
        return None, None, None
    picked = [fits[index] for index in chosen_on]
    vertex_RS = np.stack([fit.vertex_R for fit in picked if fit.vertex_R is not None], axis=1)
    weight = 1 / np.maximum(vertex_RS.var(axis=0), POSITION_OCTAVES**2)
    weight /= weight.sum()
    chosen_R = vertex_RS @ weight
    chosen = float(np.array([fit.vertex for fit in picked]) @ weight)
    point, bounded = _excess(largest, np.array([chosen]), drawn=False)
    drawn_R, bounded_R = _excess(largest, chosen_R, drawn=True)
    outside = ~_within(largest, chosen_R)
    noise_R = np.random.default_rng(2).normal(0, fitted.noise_nats, DRAWS)
    drawn_R = np.maximum(drawn_R + outside * noise_R, 0.0)
    value = float(point[0])
    low, high = percentiles(drawn_R, value)
    known = largest.usable and bool(bounded[0]) and bool(np.mean(bounded_R) > 0.975)
    return Estimate(value, (low, high if known else None)), chosen, drawn_R


def _within(fit: Fit, x: Floats) -> Truths:
    """Whether each x lies in the window that the quartic was fitted on."""
    grid = fit.curve.x[fit.window]
    inside: Truths = (x >= grid[0] - SAME_OCTAVES) & (x <= grid[-1] + SAME_OCTAVES)
    return inside


def _excess(fit: Fit, x_R: Floats, drawn: bool) -> tuple[Floats, Truths]:
    """Loss at x minus the minimum: on the quartic inside its window, interpolated outside it.

    Also whether it is known: beyond the last point that did not diverge it is only a lower bound.
    """
    assert fit.loss is not None
    curve = fit.curve
    known = _between_finite(curve, x_R)
    interpolated = np.interp(x_R, curve.x[curve.usable], curve.y[curve.usable])
    if fit.shape is None or fit.shape_RC is None:
        return np.maximum(interpolated - fit.loss, 0.0), known
    shape_RC = fit.shape_RC if drawn else fit.shape[None]
    minimum = fit.loss_R if drawn else np.array([fit.loss])
    grid = curve.x[fit.window]
    on_quartic = values(shape_RC, np.clip(x_R, grid[0], grid[-1]) - fit.center)
    return np.maximum(np.where(_within(fit, x_R), on_quartic, interpolated) - minimum, 0.0), known


def _between_finite(curve: Curve, x_R: Floats) -> Truths:
    """Whether both grid points around each x are finite: next to a diverged one the loss is unknown."""
    kept = ~np.isnan(curve.y)
    x, finite = curve.x[kept], np.isfinite(curve.y[kept])
    high = np.clip(np.searchsorted(x, x_R - SAME_OCTAVES), 0, len(x) - 1)
    low = np.where(np.abs(x[high] - x_R) <= SAME_OCTAVES, high, np.maximum(high - 1, 0))
    inside = (x_R >= x[0] - SAME_OCTAVES) & (x_R <= x[-1] + SAME_OCTAVES)
    known: Truths = inside & finite[low] & finite[high]
    return known
