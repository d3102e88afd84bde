"""What transferring a value costs: the loss at the largest scale there, above the largest scale's own lowest.

R draws
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curve import Curve, Floats, Truths
from .interval import Estimate
from .optimum import Fit, beside_divergence
from .process import DRAWS
from .valley import Valley

CHOICE_OCTAVES = 0.1
"""Optima that are known better than this count alike when one value is chosen from several."""
MISFIT = 0.06
"""Standard deviation of what a smooth curve misses of the loss, as a share of what it rises to."""
SAME_OCTAVES = 1e-6
"""A value this close to one that was tried is that one: what is said of it must not hang on rounding."""


@dataclass(frozen=True, slots=True)
class Penalty:
    """In the unit of the losses. `chosen` is log2 of the transferred value.

    `least_R` are draws of what it costs at least, above the loss at the largest scale's optimum as estimated:
    infinite where trials diverge. `most_R` are draws of what it costs at most, above each draw's own lowest:
    infinite, too, where the loss was not measured, next to divergence, beyond the grid, or where the largest
    scale's optimum is. `beyond`: what is transferred lies outside of the largest scale's values.
    """

    estimate: Estimate
    chosen: float
    least_R: Floats
    most_R: Floats
    beyond: bool


def smaller_half(fits: Sequence[Fit]) -> list[int]:
    """Indices of the scales with a value to choose among the smaller half, or the smallest of all."""
    choosing = [index for index, fit in enumerate(fits) if fit.vertex_R is not None]
    return [index for index in choosing if index < len(fits) // 2] or choosing[:1]


def transfer_penalty(fits: Sequence[Fit], chosen_on: Sequence[int]) -> Penalty | None:
    """Of the value that somebody would choose who tuned on some scales: the mean of their optima, weighted by
    precision, and the grid's own end where the optimum is there."""
    if not chosen_on or len(fits) < 2 or chosen_on[-1] == len(fits) - 1:
        return None
    picked = [fits[index] for index in chosen_on]
    error = np.array([_error(fit) for fit in picked])
    chosen = float(np.average(np.array([fit.vertex for fit in picked], dtype=float), weights=1 / error**2))
    value, least_R, most_R = _lost(fits[-1], chosen)
    low = min(float(np.percentile(least_R, 2.5, method="lower")), value)
    high = max(float(np.percentile(most_R, 97.5, method="higher")), value)
    estimate = Estimate(value, (low, high if np.isfinite(high) else None))
    return Penalty(estimate, chosen, least_R, most_R, _place(fits[-1].curve, chosen).beyond)


def _error(fit: Fit) -> float:
    assert fit.vertex_R is not None
    return max(float(fit.vertex_R.std()), CHOICE_OCTAVES)


def _lost(fit: Fit, x: float) -> tuple[float, Floats, Floats]:
    """The loss at x above the scale's lowest: of the median curve, at least, and at most."""
    place = _place(fit.curve, x)
    if place.diverged:
        return np.inf, np.full(DRAWS, np.inf), np.full(DRAWS, np.inf)
    if fit.valley is None or fit.vertex is None:
        there = fit.curve.usable
        x_P, y_P = fit.curve.x[there], fit.curve.y[there]
        least = float(np.interp(place.x, x_P, y_P) - y_P.min())
        return least, np.full(DRAWS, least), np.full(DRAWS, np.inf)
    loss_R = fit.valley.at(np.full(DRAWS, place.x))
    missed_R = np.maximum(1 + MISFIT * np.random.default_rng(7).standard_normal(DRAWS), 0.0)
    least_R = np.maximum(loss_R - fit.valley.at(np.full(DRAWS, fit.vertex)), 0.0)
    known = fit.usable and place.known
    most_R = missed_R * (loss_R - _lowest_R(fit, fit.valley)) if known else np.full(DRAWS, np.inf)
    return float(np.median(least_R)), missed_R * least_R, most_R


def _lowest_R(fit: Fit, valley: Valley) -> Floats:
    """Each draw's own lowest, which may be between the last value that was measured and one that diverged."""
    lowest_R = valley.lowest_R
    for end, outside in beside_divergence(fit.curve):
        lowest_R = np.minimum(lowest_R, valley.lowest_beyond_R(outside - end))
    return lowest_R


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a curve can be read instead of at a value: `known` if that is the value itself, `beyond` if that
    lies outside of all values, diverged ones, too."""

    x: float
    known: bool
    diverged: bool
    beyond: bool = False


def diverging(curve: Curve) -> tuple[float, float]:
    """From where on a curve diverges, below its finite values and above them; infinite where it does not."""
    x, finite = _ended(curve)
    below, above = x[~finite & (x < x[finite].min())], x[~finite & (x > x[finite].max())]
    return (
        float(below.max()) + SAME_OCTAVES if len(below) else -np.inf,
        float(above.min()) - SAME_OCTAVES if len(above) else np.inf,
    )


def _ended(curve: Curve) -> tuple[Floats, Truths]:
    """The values that ended by themselves, and which of them did not diverge; what was stopped early did
    neither."""
    kept = ~np.isnan(curve.y) & ~np.isin(curve.x, curve.pruned)
    return curve.x[kept], np.isfinite(curve.y[kept])


def _place(curve: Curve, value: float) -> _Place:
    """Next to divergence the loss is at least the finite neighbour's; beyond the grid, that of its end."""
    x, finite = _ended(curve)
    if not finite.any():
        return _Place(value, True, True)
    inside = bool(x[0] - SAME_OCTAVES <= value <= x[-1] + SAME_OCTAVES)
    right = int(np.clip(np.searchsorted(x, value - SAME_OCTAVES), 0, len(x) - 1))
    left = right if abs(x[right] - value) <= SAME_OCTAVES or value > x[-1] else max(right - 1, 0)
    if not finite[left] and not finite[right]:
        return _Place(value, True, True)
    if finite[left] and finite[right]:
        return _Place(float(np.clip(value, x[0], x[-1])), inside, False, not inside)
    return _Place(float(x[left] if finite[left] else x[right]), False, False, not inside)
