"""What the line through the optima says of a scale that was not trained.

R draws
"""

from dataclasses import dataclass

import numpy as np

from .curve import Floats
from .drift import Drift
from .interval import Estimate, percentiles
from .optimum import Fit
from .penalty import diverging
from .valley import Valley

BEYOND_SHARE = 0.025
"""Of the draws: where more of them lie beyond the largest scale's points, what is lost has no upper end."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """`log2_optimum` at a scale, and the `penalty` of a value there, with the valley of the largest scale
    that was trained: infinite where that diverges, None where nothing speaks of it."""

    scale: float
    log2_optimum: Estimate
    penalty: Estimate | None


def predict(drift: Drift, scale: float, chosen: float | None = None) -> Prediction | None:
    """What the value costs that the small scales choose, or another, as log2. None with fewer than two optima
    inside their grids."""
    if drift.line is None:
        return None
    value, drawn_R = drift.line.at(scale)
    optimum = Estimate(value, percentiles(drawn_R, value))
    largest = next((fit for fit in reversed(drift.fitted.fits) if fit.usable), None)
    if drift.transfer is None or largest is None or largest.valley is None or largest.vertex is None:
        return Prediction(scale, optimum, None)
    last = drift.fitted.fits[-1]
    if last.status == "all_diverged" and scale >= last.curve.scale:
        return Prediction(scale, optimum, Estimate(np.inf, (np.inf, None)))
    value = drift.transfer.chosen if chosen is None else chosen
    return Prediction(scale, optimum, _penalty(largest, largest.valley, value, optimum, drawn_R))


def _penalty(largest: Fit, valley: Valley, chosen: float, optimum: Estimate, drawn_R: Floats) -> Estimate:
    """What the chosen value costs where the optimum is as predicted: infinite where the largest scale would
    have diverged, as far from its optimum."""
    assert largest.vertex is not None
    low_end, high_end = diverging(largest.curve)
    place_R, place = valley.vertex_R + chosen - drawn_R, largest.vertex + chosen - optimum.value
    kept_R = (place_R > low_end) & (place_R < high_end)
    lost_R = np.where(kept_R, np.maximum(valley.at(place_R) - valley.lowest_R, 0.0), np.inf)
    lost = np.inf
    if low_end < place < high_end:
        there_R, lowest_R = (valley.at(np.full(len(lost_R), x)) for x in (place, largest.vertex))
        lost = max(float(np.median(there_R - lowest_R)), 0.0)
    # Where the optimum may be the chosen value itself, nothing may be lost.
    low, high = (-np.inf if end is None else end for end in optimum.interval)
    least = 0.0 if low <= chosen <= high else float(np.percentile(lost_R, 2.5, method="lower"))
    most = max(float(np.percentile(lost_R, 97.5, method="higher")), lost)
    # Beyond the points of the largest scale the wall goes on: what is read at its end is the least.
    beyond = np.mean((place_R > valley.place_F[-1]) | (place_R < valley.place_F[0])) > BEYOND_SHARE
    return Estimate(lost, (min(least, lost), None if beyond or np.isinf(most) else most))
