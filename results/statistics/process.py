"""Losses as surfaces of unknown shape and unit: a Gaussian process on warped losses, per family.

A height h above a scale's lowest loss is warped to b log(1 + h / b). That moves no minimum, leaves the bottom
as it is, and makes walls and cliffs as gentle as the valley between them, so that one smoothness serves all
of a curve (warped Gaussian processes: Snelson, Rasmussen and Ghahramani 2003). The warped curve is a Gaussian
process (Matérn) about a trend of unknown coefficients, a level or a quadratic surface, with white noise. How
smooth the curves are, how deep, how sharply they are bent and how noisy a run is, is common to the scales of
a family; none of it is fixed, all of it is integrated over on a grid, by the evidence of the curves and by
how the seeds scatter.

Heights are told in each scale's own unit, the median height near its lowest point. So nothing here has a
unit: losses that are multiplied by a number or shifted by one have the same optima.

P points of one scale, D hyperparameters, T terms of the trend, R draws, F places looked at, M single runs; on
the grid L kernels, B bends, A amplitudes, N noises, and C two conventions of the noise
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .curve import Floats

BENDS = np.array([0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 1e4])
AMPLITUDES = np.array([0.3, 1.0, 3.0, 10.0, 30.0, 100.0])
NOISES = np.geomspace(1e-3, 2.0, 24)
"""These three are in units of a scale's own valley."""
SAME_NOISE = np.array([0.0, 1.0])
"""Whether a run's noise is the same loss at all scales (0), or the same share of each scale's valley (1)."""
SMOOTHNESSES = 4
KINKED = 0.5
"""How likely the first of them, with kinks, is before the data speak, as a share of each of the others."""

USUAL_AMPLITUDE, AMPLITUDE_FACTOR = 5.0, 1.5
USUAL_NOISE, NOISE_FACTOR = 0.08, 2.0
"""What is likely before the data speak: the middle, and the standard deviation of its logarithm."""

SURFACE_POINTS = 12
"""A surface of fewer points has a level alone: a quadratic one has six terms."""
WORST_CONDITION = 1e3
"""Nor has one whose points do not tell the six apart: two values of a hyperparameter know no curvature."""
NEAR_OCTAVES = 2.5
"""Points this near to the lowest tell the unit of a scale."""
DRAWS = 1000
STEEPEST = 30.0
"""Heights are told up to e to this power of a bend."""


@dataclass(frozen=True, slots=True)
class Scatter:
    """How single runs of a scale scatter, in its own unit: `left_M` at heights `height_M`, with `freedom`."""

    left_M: Floats
    height_M: Floats
    freedom: float


@dataclass(frozen=True, slots=True)
class Losses:
    """What one scale brings: losses `y_P` at places `x_PD`, each the mean of `runs_P`."""

    x_PD: Floats
    y_P: Floats
    runs_P: Floats

    @property
    def near_P(self) -> Floats:
        """Distance to the lowest point, octaves along the hyperparameter that is furthest from it."""
        distance_P: Floats = np.abs(self.x_PD - self.x_PD[np.argmin(self.y_P)]).max(axis=1)
        return distance_P


@dataclass(frozen=True, slots=True)
class Drawn:
    """Heights of draws above the scale's lowest loss, and the noise of a run, in the unit of the losses."""

    height_RF: Floats
    noise: float


class Process:
    """The process of one family, its scales in their order: `draw` is of one of them.

    `lengths_KD` are the octaves over which a surface goes on as it was, along each hyperparameter: those
    that are possible.
    """

    def __init__(self, scales: Sequence[Losses], scatters: Sequence[Scatter], lengths_KD: Floats) -> None:
        units = family_units(scales)
        self._lengths_KD = lengths_KD
        self._held = [
            _held(losses, unit, lengths_KD, scatter)
            for losses, unit, scatter in zip(scales, units, scatters, strict=True)
        ]
        self._common = float(np.exp(np.mean(np.log(units))))
        prior = _prior(SMOOTHNESSES * len(lengths_KD))
        log_CLBAN = sum((_evidence(held, self._common) for held in self._held), start=prior)
        weight = np.exp(log_CLBAN - log_CLBAN.max())
        self._chosen = _chosen(weight / weight.sum())

    def draw(self, index: int, place_FD: Floats, generator: np.random.Generator) -> Drawn:
        """Matheron's rule: a draw of the process, moved to where the points are."""
        held, chosen = self._held[index], self._chosen
        count, places = len(held.losses.y_P), len(place_FD)
        normal_R = generator.standard_normal((DRAWS // 2, count + places))
        error_RP = generator.standard_normal((DRAWS // 2, count))
        amplitude_R = AMPLITUDES[chosen.amplitude][:, None]
        same_R = SAME_NOISE[chosen.same_noise]
        noise_R = (NOISES[chosen.noise] * (self._common / held.unit) ** (1 - same_R))[:, None]
        error_RP *= noise_R / held.root_P
        all_QD = np.concatenate([held.losses.x_PD, place_FD])
        trend_FT = _trend(place_FD, held.losses)
        warped_RF = np.empty((DRAWS, places))
        for one in np.unique(chosen.kernel):
            mine = np.flatnonzero(chosen.kernel == one)
            kernel = _kernel(all_QD, self._lengths_KD, int(one))
            vectors_PP, values_P = held.vectors_LPP[one], held.values_LP[one]
            root = np.linalg.cholesky(kernel + 1e-8 * np.eye(len(kernel)))
            before_R = amplitude_R[mine] * (normal_R[mine] @ root.T)
            precision_RP = 1 / (amplitude_R[mine] ** 2 * values_P + noise_R[mine] ** 2)
            terms_PT = held.terms_LPT[one]
            spread_RTT = np.einsum("pt,rp,pu->rtu", terms_PT, precision_RP, terms_PT)
            for sign, rows in ((1, mine), (-1, mine + DRAWS // 2)):
                missed_RP = held.warped_BP[chosen.bend[mine]]
                missed_RP = missed_RP - sign * (before_R[:, :count] + error_RP[mine])
                turned_RP = (missed_RP * held.root_P) @ vectors_PP
                told_RT = (turned_RP * precision_RP) @ terms_PT
                trend_RT = np.linalg.solve(spread_RTT, told_RT[:, :, None])[:, :, 0]
                pull_RP = ((turned_RP - trend_RT @ terms_PT.T) * precision_RP) @ vectors_PP.T
                moved_RF = amplitude_R[mine] ** 2 * ((pull_RP * held.root_P) @ kernel[:count, count:])
                warped_RF[rows] = sign * before_R[:, count:] + trend_RT @ trend_FT.T + moved_RF
        bends_R = np.tile(BENDS[chosen.bend], 2)[:, None]
        height_RF = bends_R * np.expm1(np.minimum(warped_RF / bends_R, STEEPEST))
        return Drawn(held.unit * height_RF, float(np.mean(noise_R)) * held.unit)


def family_units(scales: Sequence[Losses]) -> Floats:
    """The median height near the lowest point; where all is flat that of the others, or any."""
    units = np.array([_unit(losses) for losses in scales])
    sloped = units[units > 0]
    smallest = max(float(np.abs(losses.y_P).max()) for losses in scales) * 1e-12 or 1.0
    usual = float(np.exp(np.mean(np.log(sloped)))) if len(sloped) else smallest
    return np.maximum(np.where(units > 0, units, usual), smallest)


def _unit(losses: Losses) -> float:
    height = losses.y_P - losses.y_P.min()
    risen = height[(losses.near_P <= NEAR_OCTAVES) & (height > 0)]
    return float(np.median(risen)) if len(risen) else float(height.max())


@dataclass(frozen=True, slots=True)
class _Held:
    """One scale on the grid: warped heights `warped_BP`; `root_P` of the runs; the kernel's eigenvalues
    `values_LP` and -vectors `vectors_LPP` between points weighted by it; curve and trend in that basis."""

    losses: Losses
    unit: float
    warped_BP: Floats
    root_P: Floats
    values_LP: Floats
    vectors_LPP: Floats
    curve_LBP: Floats
    terms_LPT: Floats
    scatter: Scatter


def _held(losses: Losses, unit: float, lengths_KD: Floats, scatter: Scatter) -> _Held:
    height = (losses.y_P - losses.y_P.min()) / unit
    warped_BP = BENDS[:, None] * np.log1p(height / BENDS[:, None])
    root_P = np.sqrt(losses.runs_P)
    kernels = [_kernel(losses.x_PD, lengths_KD, one) for one in range(SMOOTHNESSES * len(lengths_KD))]
    values_LP, vectors_LPP = np.linalg.eigh(np.stack(kernels) * (root_P[:, None] * root_P))
    return _Held(
        losses,
        unit,
        warped_BP,
        root_P,
        np.maximum(values_LP, 0.0),
        vectors_LPP,
        np.einsum("lpq,bp->lbq", vectors_LPP, warped_BP * root_P),
        np.einsum("lpq,pt->lqt", vectors_LPP, _trend(losses.x_PD, losses) * root_P[:, None]),
        scatter,
    )


def _trend(place_QD: Floats, losses: Losses) -> Floats:
    """Its terms [Q, T]: a level, and for a surface of points enough all up to squares, in the points' spans.

    Along a valley that is oblique to both hyperparameters a level alone pulls the optimum to the grid.
    """
    count, dimensions = losses.x_PD.shape
    level = np.ones((len(place_QD), 1))
    if dimensions == 1 or count < SURFACE_POINTS:
        return level
    middle_D, span_D = losses.x_PD.mean(axis=0), np.ptp(losses.x_PD, axis=0)
    if np.linalg.cond(_quadratic((losses.x_PD - middle_D) / span_D)) > WORST_CONDITION:
        return level
    return _quadratic((place_QD - middle_D) / span_D)


def _quadratic(place_QD: Floats) -> Floats:
    first, second = place_QD.T
    return np.stack([np.ones(len(first)), first, second, first**2, first * second, second**2], axis=1)


def _kernel(place_QD: Floats, lengths_KD: Floats, one: int) -> Floats:
    """Matérn 3/2, which allows for kinks, 5/2, 7/2 and their smooth limit, each for every length: the one of
    this number, [Q, Q]."""
    smoothness, length = divmod(one, len(lengths_KD))
    scaled_QD = place_QD / lengths_KD[length]
    r = np.sqrt(((scaled_QD[:, None] - scaled_QD) ** 2).sum(axis=-1))
    three, five, seven = np.sqrt(3) * r, np.sqrt(5) * r, np.sqrt(7) * r
    found: Floats
    match smoothness:
        case 0:
            found = (1 + three) * np.exp(-three)
        case 1:
            found = (1 + five + five**2 / 3) * np.exp(-five)
        case 2:
            found = (1 + seven + 0.4 * seven**2 + seven**3 / 15) * np.exp(-seven)
        case _:
            found = np.exp(-(r**2) / 2)
    return found


def _evidence(held: _Held, common: float) -> Floats:
    """Log evidence [C, L, B, A, N] of one scale's points and scatter, its trend being unknown."""
    noise_CN = NOISES * (common / held.unit) ** (1 - SAME_NOISE[:, None])
    curve_LAP = AMPLITUDES[:, None] ** 2 * held.values_LP[:, None, :]
    variance = curve_LAP[:, :, None, :] + noise_CN[:, None, None, :, None] ** 2  # [C, L, A, N, P]
    precision = 1 / variance
    curve_LBP, terms_LPT = held.curve_LBP, held.terms_LPT
    squares = np.einsum("lbp,clanp->clban", curve_LBP**2, precision, optimize=True)
    crossed_LBPT = curve_LBP[..., None] * terms_LPT[:, None]
    across = np.einsum("lbpt,clanp->clantb", crossed_LBPT, precision, optimize=True)
    paired_LPTU = terms_LPT[..., None] * terms_LPT[:, :, None]
    spread = np.einsum("lptu,clanp->clantu", paired_LPTU, precision, optimize=True)
    if spread.shape[-1] == 1:  # a level alone: a division in place of many small systems
        explained = across[..., 0, :] ** 2 / spread[..., 0]  # [C, L, A, N, B]
        trend = np.log(spread[..., 0, 0])
    else:
        explained = (across * np.linalg.solve(spread, across)).sum(axis=-2)
        trend = np.linalg.slogdet(spread)[1]
    size = np.log(variance).sum(axis=-1) + trend
    height_P = (held.losses.y_P - held.losses.y_P.min()) / held.unit
    stretch_B = np.log1p(height_P / BENDS[:, None]).sum(axis=1)
    told = -0.5 * (squares - np.moveaxis(explained, -1, 2) + size[:, :, None])
    found: Floats = told - stretch_B[:, None, None] + _scattered(held.scatter, noise_CN)[:, None, :, None, :]
    return found


def _scattered(scatter: Scatter, noise_CN: Floats) -> Floats:
    """Log likelihood [C, B, N] of the seeds' scatter, which the warp shrinks as it does the heights."""
    squares_B = ((scatter.left_M / (1 + scatter.height_M / BENDS[:, None])) ** 2).sum(axis=1)
    noise = noise_CN[:, None, :]
    found: Floats = -squares_B[:, None] / (2 * noise**2) - scatter.freedom * np.log(noise)
    return found


def _prior(kernels: int) -> Floats:
    noise = -0.5 * (np.log(NOISES / USUAL_NOISE) / NOISE_FACTOR) ** 2
    amplitude = -0.5 * (np.log(AMPLITUDES / USUAL_AMPLITUDE) / AMPLITUDE_FACTOR) ** 2
    smoothness = np.zeros((kernels, 1, 1, 1))
    smoothness[: kernels // SMOOTHNESSES] = np.log(KINKED)
    shape = (len(SAME_NOISE), kernels, len(BENDS), len(AMPLITUDES), len(NOISES))
    return np.broadcast_to(smoothness + noise + amplitude[:, None], shape).copy()


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Places on the grid, one for every draw of the first half of the draws; the other half mirrors it."""

    same_noise: NDArray[np.intp]
    kernel: NDArray[np.intp]
    bend: NDArray[np.intp]
    amplitude: NDArray[np.intp]
    noise: NDArray[np.intp]


def _chosen(weight: Floats) -> _Chosen:
    """In proportion to the weights, in the grid's own order: what is drawn changes little where they do."""
    shares = (np.arange(DRAWS // 2) + 0.5) / (DRAWS // 2)
    cell = np.minimum(np.searchsorted(np.cumsum(weight.ravel()), shares), weight.size - 1)
    return _Chosen(*np.unravel_index(cell, weight.shape))
