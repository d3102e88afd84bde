"""The curves of a family as one linear model: quartics that share their lopsidedness, and its posterior.

Near its minimum each curve is a quartic in log2 of the hyperparameter: level, tilt and curvature are the
scale's own, the cubic and quartic terms are shared by the family up to small deviations of each scale,
because the curves of a family lean the same way. Given the noise the model is linear and Gaussian; the
noise is one number for the family, on a grid of levels with a weak prior, told by the seeds and by what
the curves leave over. Points high on the walls count less: what a quartic misses grows with the height.

N points of all scales together, C coefficients, G noise levels, R draws
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curve import Floats

# Standard deviations of the shape's terms, in units of the family's median curvature.
CUBIC, CUBIC_OF_SCALE = 0.3, 0.1  # per octave
QUARTIC, QUARTIC_OF_SCALE = 0.1, 0.03  # per octave squared
VAGUE = 1e-8  # precision of what each scale has for itself: level, tilt, curvature
MISFIT = 0.02  # standard deviation of what a quartic misses, per nat above the minimum
NOISE_NATS, NOISE_FACTOR = 0.008, np.e
"""A run's noise is this within a factor NOISE_FACTOR (one standard deviation) before the data speak."""
NOISE_LEVELS = np.geomspace(5e-4, 0.5, 36)
DRAWS = 1000
POWERS = np.arange(5)


@dataclass(frozen=True, slots=True)
class Points:
    """What one scale brings: losses `y` at `x`, means of `runs`; and how single runs scatter around them.

    `squares` is the sum of squares of that scatter with `freedom` degrees of freedom.
    """

    x: Floats
    y: Floats
    runs: Floats
    squares: float
    freedom: float


@dataclass(frozen=True, slots=True)
class Quartics:
    """One scale's curve: coefficients of powers of (x - center), their mean [5] and draws [R, 5]."""

    center: float
    shape: Floats
    shape_RC: Floats


def posterior(scales: Sequence[Points]) -> tuple[list[Quartics], float]:
    """The curve of every scale, and the standard deviation of one run in nats."""
    rough = [_rough(points) for points in scales]
    curvature = float(np.median([curved for _, curved in rough]))
    levels = [float(points.y.min()) for points in scales]
    design = _design([points.x - center for points, (center, _) in zip(scales, rough, strict=True)])
    height = np.concatenate([points.y - level for points, level in zip(scales, levels, strict=True)])
    runs = np.concatenate([points.runs for points in scales])

    variance_GN = NOISE_LEVELS[:, None] ** 2 / runs + (MISFIT * height) ** 2
    normal_GCC = np.einsum("nc,gn,nd->gcd", design, 1 / variance_GN, design, optimize=True)
    normal_GCC += _prior(len(scales), curvature)
    right_GC = (height / variance_GN) @ design
    root_GCC = np.linalg.cholesky(normal_GCC)
    mean_GC = np.linalg.solve(normal_GCC, right_GC[..., None])[..., 0]
    log_G = (
        -0.5 * ((height**2 / variance_GN).sum(axis=1) - (mean_GC * right_GC).sum(axis=1))
        - 0.5 * np.log(variance_GN).sum(axis=1)
        - np.log(np.diagonal(root_GCC, axis1=1, axis2=2)).sum(axis=1)
        + _log_noise(scales)
    )
    weight_G = np.exp(log_G - log_G.max())
    weight_G /= weight_G.sum()
    mean, draws_RC = weight_G @ mean_GC, _draws(weight_G, mean_GC, root_GCC)
    quartics = [
        Quartics(
            center,
            _of_scale(mean[None], index, len(scales), levels[index])[0],
            _of_scale(draws_RC, index, len(scales), levels[index]),
        )
        for index, (center, _) in enumerate(rough)
    ]
    return quartics, float(weight_G @ NOISE_LEVELS)


def _rough(points: Points) -> tuple[float, float]:
    """Where a plain parabola has its vertex, at most one octave from the best point, and its curvature."""
    best = int(np.argmin(points.y))
    t, height = points.x - points.x[best], points.y - points.y[best]
    weight = 1 / (0.02 + height)  # the best points decide
    a, b, _ = np.linalg.lstsq(np.vander(t, 3) * weight[:, None], height * weight, rcond=None)[0]
    a = max(float(a), 1e-3)
    return float(points.x[best]) + float(np.clip(-b / (2 * a), -1, 1)), a


def _design(x: Sequence[Floats]) -> Floats:
    """[N, C]: three columns per scale, two that all share, two deviations per scale."""
    scales = len(x)
    design = np.zeros((sum(len(t) for t in x), 5 * scales + 2))
    row = 0
    for index, t in enumerate(x):
        rows = slice(row, row + len(t))
        design[rows, 3 * index : 3 * index + 3] = t[:, None] ** POWERS[:3]
        design[rows, 3 * scales : 3 * scales + 2] = t[:, None] ** POWERS[3:]
        deviation = 3 * scales + 2 + 2 * index
        design[rows, deviation : deviation + 2] = t[:, None] ** POWERS[3:]
        row += len(t)
    return design


def _prior(scales: int, curvature: float) -> Floats:
    own = np.full(3 * scales, VAGUE)
    deviations = np.array([CUBIC, QUARTIC, *[CUBIC_OF_SCALE, QUARTIC_OF_SCALE] * scales])
    return np.diag(np.concatenate([own, 1 / (deviations * curvature) ** 2]))


def _log_noise(scales: Sequence[Points]) -> Floats:
    """What the seeds' scatter and the prior say of each noise level."""
    squares, freedom = sum(points.squares for points in scales), sum(points.freedom for points in scales)
    prior = -0.5 * (np.log(NOISE_LEVELS / NOISE_NATS) / np.log(NOISE_FACTOR)) ** 2
    said: Floats = prior - squares / (2 * NOISE_LEVELS**2) - freedom * np.log(NOISE_LEVELS)
    return said


def _draws(weight_G: Floats, mean_GC: Floats, root_GCC: Floats) -> Floats:
    """[R, C], each at a noise level drawn by its weight. The seed is fixed: a report repeats itself."""
    generator = np.random.default_rng(0)
    coefficients = mean_GC.shape[1]
    return np.concatenate([
        mean_GC[level] + generator.standard_normal((count, coefficients)) @ np.linalg.inv(root_GCC[level])
        for level, count in enumerate(generator.multinomial(DRAWS, weight_G))
        if count
    ])  # fmt: skip


def _of_scale(coefficients_RC: Floats, index: int, scales: int, level: float) -> Floats:
    """A scale's own polynomial, [R, 5]."""
    own = coefficients_RC[:, 3 * index : 3 * index + 3]
    shared = coefficients_RC[:, 3 * scales : 3 * scales + 2]
    deviation = coefficients_RC[:, 3 * scales + 2 + 2 * index : 3 * scales + 4 + 2 * index]
    shape_RC = np.concatenate([own, shared + deviation], axis=1)
    shape_RC[:, 0] += level
    return shape_RC
