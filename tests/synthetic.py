"""Synthetic sweeps with a known optimum at every scale: what estimators and verdicts are calibrated on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mutransfer.results.statistics.curve import Curve, Floats, curve_of
from mutransfer.results.statistics.drift import Drift, judge

COARSE, FINE = np.arange(-10.0, -0.5), np.arange(-9.0, -1.4, 0.5)


def lopsided(u: Floats) -> Floats:
    return 0.09 * u**2 + np.where(u > 0, 0.01 * u**3, -0.006 * u**3)


def steepening(u: Floats) -> Floats:
    """Gentle to the left, a cliff to the right."""
    return 0.3125 * (np.exp(0.8 * u) - 0.8 * u - 1)


def straight_walls(u: Floats) -> Floats:
    """No parabola but at its very bottom."""
    return 0.15 * np.log((1.2 * np.exp(-0.6 * u) + 0.6 * np.exp(1.2 * u)) / 1.8)


def parabola(u: Floats) -> Floats:
    return 0.1 * u**2


def flat_bottom(u: Floats) -> Floats:
    return 0.08 * u**2 + 0.004 * u**4


SHAPES: dict[str, Callable[[Floats], Floats]] = {
    shape.__name__: shape for shape in (lopsided, steepening, straight_walls, parabola, flat_bottom)
}


@dataclass(frozen=True)
class Truth:
    """A family of curves: `slope` in octaves per doubling, `noise` of one run in nats."""

    shape: str = "lopsided"
    slope: float = 0.0
    noise: float = 0.01
    seeds: int = 1
    grid: tuple[float, ...] = tuple(COARSE)
    scales: int = 4
    diverges_at: float = np.inf  # octaves above the optimum
    spikes: int = 0  # runs that ended 0.5 nats too high
    trim: int = 0  # points that the grid's lower end lacks


def draw(truth: Truth, generator: np.random.Generator) -> tuple[list[float], list[Curve]]:
    """The true optima and the curves that were measured. Scales differ in curvature by up to 15 %."""
    grid = np.array(truth.grid)[truth.trim :]
    start = generator.uniform(-5.5, -4.5)
    optima, curves = [], []
    for index in range(truth.scales):
        optimum = start + truth.slope * index
        steep = generator.uniform(0.85, 1.15)
        y = 3 - 0.2 * index + steep * SHAPES[truth.shape](grid - optimum)
        shape = (truth.seeds, len(grid))
        runs = y + truth.noise * generator.standard_normal(shape)
        runs = runs + 0.02 * generator.standard_normal((truth.seeds, 1))
        for _ in range(truth.spikes):
            runs[generator.integers(truth.seeds), generator.integers(len(grid))] += 0.5
        diverged = np.broadcast_to(grid - optimum > truth.diverges_at, shape)
        losses = np.where(diverged, np.nan, runs)
        curves.append(curve_of(32.0 * 2**index, grid, np.arange(float(truth.seeds)), losses, diverged))
        optima.append(optimum)
    return optima, curves


def drifts(truth: Truth, sweeps: int, seed: int = 1) -> list[tuple[list[float], Drift]]:
    generator = np.random.default_rng(seed)
    drawn = [draw(truth, generator) for _ in range(sweeps)]
    return [(optima, judge(curves)) for optima, curves in drawn]
