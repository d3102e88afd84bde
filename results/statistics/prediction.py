"""What the line through the optima says of a scale that was not trained.

R draws
"""

from dataclasses import dataclass

import numpy as np

from .drift import Drift
from .interval import Estimate, percentiles


@dataclass(frozen=True, slots=True)
class Prediction:
    """`log2_optimum` at a scale, and the `penalty` of transferring the smaller scales' value there, with the
    valley of the largest scale that was trained; None where nothing speaks of it."""

    scale: float
    log2_optimum: Estimate
    penalty: Estimate | None


def predict(drift: Drift, scale: float) -> Prediction | None:
    """None with fewer than two optima inside their grids."""
    if drift.line is None:
        return None
    value, drawn_R = drift.line.at(scale)
    optimum = Estimate(value, percentiles(drawn_R, value))
    largest = next((fit for fit in reversed(drift.fitted.fits) if fit.usable), None)
    if drift.transfer is None or largest is None or largest.valley is None or largest.vertex is None:
        return Prediction(scale, optimum, None)
    valley, chosen = largest.valley, drift.transfer.chosen
    lost_R = np.maximum(valley.at(valley.vertex_R + chosen - drawn_R) - valley.lowest_R, 0.0)
    away = np.full(len(lost_R), largest.vertex + chosen - value)
    lost = max(float(np.median(valley.at(away) - valley.at(np.full(len(lost_R), largest.vertex)))), 0.0)
    low, high = percentiles(lost_R, lost)
    # Beyond the points of the largest scale the wall goes on: what is read at its end is the least.
    beyond = np.mean((valley.vertex_R + chosen - drawn_R > valley.place_F[-1])
                     | (valley.vertex_R + chosen - drawn_R < valley.place_F[0]))  # fmt: skip
    return Prediction(scale, optimum, Estimate(lost, (low, None if beyond > 0.025 else high)))
