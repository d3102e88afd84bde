"""Synthetic sweeps with a known optimum at every scale: what estimators and verdicts are calibrated on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mutransfer.results.statistics.curve import Curve, Floats, curve_of
from mutransfer.results.statistics.drift import Drift, judge
from mutransfer.results.statistics.tolerance import Tolerance

COARSE, FINE = np.arange(-10.0, -0.5), np.arange(-9.0, -1.4, 0.5)
BLOWN = 7.0
"""What runs that blew up end at, or a little above."""
FIVE, DENSE = np.arange(-7.0, -2.5), np.arange(-8.0, -2.0, 0.3)


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


def kink(u: Floats) -> Floats:
    return np.where(u > 0, 0.3 * u, -0.04 * u)


def two_curvatures(u: Floats) -> Floats:
    return np.where(u > 0, 0.09 * u**2, 0.03 * u**2)


UNLIKE_WALLS: dict[str, Callable[[Floats], Floats]] = {
    shape.__name__: shape for shape in (kink, two_curvatures)
}
"""Walls that part at the optimum: a curve is not smooth there."""


@dataclass(frozen=True)
class Truth:
    """A family of curves: `slope` in octaves per doubling, `noise` of one run in nats.

    `depth` is the height of a wall one octave from the optimum, roughly: 0.1 nats by default. `lean_changes`:
    the left wall is the steeper at the smallest scale and the right one at the largest. `seed_tilt`: seeds
    have optima of their own, by a tilt of so many nats per octave. `unit` multiplies all losses.
    """

    shape: str = "lopsided"
    slope: float = 0.0
    noise: float = 0.01
    seeds: int = 1
    grid: tuple[float, ...] = tuple(COARSE)
    scales: int = 4
    depth: float = 0.1
    diverges_at: float = np.inf  # octaves above the optimum
    blows_up: bool = False  # and ends 4 nats too high there, finite
    spikes: int = 0  # runs that ended 0.5 nats too high
    trim: int = 0  # points that the grid's lower end lacks
    censored: int = 0  # scales whose grid ends below their optimum
    all_diverge: bool = False  # at the largest scale
    lean_changes: bool = False
    scatter: float = 0.0  # octaves, of each scale's own optimum
    seed_tilt: float = 0.0
    unit: float = 1.0

    def height(self, index: int, u: Floats) -> Floats:
        """Above the scale's lowest loss, u octaves from its optimum."""
        if not self.lean_changes:
            return self.depth / 0.1 * (SHAPES | UNLIKE_WALLS)[self.shape](u)
        share = index / (self.scales - 1)
        return self.depth / 0.1 * (share * steepening(u) + (1 - share) * steepening(-u))


@dataclass(frozen=True)
class Drawn:
    """The true optima, the measured curves, and what a value costs at the largest scale in truth: at least,
    and at most. What blew up costs what it ended at, or has no bound."""

    optima: list[float]
    curves: list[Curve]
    cost: Callable[[float], tuple[float, float]]


def draw(truth: Truth, generator: np.random.Generator) -> Drawn:
    """Scales differ in curvature by up to 15 %."""
    grid = np.array(truth.grid)[truth.trim :]
    start = generator.uniform(-5.5, -4.5)
    optima, curves = [], []
    for index in range(truth.scales):
        optimum = start + truth.slope * index
        optimum += truth.scatter * generator.standard_normal() if truth.scatter else 0.0
        steep = generator.uniform(0.85, 1.15)
        x = grid[grid <= optimum - 0.2] if index < truth.censored else grid
        y = 3 - 0.2 * index + steep * truth.height(index, x - optimum)
        shape = (truth.seeds, len(x))
        runs = y + truth.noise * generator.standard_normal(shape)
        runs = runs + 2 * truth.noise * generator.standard_normal((truth.seeds, 1))
        runs = runs + truth.seed_tilt * generator.standard_normal((truth.seeds, 1)) * (x - optimum)
        for _ in range(truth.spikes):
            runs[generator.integers(truth.seeds), generator.integers(len(x))] += 0.5
        gone = np.broadcast_to(x - optimum > truth.diverges_at, shape)
        gone = gone | (truth.all_diverge and index == truth.scales - 1)
        runs = np.where(gone, BLOWN + generator.uniform(0, 0.4, shape) if truth.blows_up else np.nan, runs)
        diverged = gone & (not truth.blows_up)
        curves.append(
            curve_of(32.0 * 2**index, x, np.arange(float(truth.seeds)), truth.unit * runs, diverged)
        )
        optima.append(optimum)

    def cost(value: float) -> tuple[float, float]:
        u = value - optimum
        if u > truth.diverges_at or truth.all_diverge:
            return truth.unit * (BLOWN - 3 + 0.2 * index) if truth.blows_up else np.inf, np.inf
        finite = truth.unit * steep * float(truth.height(index, np.array(u)))
        return finite, finite

    return Drawn(optima, curves, cost)


def drifts(truth: Truth, sweeps: int, seed: int = 1) -> list[tuple[Drawn, Drift]]:
    generator = np.random.default_rng(seed)
    drawn = [draw(truth, generator) for _ in range(sweeps)]
    return [(one, judge(one.curves, Tolerance(0.05 * truth.unit))) for one in drawn]
