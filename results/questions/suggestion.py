"""Which trials could settle what is inconclusive, the cheapest first."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..statistics.verdict import MIN_SCALES
from .comparison import Comparison
from .wanted import Wanted, enclosing, halved, reach

FINEST_OCTAVES = 0.25
"""Points nearer than this to their neighbours say little that another seed would not say better."""
NEAR_OCTAVES = 2.0
"""One more seed is trained this near to an optimum."""
SETTLED_OCTAVES = 0.15
"""Half an interval narrower than this does not keep a verdict open."""


def suggestion(comparisons: Sequence[Comparison]) -> list[Wanted]:
    """The cheapest trials that could settle each inconclusive comparison, the cheapest first.

    Points where optima are not known well, then a further scale where there are too few, then one more
    seed near every optimum: what a verdict lacks comes in this order of price.
    """
    found: list[Wanted] = []
    for comparison in comparisons:
        if comparison.drift.verdict != "inconclusive":
            continue
        found += (
            list(_finer(comparison)) or list(_further_scales(comparison)) or list(_further_seed(comparison))
        )
    return sorted(found, key=lambda wanted: wanted.scale)


def _finer(comparison: Comparison) -> Iterator[Wanted]:
    drift = comparison.drift
    for fit, optimum in zip(drift.fitted.fits, drift.optima, strict=True):
        values, why = enclosing(fit, optimum, FINEST_OCTAVES, (), drift.allowed.loss)
        if fit.usable and reach(optimum) > SETTLED_OCTAVES:
            values = halved(fit, optimum, FINEST_OCTAVES)
            known = reach(optimum)
            why = (
                f"the optimum is known within {known:.2f} octaves"
                if known < math.inf
                else "the optimum is not bounded"
            )
        if values:
            yield Wanted(comparison, fit.curve.scale, tuple(sorted(values)), why, fit.curve.scale)


def _further_scales(comparison: Comparison) -> Iterator[Wanted]:
    """Half of the smallest scale's doublings below it: the cheapest model that has not been measured."""
    drift = comparison.drift
    fits = [fit for fit in drift.fitted.fits if fit.usable]
    if len(fits) >= MIN_SCALES or not fits:
        return
    smallest = fits[0].curve
    wanted = smallest.scale / 2 if smallest.scale >= 16 else drift.fitted.fits[-1].curve.scale * 2
    values = tuple(float(x) for x in smallest.x[smallest.usable])
    yield Wanted(comparison, wanted, values, f"{len(fits)} usable scales", smallest.scale)


def _further_seed(comparison: Comparison) -> Iterator[Wanted]:
    for fit in comparison.drift.fitted.fits:
        if fit.usable and fit.vertex is not None:
            x = fit.curve.x[fit.curve.usable]
            values = tuple(float(value) for value in x[np.abs(x - fit.vertex) <= NEAR_OCTAVES])
            yield Wanted(comparison, fit.curve.scale, values, "noise", fit.curve.scale, new_seed=True)
