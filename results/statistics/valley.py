"""Loss curves as valleys of unknown shape and unit: each scale's draws of the process (process.py) along one
hyperparameter, whose seeds may have optima of their own.

K seeds, P points of one scale, R draws, F places looked at
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curve import Floats, Truths
from .process import NEAR_OCTAVES, Losses, Process, Scatter, family_units

LENGTHS = np.array([1.0, 1.5, 2.2, 3.3, 5.0, 7.5])
"""Octaves over which a curve goes on as it was."""
NEAR_UNITS = 3.0
"""Seeds are compared where heights are no more than this, in units of the scale's own valley."""
PLACES = 121
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

    def lowest_beyond_R(self, octaves: float) -> Floats:
        """The lowest of each draw within so many octaves beyond its last place, or beyond its first where
        they are negative: it goes on there as the parabola through its last octave."""
        end, inwards, reach = self.place_F[-1 if octaves > 0 else 0], -np.sign(octaves), abs(octaves)
        at_R, half_R, whole_R = (
            self.at(np.full(len(self.loss_RF), end + inwards * away)) for away in (0.0, 0.5, 1.0)
        )
        bend_R = np.maximum(2 * (at_R - 2 * half_R + whole_R), 0.0)
        fall_R = np.maximum(whole_R - at_R - bend_R, 0.0)  # per octave, at the end
        vertex_R = np.divide(
            fall_R, 2 * bend_R, out=np.full(len(fall_R), reach), where=2 * bend_R * reach > fall_R
        )
        found_R: Floats = at_R - fall_R * vertex_R + bend_R * vertex_R**2
        return found_R

    @property
    def curvature_R(self) -> Floats:
        """Second difference over an octave around each draw's optimum: loss per octave squared."""
        low, high = self.place_F[0] + CURVATURE_OCTAVES, self.place_F[-1] - CURVATURE_OCTAVES
        middle_R = np.clip(self.vertex_R, min(low, high), max(low, high))
        sides_R = self.at(middle_R - CURVATURE_OCTAVES) + self.at(middle_R + CURVATURE_OCTAVES)
        return (sides_R - 2 * self.at(middle_R)) / CURVATURE_OCTAVES**2


@dataclass(frozen=True, slots=True)
class _Seeds:
    """How the seeds of one scale differ, in its own unit: `scatter` of single runs, once each seed has a tilt
    of its own; and the tilts' squares, of `tilts` degrees of freedom, in excess of what such noise makes of
    them: per octave squared, for the mean of all seeds."""

    scatter: Scatter
    excess: float
    tilts: float


def valleys(scales: Sequence[Points]) -> list[Valley]:
    """Of a family's scales, each with at least two points."""
    losses = [Losses(points.x[:, None], points.y, points.runs) for points in scales]
    units = family_units(losses)
    seeds = [_seeds(points, unit) for points, unit in zip(scales, units, strict=True)]
    process = Process(losses, [one.scatter for one in seeds], LENGTHS[:, None])
    tilts = sum(one.tilts for one in seeds)
    tilt = (max(sum(one.excess for one in seeds), 0.0) / max(tilts, 1.0)) ** 0.5
    return [
        _valley(process, index, points, tilt * unit if one.tilts else 0.0, tilts)
        for index, (points, unit, one) in enumerate(zip(scales, units, seeds, strict=True))
    ]


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
        scatter = Scatter(deviation_KP[there_KP], _heights(height[near], there_KP), float(freedom))
        return _Seeds(scatter, 0.0, 0.0)
    tilt_K = np.where(whole, np.where(there_KP, deviation_KP, 0.0) @ lever / spread, 0.0)
    tilt_K = np.where(whole, tilt_K - tilt_K[whole].mean(), 0.0)
    left_KP = deviation_KP - tilt_K[:, None] * lever
    freedom = max(1, runs - len(x) - int(there_KP.any(axis=1).sum()) + 1 - (seeds - 1))
    noise = float(np.nansum(left_KP**2)) / freedom
    excess = (float(tilt_K @ tilt_K) - (seeds - 1) * noise / spread) / seeds
    scatter = Scatter(left_KP[there_KP], _heights(height[near], there_KP), float(freedom))
    return _Seeds(scatter, excess, seeds - 1.0)


def _heights(height_P: Floats, there_KP: Truths) -> Floats:
    """Of each run that is there."""
    return np.broadcast_to(height_P, there_KP.shape)[there_KP]


def _valley(process: Process, index: int, points: Points, tilt: float, tilts: float) -> Valley:
    """Random numbers are fixed, those of a scale by its place in the family: a report repeats itself."""
    place_F = np.linspace(points.x[0], points.x[-1], PLACES)
    generator = np.random.default_rng([0, index])
    drawn = process.draw(index, place_F[:, None], generator)
    height_RF = drawn.height_RF
    if tilt:
        draws = len(height_RF)
        tilt_R = tilt * generator.standard_normal(draws) * np.sqrt(tilts / generator.chisquare(tilts, draws))
        height_RF = height_RF + tilt_R[:, None] * (place_F - points.x[np.argmin(points.y)])
    vertex_R = minima(place_F, height_RF)
    loss_RF = points.y.min() + height_RF
    return Valley(place_F, loss_RF, vertex_R, loss_RF.min(axis=1), drawn.noise)


def minima(place_F: Floats, height_RF: Floats) -> Floats:
    """Where each draw is lowest: of the lowest place and its neighbours the vertex of their parabola."""
    lowest = height_RF.argmin(axis=1)
    inner = np.clip(lowest, 1, len(place_F) - 2)
    row = np.arange(len(height_RF))
    left, middle, right = (height_RF[row, inner + step] for step in (-1, 0, 1))
    # A surface is infinite where it was not looked at.
    told = np.isfinite(left) & np.isfinite(middle) & np.isfinite(right)
    left, middle, right = (np.where(told, side, 0.0) for side in (left, middle, right))
    bend = left - 2 * middle + right
    offset = np.where(bend > 0, 0.5 * (left - right) / np.where(bend > 0, bend, 1.0), 0.0)
    offset = np.where(lowest == inner, np.clip(offset, -0.5, 0.5), 0.0)
    vertex_R: Floats = place_F[lowest] + offset * (place_F[1] - place_F[0])
    return vertex_R
