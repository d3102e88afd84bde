"""Which scales between the measured ones and the large run's would bring the evidence to it, and how near.

R draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..statistics.interval import percentiles
from ..statistics.regression import Bound, Known, optima_at, regression
from ..statistics.slope import located
from .comparison import Comparison
from .wanted import Wanted

STEP_DOUBLINGS = 2.0
"""From rung to rung, and at most from the last one to the large run: a slope is trusted that far."""
SPACING_OCTAVES = 1.0
GRID_OCTAVES = 0.5
"""Values of a rung are multiples of this."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A scale to be measured at a few values around log2 of the optimum that is expected there.

    `reach` is half of the 95 % range, in octaves, of the optimum at the large run's scale, once this rung and
    those below it are measured as well as the scales so far.
    """

    wanted: Wanted
    expected: float
    reach: float


def ladder(comparison: Comparison, target: float) -> tuple[float | None, list[Rung]]:
    """The reach as things stand, and the rungs from the smallest; none where the evidence is near enough.

    None for the reach, and no rungs, where fewer than two scales tell how the optimum moves.
    """
    line = comparison.drift.line
    if line is None:
        return None, []
    fits = comparison.drift.fitted.fits
    known = [(fit.curve.scale, one) for fit in fits if (one := located(fit)) is not None]
    error = float(np.median([one.optimum_R.std() for _, one in known if isinstance(one, Known)]))
    largest = fits[-1].curve.scale
    rungs: list[Rung] = []
    for scale in _scales(largest, target):
        value, expected_R = line.at(scale)
        low, high = percentiles(expected_R, value)
        spacing = max(SPACING_OCTAVES, (high - low) / 2)
        middle = round(value / GRID_OCTAVES) * GRID_OCTAVES
        values = tuple(round((middle + off * spacing) / GRID_OCTAVES) * GRID_OCTAVES for off in (-1, 0, 1))
        drawn_R = value + error * np.random.default_rng(len(rungs)).standard_normal(len(expected_R))
        known.append((scale, Known(value, drawn_R, values[0], values[-1])))
        why = f"{math.log2(scale / largest):g} doublings beyond what was measured"
        wanted = Wanted(comparison, scale, values, why, largest, begins=True)
        rungs.append(Rung(wanted, value, _reach(known, target)))
    return _reach(known[: len(known) - len(rungs)], target), rungs


def _scales(largest: float, target: float) -> list[float]:
    count = max(0, math.ceil(math.log2(target / largest) / STEP_DOUBLINGS - 1e-9) - 1)
    return [largest * 2.0 ** (STEP_DOUBLINGS * step) for step in range(1, count + 1)]


def _reach(known: Sequence[tuple[float, Known | Bound]], target: float) -> float:
    places = np.log2([[scale] for scale, _ in known])
    fit = regression(optima_at([one for _, one in known], places))
    value, drawn_R = fit.at(np.log2([target]))
    low, high = percentiles(drawn_R, value)
    return (high - low) / 2
