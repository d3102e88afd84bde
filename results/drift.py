"""How the optimum moves with scale, what transferring it costs, and the verdict.

Uncertainty is propagated by a parametric bootstrap: the points of every curve are redrawn with the
estimated noise (itself uncertain: a scaled chi-square), and everything is computed again.
All intervals are 95 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .optimum import Curve, Fit, Floats, fit_optimum, noise, vertices

Verdict = Literal["stable", "drifts", "inconclusive"]
Interval = tuple[float | None, float | None]
Truths = NDArray[np.bool_]

STABLE_PENALTY_NATS = 0.05
STABLE_SLOPE = 0.3
MIN_SCALES = 3
REPLICATES = 2000
NOISE_FLOOR_NATS = 0.002
"""Noise is never taken as zero: losses of repeated runs agree no better than this."""
POSITION_FLOOR = 0.1
"""An optimum is never taken as known better than this, in octaves: curves are not parabolas."""


@dataclass(frozen=True, slots=True)
class ScaleOptimum:
    """The optimum at one scale with its interval; None where it is not known."""

    scale: float
    status: Literal["ok", "at_edge", "all_diverged", "too_few"]
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
    """The judgement of one comparison. Slopes in octaves per doubling, penalties in nats."""

    optima: tuple[ScaleOptimum, ...]
    curves: tuple[Curve, ...]
    slope: float | None
    slope_interval: Interval | None
    penalty: float | None
    penalty_interval: Interval | None
    transferred_log2: float | None
    noise_nats: float
    verdict: Verdict
    reasons: tuple[str, ...]


def judge(curves: Sequence[Curve]) -> Drift:
    """Optimum per scale, slope, transfer penalty and verdict of curves ordered by scale."""
    fits = [fit_optimum(curve) for curve in curves]
    sigma, degrees = noise(fits)
    sigma = max(sigma, NOISE_FLOOR_NATS)
    draws = _redraw(fits, sigma, degrees)
    optima = tuple(_scale_optimum(fit, draws.get(index)) for index, fit in enumerate(fits))
    usable = [index for index, fit in enumerate(fits) if fit.usable]
    slope, slope_interval = _slope(fits, draws, usable)
    penalty, penalty_interval, transferred = _penalty(fits, draws, usable, sigma)
    verdict, reasons = _verdict(fits, slope, slope_interval, penalty, penalty_interval)
    return Drift(
        optima=optima,
        curves=tuple(curves),
        slope=slope,
        slope_interval=slope_interval,
        penalty=penalty,
        penalty_interval=penalty_interval,
        transferred_log2=transferred,
        noise_nats=sigma,
        verdict=verdict,
        reasons=tuple(reasons),
    )


@dataclass(frozen=True, slots=True)
class _Draws:
    """R replicates of one scale: redrawn losses of its window, and their vertex with its loss."""

    y_RP: Floats
    vertex: Floats
    loss: Floats


def _redraw(fits: Sequence[Fit], sigma: float, degrees: int) -> dict[int, _Draws]:
    generator = np.random.default_rng(0)
    freedom = max(degrees, 1)
    scale = sigma * np.sqrt(freedom / generator.chisquare(freedom, size=REPLICATES))
    # With one degree of freedom the tail is Cauchy's; a factor 10 on the noise is already hopeless.
    scale = np.minimum(scale, 10 * sigma)
    draws = {}
    for index, fit in enumerate(fits):
        if fit.usable:
            y = fit.curve.y[fit.window]
            y_RP = y + scale[:, None] * generator.standard_normal((REPLICATES, len(y)))
            draws[index] = _Draws(y_RP, *vertices(fit.curve, fit.window, y_RP))
    return draws


def _scale_optimum(fit: Fit, draws: _Draws | None) -> ScaleOptimum:
    interval: Interval | None = None
    if draws is not None and fit.vertex is not None:
        low, high = _percentiles(draws.vertex)
        interval = (
            min(low, fit.vertex - 2 * POSITION_FLOOR),
            max(high, fit.vertex + 2 * POSITION_FLOOR),
        )
    elif fit.status == "at_edge" and len(fit.curve.x) > 1:
        # The true optimum may lie beyond the grid: only the inner side is bounded.
        interval = (None, float(fit.curve.x[1])) if fit.edge == "low" else (float(fit.curve.x[-2]), None)
    return ScaleOptimum(
        fit.curve.scale, fit.status, fit.vertex, interval, fit.loss, fit.curve.trials, fit.curve.diverged
    )


def _slope(
    fits: Sequence[Fit], draws: dict[int, _Draws], usable: list[int]
) -> tuple[float | None, Interval | None]:
    """Weighted least squares of the optimum on log2 scale, and its interval.

    Where the optima scatter about the line by more than their errors, the interval grows by that factor.
    """
    if len(usable) < 2:
        return None, None
    t = np.log2([fits[index].curve.scale for index in usable])
    optimum = np.array([fits[index].vertex for index in usable])
    drawn_RS = np.stack([draws[index].vertex for index in usable], axis=1)
    error = np.hypot(drawn_RS.std(axis=0), POSITION_FLOOR)
    weight = 1 / error**2
    center = t - np.average(t, weights=weight)
    lever = weight * center / (weight @ center**2)
    slope = float(lever @ optimum)
    # The bootstrap holds the noise; the floor on each position is added as its own error.
    spread_R = (drawn_RS - optimum) @ lever
    extra = POSITION_FLOOR * float(np.sqrt(lever @ lever))
    jitter_R = np.random.default_rng(1).normal(0, extra, REPLICATES)
    inflation = 1.0
    if len(usable) > 2:
        residual = optimum - np.average(optimum, weights=weight) - slope * center
        inflation = max(1.0, float(np.sqrt(np.sum((residual / error) ** 2) / (len(usable) - 2))))
    low, high = _percentiles((spread_R + jitter_R) * inflation)
    return slope, (slope + min(low, 0.0), slope + max(high, 0.0))


def _penalty(
    fits: Sequence[Fit], draws: dict[int, _Draws], usable: list[int], sigma: float
) -> tuple[float | None, Interval | None, float | None]:
    """Loss at the largest scale at the value chosen on the smaller half, minus its own minimum.

    The upper end is None where the largest scale diverges at that value, or where its own minimum is
    beyond the grid: then only the lower end is known.
    """
    smaller = [index for index in usable if index < len(fits) // 2] or usable[:1]
    largest = fits[-1] if fits else None
    if not smaller or largest is None or largest.loss is None or smaller[0] == len(fits) - 1:
        return None, None, None
    chosen_R = np.mean([draws[index].vertex for index in smaller], axis=0)
    chosen = float(np.mean([fits[index].vertex for index in smaller]))
    point, bounded = _excess(largest, np.array([chosen]), None)
    drawn_R, bounded_R = _excess(largest, chosen_R, draws.get(len(fits) - 1))
    outside = ~_within(largest, chosen_R)
    drawn_R = drawn_R + outside * np.random.default_rng(2).normal(0, sigma, REPLICATES)
    low, high = _percentiles(drawn_R)
    known = largest.usable and bool(bounded[0]) and bool(np.mean(bounded_R) > 0.975)
    interval = (max(0.0, min(low, float(point[0]))), max(high, float(point[0])) if known else None)
    return float(point[0]), interval, chosen


def _within(fit: Fit, x: Floats) -> Truths:
    """Whether each x lies in the window that the parabola was fitted on."""
    grid = fit.curve.x[fit.window]
    inside: Truths = (x >= grid[0]) & (x <= grid[-1])
    return inside


def _excess(fit: Fit, x_R: Floats, draws: _Draws | None) -> tuple[Floats, Truths]:
    """Loss at x minus the minimum: on the parabola inside its window, interpolated outside it.

    Also whether it is known: beyond the last point that did not diverge it is only a lower bound.
    """
    assert fit.loss is not None
    curve = fit.curve
    finite = np.isfinite(curve.y)
    known = _between_finite(curve, x_R)
    interpolated = np.interp(x_R, curve.x[finite], curve.y[finite])
    if not fit.usable:
        return np.maximum(interpolated - fit.loss, 0.0), known
    y_RP = curve.y[None, fit.window] if draws is None else draws.y_RP
    minimum = fit.loss if draws is None else draws.loss
    grid = curve.x[fit.window]
    a, b, c = np.linalg.lstsq(np.vander(grid - grid.mean(), 3), y_RP.T, rcond=None)[0]
    t = np.clip(x_R, grid[0], grid[-1]) - grid.mean()
    on_parabola = a * t * t + b * t + c
    value = np.where(_within(fit, x_R), on_parabola, interpolated)
    return np.maximum(value - minimum, 0.0), known


def _between_finite(curve: Curve, x_R: Floats) -> Truths:
    """Whether both grid points around each x are finite: next to a diverged one the loss is unknown."""
    finite = np.isfinite(curve.y)
    high = np.clip(np.searchsorted(curve.x, x_R), 0, len(curve.x) - 1)
    low = np.where(curve.x[high] == x_R, high, np.maximum(high - 1, 0))
    inside = (x_R >= curve.x[0]) & (x_R <= curve.x[-1])
    known: Truths = inside & finite[low] & finite[high]
    return known


def _verdict(
    fits: Sequence[Fit],
    slope: float | None,
    slope_interval: Interval | None,
    penalty: float | None,
    penalty_interval: Interval | None,
) -> tuple[Verdict, list[str]]:
    reasons = [reason for fit in fits if (reason := _unusable(fit))]
    usable = sum(fit.usable for fit in fits)
    if usable < MIN_SCALES:
        return "inconclusive", [f"{usable} usable scales; at least {MIN_SCALES} are needed", *reasons]
    if slope is None or slope_interval is None or penalty is None or penalty_interval is None:
        return "inconclusive", ["the largest scale has no optimum to compare with", *reasons]
    low, high = penalty_interval
    assert low is not None and slope_interval[0] is not None and slope_interval[1] is not None
    moves = slope_interval[0] > 0 or slope_interval[1] < 0
    if high is not None and high <= STABLE_PENALTY_NATS and abs(slope) <= STABLE_SLOPE:
        return "stable", reasons
    if low > STABLE_PENALTY_NATS and moves:
        return "drifts", reasons
    if low <= STABLE_PENALTY_NATS and (high is None or high > STABLE_PENALTY_NATS):
        reasons.append(f"the transfer penalty's interval holds the tolerance of {STABLE_PENALTY_NATS} nats")
    if not moves and low > STABLE_PENALTY_NATS:
        reasons.append("transferring costs, but the slope's interval holds 0")
    if abs(slope) > STABLE_SLOPE and high is not None and high <= STABLE_PENALTY_NATS:
        reasons.append(f"the optimum moves by more than {STABLE_SLOPE} octaves per doubling at little cost")
    return "inconclusive", reasons


def _unusable(fit: Fit) -> str | None:
    scale = f"{fit.curve.scale:g}"
    match fit.status:
        case "ok":
            return None
        case "at_edge":
            end = "lowest" if fit.edge == "low" else "highest"
            return f"scale {scale}: the optimum is at the {end} value of the grid; extend it"
        case "all_diverged":
            return f"scale {scale}: every trial diverged; add lower values"
        case "too_few":
            return f"scale {scale}: too few points around the minimum; refine the grid"


def _percentiles(values: Floats) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
