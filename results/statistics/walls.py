"""Where two walls meet: an optimum that is a corner, which smooth curves take for noise.

P points, X places, C coefficients
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .curve import Curve, Floats

ASIDE = 2
"""Values on either side of the lowest that walls are drawn through."""
POWERS = (1, 2)
"""Of the distance from where they meet: straight walls, and halves of two parabolas."""
PLACES = 81
FITS, AS_WELL = 16.0, 2.0
"""Sums of squared misses, in variances of the noise: of walls that are possible, and by which others are as
good as the best. Chosen by calibration (docs/verdict.md)."""
TIED = 0.1
"""Values within this share of the noise are as low as the lowest, lest rounding decides which it is."""


def meeting(curve: Curve, noise: float) -> tuple[float, float] | None:
    """The lowest and the highest log2 at which walls may meet, through the lowest value and two on either
    side; None where there are none, or no walls pass through them. `noise` is that of one run."""
    ends = [end for walls in _walls(curve, noise) for end in walls.ends]
    return (min(ends), max(ends)) if ends else None


def cost_by_walls(curve: Curve, noise: float, value: float) -> float:
    """The most that a value costs above where such walls meet; 0 where none are possible, and beyond the five
    values that they are drawn through."""
    costs = [walls.cost(value) for walls in _walls(curve, noise)]
    return max(costs, default=0.0)


@dataclass(frozen=True, slots=True)
class _Walls:
    """Of one power, through values from `first` to `last`: by place where they meet, how much they miss and
    how steep they are, [X, 2]."""

    first: float
    last: float
    power: int
    place_X: Floats
    missed_X: Floats
    steep_X2: Floats

    @property
    def most(self) -> float:
        """Missed by those that fit about as well as the best."""
        return float(self.missed_X.min()) + AS_WELL

    @property
    def ends(self) -> tuple[float, float]:
        return (
            _end(self.place_X, self.missed_X, self.most),
            _end(self.place_X[::-1], self.missed_X[::-1], self.most),
        )

    def cost(self, value: float) -> float:
        """At most. The farthest places where they may meet count as they lie between those that are tried,
        lest one that just may be decides by rounding."""
        if not self.first <= value <= self.last:
            return 0.0
        away_X2 = np.stack([self.place_X - value, value - self.place_X], axis=1)
        cost_X = (self.steep_X2 * np.maximum(away_X2, 0) ** self.power).sum(axis=1)
        inside = cost_X[self.missed_X <= self.most].max()
        return float(max(inside, *np.interp(self.ends, self.place_X, cost_X)))


def _walls(curve: Curve, noise: float) -> Iterator[_Walls]:
    """Those that are possible, through every lowest value and for every power."""
    if noise < np.finfo(float).tiny:  # nothing is known of how well walls fit
        return
    there = np.flatnonzero(curve.usable)
    x, y, error = curve.x[there], curve.y[there], noise / np.sqrt(curve.runs[there])
    for lowest in np.flatnonzero(y <= y.min() + TIED * error):
        if ASIDE <= lowest < len(there) - ASIDE:
            near = slice(lowest - ASIDE, lowest + ASIDE + 1)
            for power in POWERS:
                walls = _through(x[near], y[near], error[near], power)
                if walls.missed_X.min() <= FITS:
                    yield walls


def _end(place_X: Floats, missed_X: Floats, most: float) -> float:
    """The first place where no more than that is missed, between two of them by interpolation."""
    first = int(np.argmax(missed_X <= most))
    if first == 0 or not np.isfinite(missed_X[first - 1]):
        return float(place_X[first])
    share = (missed_X[first - 1] - most) / (missed_X[first - 1] - missed_X[first])
    return float(place_X[first - 1] + share * (place_X[first] - place_X[first - 1]))


def _through(x: Floats, y: Floats, error: Floats, power: int) -> _Walls:
    """By least squares, for each place where they may meet; what is missed is infinite where one of the two
    does not rise."""
    place_X = np.linspace(x[ASIDE - 1], x[ASIDE + 1], PLACES)
    away_XP = x - place_X[:, None]
    left_XP, right_XP = np.maximum(-away_XP, 0) ** power, np.maximum(away_XP, 0) ** power
    design_XPC = np.stack([np.ones_like(away_XP), left_XP, right_XP], -1) / error[:, None]
    coefficient_XC = np.linalg.pinv(design_XPC) @ (y / error)
    missed_X = (((design_XPC @ coefficient_XC[..., None])[..., 0] - y / error) ** 2).sum(-1)
    steep_X2 = coefficient_XC[:, 1:]
    missed_X = np.where((steep_X2 > 0).all(-1), missed_X, np.inf)
    return _Walls(float(x[0]), float(x[-1]), power, place_X, missed_X, steep_X2)
