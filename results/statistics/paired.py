"""Two loss curves of one scale: how far the minimum of one lies from that of the other, and how much lower.

Trials of one sweep that share a seed share batches and first values, and most of their noise with them.
Where the minima are near each other, the difference of the two curves is fitted and added to the fit
of the first. Where they lie apart, losses are subtracted seed by seed, each at its curve's own minimum.
Curves without shared seeds know nothing of each other: their draws are subtracted.

S seeds, P values, R draws, F places looked at
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .curve import Floats
from .optimum import Fit
from .process import DRAWS
from .valley import minima

REACH_OCTAVES = 2.0
"""The difference is a parabola this near to the minima."""
MIN_VALUES, MIN_FREEDOM = 3, 3
ROUNDING = 1e-9
"""Noise of a difference is never taken as a smaller share of the losses: equal trainings have equal ones."""
NEAR = 1e-9


@dataclass(frozen=True, slots=True)
class Difference:
    """The second's minimum minus the first's: `shift` in octaves, `loss` in nats, each with its draws.

    `pairs` of seeds behind it: 0 where the two were not paired.
    """

    shift: float
    shift_R: Floats
    loss: float
    loss_R: Floats
    pairs: int


def difference(one: Fit, two: Fit, paired: bool) -> Difference:
    """Of two usable fits; `paired` where equal seeds are equal batches, as within one sweep."""
    fitted = _fitted_difference(one, two) if paired else None
    if fitted is not None:
        return fitted
    assert one.vertex is not None and two.vertex is not None and one.loss is not None and two.loss is not None
    assert one.vertex_R is not None and two.vertex_R is not None
    loss_R = independent(two.loss_R) - one.loss_R
    loss_S = _at_own_minima(one, two) if paired else np.empty(0)
    if len(loss_S) > 1:
        error = float(loss_S.std(ddof=1)) / len(loss_S) ** 0.5
        heavy_R = np.random.default_rng(6).standard_t(len(loss_S) - 1, DRAWS)
        loss_R = two.loss - one.loss + error * heavy_R
    return Difference(
        two.vertex - one.vertex,
        independent(two.vertex_R) - one.vertex_R,
        two.loss - one.loss,
        loss_R,
        len(loss_S) if len(loss_S) > 1 else 0,
    )


def independent(values_R: Floats) -> Floats:
    """Draws of one fit in another order: all fits draw from one stream of random numbers."""
    return values_R[_order(len(values_R))]


@cache
def _order(draws: int) -> NDArray[np.intp]:
    return np.random.default_rng(3).permutation(draws)


def _at_own_minima(one: Fit, two: Fit) -> Floats:
    """By shared seed: the second's loss minus the first's, each at the value nearest to its own minimum."""
    first, second = _nearest_losses(one), _nearest_losses(two)
    return np.array([second[seed] - first[seed] for seed in sorted({*first} & {*second})])


def _nearest_losses(fit: Fit) -> dict[float, float]:
    """By seed."""
    curve = fit.curve
    assert fit.vertex is not None
    nearest = int(np.argmin(np.where(curve.usable, np.abs(curve.x - fit.vertex), np.inf)))
    losses = zip(curve.seeds, curve.losses_SP[:, nearest], strict=True)
    return {float(seed): float(loss) for seed, loss in losses if np.isfinite(loss)}


def _fitted_difference(one: Fit, two: Fit) -> Difference | None:
    """None where too few seeds and values are shared, or where a minimum lies outside the other's points."""
    if one.valley is None or not (_holds(one, two) and _holds(two, one)):
        return None
    x, delta_SP = _shared(one, two)
    if len(x) < MIN_VALUES or delta_SP.shape[0] * (len(x) - 1) - 2 < MIN_FREEDOM:
        return None
    assert one.vertex is not None
    t, place_F = x - one.vertex, one.valley.place_F - one.vertex
    bend_R2, left = _bend(t, delta_SP, ROUNDING * float(np.abs(one.curve.y[one.curve.usable]).max()))
    offset, error = _offset(delta_SP, left)
    noise_R = np.random.default_rng(4).standard_normal(DRAWS)
    middle = np.array([t.mean(), (t**2).mean()])  # the offset is that of the values' mean
    moved_R3 = np.column_stack([offset + error * noise_R - bend_R2 @ middle, bend_R2])
    first_RF = one.valley.loss_RF
    second_RF = first_RF + moved_R3 @ (place_F[None, :] ** np.arange(3)[:, None])
    inside = (place_F >= t[0] - NEAR) & (place_F <= t[-1] + NEAR)
    shift_R = minima(place_F[inside], second_RF[:, inside]) - minima(place_F[inside], first_RF[:, inside])
    gain_R = second_RF[:, inside].min(axis=1) - first_RF[:, inside].min(axis=1)
    return Difference(float(np.median(shift_R)), shift_R, float(np.median(gain_R)), gain_R, len(delta_SP))


def _holds(fit: Fit, other: Fit) -> bool:
    """Whether the other's minimum lies within REACH_OCTAVES of the fit's and among its points."""
    if fit.vertex is None or other.vertex is None or abs(other.vertex - fit.vertex) > REACH_OCTAVES:
        return False
    x = fit.curve.x[fit.curve.usable]
    return bool(x[0] <= other.vertex <= x[-1])


def _shared(one: Fit, two: Fit) -> tuple[Floats, Floats]:
    """Values near either minimum and the differences there, [S, P], of seeds and values that both have."""
    assert one.vertex is not None and two.vertex is not None
    _, first, second = np.intersect1d(one.curve.seeds, two.curve.seeds, return_indices=True)
    values, left, right = np.intersect1d(one.curve.x, two.curve.x, return_indices=True)
    delta_SP = two.curve.losses_SP[second][:, right] - one.curve.losses_SP[first][:, left]
    usable = one.curve.usable[left] & two.curve.usable[right]
    near = (values >= min(one.vertex, two.vertex) - REACH_OCTAVES) & (
        values <= max(one.vertex, two.vertex) + REACH_OCTAVES
    )
    kept = usable & near & np.isfinite(delta_SP).all(axis=0)
    return values[kept], delta_SP[:, kept]


def _offset(delta_SP: Floats, left: float) -> tuple[float, float]:
    """The mean difference and its standard error: over seeds, where there are several, and at least that of
    what tilt and curvature leave over."""
    means = delta_SP.mean(axis=1)
    scatter = means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else 0.0
    return float(means.mean()), float(max(scatter, left / delta_SP.size**0.5))


def _bend(t: Floats, delta_SP: Floats, least: float) -> tuple[Floats, float]:
    """Draws [R, 2] of tilt and curvature of the difference, the seeds' own offsets left out, and the standard
    deviation of what they leave over."""
    design = np.stack([t, t**2], axis=1)
    design = np.tile(design - design.mean(axis=0), (len(delta_SP), 1))
    centred = (delta_SP - delta_SP.mean(axis=1, keepdims=True)).ravel()
    inverse = np.linalg.inv(design.T @ design)
    bend: Floats = inverse @ design.T @ centred
    freedom = delta_SP.size - len(delta_SP) - 2
    scale = max(float(np.sum((centred - design @ bend) ** 2)) / freedom, least**2) ** 0.5
    generator = np.random.default_rng(5)
    heavy_R = np.sqrt(freedom / generator.chisquare(freedom, DRAWS))  # Student's t, as the noise is estimated
    normal_R2 = generator.standard_normal((DRAWS, 2)) @ np.linalg.cholesky(inverse).T
    return bend + scale * heavy_R[:, None] * normal_R2, scale
