"""Where two walls meet: an optimum that is a corner, which smooth curves take for noise.

P points, X places, C coefficients
"""

from collections.abc import Iterator

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
    if noise < np.finfo(float).tiny:  # nothing is known of how well walls fit
        return None
    there = np.flatnonzero(curve.usable)
    x, y, error = curve.x[there], curve.y[there], noise / np.sqrt(curve.runs[there])
    ends = [
        end
        for lowest in np.flatnonzero(y <= y.min() + TIED * error)
        if ASIDE <= lowest < len(there) - ASIDE
        for end in _ends(*(values[lowest - ASIDE : lowest + ASIDE + 1] for values in (x, y, error)))
    ]
    return (min(ends), max(ends)) if ends else None


def _ends(x: Floats, y: Floats, error: Floats) -> Iterator[float]:
    """Of where walls through these points meet, for every power that is possible."""
    place_X = np.linspace(x[ASIDE - 1], x[ASIDE + 1], PLACES)
    for power in POWERS:
        missed_X = _missed(x, y, error, place_X, power)
        best = float(missed_X.min())
        if best <= FITS:
            yield _end(place_X, missed_X, best + AS_WELL)
            yield _end(place_X[::-1], missed_X[::-1], best + AS_WELL)


def _end(place_X: Floats, missed_X: Floats, most: float) -> float:
    """The first place where no more than that is missed, between two of them by interpolation."""
    first = int(np.argmax(missed_X <= most))
    if first == 0 or not np.isfinite(missed_X[first - 1]):
        return float(place_X[first])
    share = (missed_X[first - 1] - most) / (missed_X[first - 1] - missed_X[first])
    return float(place_X[first - 1] + share * (place_X[first] - place_X[first - 1]))


def _missed(x: Floats, y: Floats, error: Floats, place_X: Floats, power: int) -> Floats:
    """The least sum of squares of walls that meet at each place; infinite where one of them does not rise."""
    away_XP = x - place_X[:, None]
    left_XP, right_XP = np.maximum(-away_XP, 0) ** power, np.maximum(away_XP, 0) ** power
    design_XPC = np.stack([np.ones_like(away_XP), left_XP, right_XP], -1) / error[:, None]
    coefficient_XC = np.linalg.pinv(design_XPC) @ (y / error)
    missed_X: Floats = (((design_XPC @ coefficient_XC[..., None])[..., 0] - y / error) ** 2).sum(-1)
    return np.where((coefficient_XC[:, 1:] > 0).all(-1), missed_X, np.inf)
