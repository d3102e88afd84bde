"""How the optimum moves with scale: a line through the optima_at, log2 against log2, bounded ones included.

R draws
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curve import Floats
from .interval import Estimate, percentiles
from .optimum import Fit
from .process import DRAWS
from .regression import Bound, Known, Regression, optima_at, regression


@dataclass(frozen=True, slots=True)
class Slope:
    """Octaves per doubling: the estimate and its draws."""

    estimate: Estimate
    slope_R: Floats
    line: Regression

    def at(self, scale: float) -> tuple[float, Floats]:
        """log2 of the optimum that the line gives at a scale, and draws of it with a scale's own scatter."""
        return self.line.at(np.log2([scale]))

    def band(self, scale: float) -> tuple[float, float, float]:
        """That log2, and between which ends 95 % of a scale's optima are expected."""
        value, drawn_R = self.at(scale)
        return value, *percentiles(drawn_R, value)


def slope_of(fits: Sequence[Fit]) -> Slope | None:
    """The line through the optima of one family, ascending in scale; None with fewer than two."""
    if sum(fit.usable for fit in fits) < 2:
        return None
    places = np.log2([[fit.curve.scale] for fit in fits])
    line = regression(optima_at([located(fit) for fit in fits], places))
    slope, slope_R = float(line.slope_C[0]), line.slope_RC[:, 0]
    return Slope(Estimate(slope, percentiles(slope_R, slope)), slope_R, line)


def located(fit: Fit) -> Known | Bound | None:
    """Where a scale's optimum is; None where its curve does not tell."""
    if fit.usable and fit.vertex is not None and fit.vertex_R is not None:
        return Known(fit.vertex, fit.vertex_R, float(fit.curve.x[0]), float(fit.curve.x[-1]))
    if fit.status == "at_edge" and fit.vertex is not None:
        drawn_R = np.full(DRAWS, fit.vertex) if fit.vertex_R is None else fit.vertex_R
        return Bound(fit.vertex, 1.0 if fit.edge == "high" else -1.0, drawn_R)
    return None
