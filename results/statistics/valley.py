"""Loss curves as valleys of unknown shape and unit: a Gaussian process on warped losses, per family.

A height h above a scale's lowest loss is warped to b log(1 + h / b). That moves no minimum, leaves the bottom
as it is, and makes walls and cliffs as gentle as the valley between them, so that one smoothness serves all
of a curve (warped Gaussian processes: Snelson, Rasmussen and Ghahramani 2003). The warped curve is a Gaussian
process (Matérn) of unknown level with white noise. How smooth the curves are, how deep, how sharply they are
bent and how noisy a run is, is common to the scales of a family; none of it is fixed, all of it is integrated
over on a grid, by the evidence of the curves and by how the seeds scatter.

Heights are told in each scale's own unit, the median height near its lowest point. So nothing here has a
unit: losses that are multiplied by a number or shifted by one have the same optima.

S scales, P points of one scale, R draws, F places looked at; on the grid L kernels, B bends, A amplitudes,
N noises, and C two conventions of the noise
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curve import Floats, Truths

LENGTHS = np.array([1.0, 1.5, 2.2, 3.3, 5.0, 7.5])
"""Octaves over which a curve goes on as it was."""
SMOOTHNESSES = 3
BENDS = np.array([0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 1e4])
AMPLITUDES = np.array([0.3, 1.0, 3.0, 10.0, 30.0, 100.0])
NOISES = np.geomspace(1e-3, 2.0, 24)
"""These three are in units of a scale's own valley."""
SAME_NOISE = np.array([0.0, 1.0])
"""Whether a run's noise is the same loss at all scales (0), or the same share of each scale's valley (1)."""

USUAL_AMPLITUDE, AMPLITUDE_FACTOR = 5.0, 1.5
USUAL_NOISE, NOISE_FACTOR = 0.08, 2.0
"""What is likely before the data speak: the middle, and the standard deviation of its logarithm."""

NEAR_OCTAVES = 2.5
"""Points this near to the lowest tell the unit of a scale."""
NEAR_UNITS = 3.0
"""And no higher than this the differences of the seeds."""
DRAWS = 1000
PLACES = 121
STEEPEST = 30.0
"""Heights are told up to e to this power of a bend."""
CURVATURE_OCTAVES = 0.5


@dataclass(frozen=True, slots=True)
class Points:
    """What one scale brings: losses `y` [P] at `x` [P], ascending, each the mean of `runs` [P].

    `scatter_KP` are the deviations of the K seeds' runs from it, freed of what each seed shifts all its
    losses by; NaN where there is no run.
    """

    x: Floats
    y: Floats
    runs: Floats
    scatter_KP: Floats


@dataclass(frozen=True, slots=True)
class Valley:
    """Draws of one scale's curve between its first and last point: `loss_RF` at `place_F`.

    `vertex_R` and `lowest_R` are each draw's optimum and the loss there; `noise` is the standard deviation of
    a single run near the minimum, in the unit of the losses.
    """

    place_F: Floats
    loss_RF: Floats
    vertex_R: Floats
    lowest_R: Floats
    noise: float

    def at(self, x_R: Floats) -> Floats:
        """Each draw's loss at a place of its own, [R]; beyond the ends, that at the end."""
        step = self.place_F[1] - self.place_F[0]
        position_R = np.clip((x_R - self.place_F[0]) / step, 0, len(self.place_F) - 1)
        left_R = np.minimum(position_R.astype(int), len(self.place_F) - 2)
        share_R = position_R - left_R
        row = np.arange(len(self.loss_RF))
        loss_R: Floats = (1 - share_R) * self.loss_RF[row, left_R] + share_R * self.loss_RF[row, left_R + 1]
        return loss_R

    @property
    def curvature_R(self) -> Floats:
        """Second difference over an octave around each draw's optimum: loss per octave squared."""
        low, high = self.place_F[0] + CURVATURE_OCTAVES, self.place_F[-1] - CURVATURE_OCTAVES
        middle_R = np.clip(self.vertex_R, min(low, high), max(low, high))
        sides_R = self.at(middle_R - CURVATURE_OCTAVES) + self.at(middle_R + CURVATURE_OCTAVES)
        return (sides_R - 2 * self.at(middle_R)) / CURVATURE_OCTAVES**2


@dataclass(frozen=True, slots=True)
class _Scale:
    """One scale on the grid: warped heights `warped_BP`; `root_P` of the runs; the kernel's eigenvalues
    `values_LP` and -vectors `vectors_LPP` between points weighted by it; curve and level in that basis."""

    points: Points
    unit: float
    warped_BP: Floats
    root_P: Floats
    values_LP: Floats
    vectors_LPP: Floats
    curve_LBP: Floats
    level_LP: Floats
    seeds: "_Seeds"


@dataclass(frozen=True, slots=True)
class _Seeds:
    """How the seeds of one scale differ, in its own unit: `left_M` of single runs at heights `height_M`, with
    `freedom`, once each seed has a tilt of its own; and the tilts' squares, of `tilts` degrees of freedom, in
    excess of what such noise makes of them: per octave squared, for the mean of all seeds."""

    left_M: Floats
    height_M: Floats
    freedom: float
    excess: float
    tilts: float


def valleys(scales: Sequence[Points]) -> list[Valley]:
    """Of a family's scales, each with at least two points."""
    units = _units(scales)
    held = [_scale(points, unit) for points, unit in zip(scales, units, strict=True)]
    common = float(np.exp(np.mean(np.log(units))))
    log_CLBAN = sum((_evidence(scale, common) for scale in held), start=_prior())
    weight = np.exp(log_CLBAN - log_CLBAN.max())
    chosen = _chosen(weight / weight.sum())
    tilts = sum(scale.seeds.tilts for scale in held)
    tilt = (max(sum(scale.seeds.excess for scale in held), 0.0) / max(tilts, 1.0)) ** 0.5
    return [_valley(scale, index, chosen, common, tilt, tilts) for index, scale in enumerate(held)]


def _units(scales: Sequence[Points]) -> Floats:
    """The median height near the lowest point; where all is flat that of the others, or any."""
    units = np.array([_unit(points) for points in scales])
    sloped = units[units > 0]
    smallest = max(float(np.abs(points.y).max()) for points in scales) * 1e-12 or 1.0
    usual = float(np.exp(np.mean(np.log(sloped)))) if len(sloped) else smallest
    return np.maximum(np.where(units > 0, units, usual), smallest)


def _unit(points: Points) -> float:
    height = points.y - points.y.min()
    near = np.abs(points.x - points.x[np.argmin(height)]) <= NEAR_OCTAVES
    risen = height[near & (height > 0)]
    return float(np.median(risen)) if len(risen) else float(height.max())


def _scale(points: Points, unit: float) -> _Scale:
    height = (points.y - points.y.min()) / unit
    warped_BP = BENDS[:, None] * np.log1p(height / BENDS[:, None])
    root_P = np.sqrt(points.runs)
    kernel_LPP = _kernel(points.x, points.x) * (root_P[:, None] * root_P)
    values_LP, vectors_LPP = np.linalg.eigh(kernel_LPP)
    return _Scale(
        points,
        unit,
        warped_BP,
        root_P,
        np.maximum(values_LP, 0.0),
        vectors_LPP,
        np.einsum("lpq,bp->lbq", vectors_LPP, warped_BP * root_P),
        np.einsum("lpq,p->lq", vectors_LPP, root_P),
        _seeds(points, unit),
    )


def _seeds(points: Points, unit: float) -> _Seeds:
    """Seeds have optima of their own: near the lowest point each seed's deviations are a line."""
    height = (points.y - points.y.min()) / unit
    near = (np.abs(points.x - points.x[np.argmin(height)]) <= NEAR_OCTAVES) & (height <= NEAR_UNITS)
    x, deviation_KP = points.x[near], points.scatter_KP[:, near] / unit
    there_KP = np.isfinite(deviation_KP)
    whole = there_KP.all(axis=1)  # seeds that miss values tell no tilt
    runs, seeds = int(there_KP.sum()), int(whole.sum())
    lever = x - x.mean()
    spread = float(lever @ lever)
    if seeds < 2 or spread == 0 or len(x) < 3:
        freedom = max(0, runs - len(x) - max(int(there_KP.any(axis=1).sum()), 1) + 1)
        return _Seeds(deviation_KP[there_KP], _heights(height[near], there_KP), float(freedom), 0.0, 0.0)
    tilt_K = np.where(whole, np.where(there_KP, deviation_KP, 0.0) @ lever / spread, 0.0)
    tilt_K = np.where(whole, tilt_K - tilt_K[whole].mean(), 0.0)
    left_KP = deviation_KP - tilt_K[:, None] * lever
    freedom = max(1, runs - len(x) - int(there_KP.any(axis=1).sum()) + 1 - (seeds - 1))
    noise = float(np.nansum(left_KP**2)) / freedom
    excess = (float(tilt_K @ tilt_K) - (seeds - 1) * noise / spread) / seeds
    return _Seeds(left_KP[there_KP], _heights(height[near], there_KP), float(freedom), excess, seeds - 1.0)


def _heights(height_P: Floats, there_KP: Truths) -> Floats:
    """Of each run that is there."""
    return np.broadcast_to(height_P, there_KP.shape)[there_KP]


def _kernel(one: Floats, other: Floats) -> Floats:
    """Matérn 5/2 and 7/2 and their smooth limit, for every length, [L, ., .]."""
    r = np.abs(one[:, None] - other) / LENGTHS[:, None, None]
    five, seven = np.sqrt(5) * r, np.sqrt(7) * r
    return np.concatenate([
        (1 + five + five**2 / 3) * np.exp(-five),
        (1 + seven + 0.4 * seven**2 + seven**3 / 15) * np.exp(-seven),
        np.exp(-(r**2) / 2),
    ])  # fmt: skip


def _evidence(scale: _Scale, common: float) -> Floats:
    """Log evidence [C, L, B, A, N] of one scale's points and scatter, its level being unknown."""
    noise_CN = NOISES * (common / scale.unit) ** (1 - SAME_NOISE[:, None])
    curve_LAP = AMPLITUDES[:, None] ** 2 * scale.values_LP[:, None, :]
    variance = curve_LAP[:, :, None, :] + noise_CN[:, None, None, :, None] ** 2  # [C, L, A, N, P]
    precision = 1 / variance
    curve_LBP, level_LP = scale.curve_LBP, scale.level_LP
    squares = np.einsum("lbp,clanp->clban", curve_LBP**2, precision, optimize=True)
    across = np.einsum("lbp,clanp->clban", curve_LBP * level_LP[:, None], precision, optimize=True)
    levels = np.einsum("lp,clanp->clan", level_LP**2, precision, optimize=True)
    size = np.log(variance).sum(axis=-1) + np.log(levels)
    stretch_B = np.log1p((scale.points.y - scale.points.y.min()) / scale.unit / BENDS[:, None]).sum(axis=1)
    told = -0.5 * (squares - across**2 / levels[:, :, None] + size[:, :, None])
    found: Floats = told - stretch_B[:, None, None] + _scattered(scale, noise_CN)[:, None, :, None, :]
    return found


def _scattered(scale: _Scale, noise_CN: Floats) -> Floats:
    """Log likelihood [C, B, N] of the seeds' scatter, which the warp shrinks as it does the heights."""
    seeds = scale.seeds
    squares_B = ((seeds.left_M / (1 + seeds.height_M / BENDS[:, None])) ** 2).sum(axis=1)
    noise = noise_CN[:, None, :]
    found: Floats = -squares_B[:, None] / (2 * noise**2) - seeds.freedom * np.log(noise)
    return found


def _prior() -> Floats:
    noise = -0.5 * (np.log(NOISES / USUAL_NOISE) / NOISE_FACTOR) ** 2
    amplitude = -0.5 * (np.log(AMPLITUDES / USUAL_AMPLITUDE) / AMPLITUDE_FACTOR) ** 2
    shape = (len(SAME_NOISE), SMOOTHNESSES * len(LENGTHS), len(BENDS), len(AMPLITUDES), len(NOISES))
    return np.broadcast_to(noise + amplitude[:, None], shape).copy()


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Places on the grid, one for every draw of the first half of the draws; the other half mirrors it."""

    same_noise: Floats
    length: Floats
    bend: Floats
    amplitude: Floats
    noise: Floats


def _chosen(weight: Floats) -> _Chosen:
    """In proportion to the weights, in the grid's own order: what is drawn changes little where they do."""
    shares = (np.arange(DRAWS // 2) + 0.5) / (DRAWS // 2)
    cell = np.minimum(np.searchsorted(np.cumsum(weight.ravel()), shares), weight.size - 1)
    return _Chosen(*(index.astype(float) for index in np.unravel_index(cell, weight.shape)))


def _valley(scale: _Scale, index: int, chosen: _Chosen, common: float, tilt: float, tilts: float) -> Valley:
    """Matheron's rule: a draw of the process, moved to where the points are. Random numbers are fixed, those
    of a scale by its place in the family: a report repeats itself."""
    points, count = scale.points, len(scale.points.x)
    place_F = np.linspace(points.x[0], points.x[-1], PLACES)
    generator = np.random.default_rng([0, index])
    normal_R = generator.standard_normal((DRAWS // 2, count + PLACES))
    error_RP = generator.standard_normal((DRAWS // 2, count))
    bend, length = chosen.bend.astype(int), chosen.length.astype(int)
    amplitude_R = AMPLITUDES[chosen.amplitude.astype(int)][:, None]
    same_R = SAME_NOISE[chosen.same_noise.astype(int)]
    noise_R = (NOISES[chosen.noise.astype(int)] * (common / scale.unit) ** (1 - same_R))[:, None]
    error_RP *= noise_R / scale.root_P
    kernel_L = _kernel(np.concatenate([points.x, place_F]), np.concatenate([points.x, place_F]))
    warped_RF = np.empty((DRAWS, PLACES))
    for one in np.unique(length):
        mine = np.flatnonzero(length == one)
        kernel, vectors_PP, values_P = kernel_L[one], scale.vectors_LPP[one], scale.values_LP[one]
        root = np.linalg.cholesky(kernel + 1e-8 * np.eye(len(kernel)))
        before_R = amplitude_R[mine] * (normal_R[mine] @ root.T)
        precision_RP = 1 / (amplitude_R[mine] ** 2 * values_P + noise_R[mine] ** 2)
        level_P = scale.level_LP[one]
        for sign, rows in ((1, mine), (-1, mine + DRAWS // 2)):
            missed_RP = scale.warped_BP[bend[mine]] - sign * (before_R[:, :count] + error_RP[mine])
            turned_RP = (missed_RP * scale.root_P) @ vectors_PP
            level_R = (turned_RP * level_P * precision_RP).sum(axis=1)
            level_R /= (level_P**2 * precision_RP).sum(axis=1)
            pull_RP = ((turned_RP - level_R[:, None] * level_P) * precision_RP) @ vectors_PP.T * scale.root_P
            moved_RF = amplitude_R[mine] ** 2 * (pull_RP @ kernel[:count, count:])
            warped_RF[rows] = sign * before_R[:, count:] + level_R[:, None] + moved_RF
    bends_R = np.tile(BENDS[bend], 2)[:, None]
    height_RF = bends_R * np.expm1(np.minimum(warped_RF / bends_R, STEEPEST))
    if tilt and scale.seeds.tilts:
        tilt_R = tilt * generator.standard_normal(DRAWS) * np.sqrt(tilts / generator.chisquare(tilts, DRAWS))
        height_RF = height_RF + tilt_R[:, None] * (place_F - points.x[np.argmin(points.y)])
    vertex_R = minima(place_F, height_RF)
    lowest_R = points.y.min() + scale.unit * height_RF.min(axis=1)
    noise = float(np.mean(noise_R)) * scale.unit
    return Valley(place_F, points.y.min() + scale.unit * height_RF, vertex_R, lowest_R, noise)


def minima(place_F: Floats, height_RF: Floats) -> Floats:
    """Where each draw is lowest: of the lowest place and its neighbours the vertex of their parabola."""
    lowest = height_RF.argmin(axis=1)
    inner = np.clip(lowest, 1, len(place_F) - 2)
    row = np.arange(len(height_RF))
    left, middle, right = (height_RF[row, inner + step] for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    offset = np.where(bend > 0, 0.5 * (left - right) / np.where(bend > 0, bend, 1.0), 0.0)
    offset = np.where(lowest == inner, np.clip(offset, -0.5, 0.5), 0.0)
    vertex_R: Floats = place_F[lowest] + offset * (place_F[1] - place_F[0])
    return vertex_R
