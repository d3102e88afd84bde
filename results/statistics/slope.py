"""How the optimum moves with scale: a line through the optima, log2 against log2, bounded ones included.

R draws
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curve import Floats
from .interval import Estimate, percentiles
from .optimum import Fit
from .regression import Bound, Known, Optima, Regression, regression


@dataclass(frozen=True, slots=True)
class Slope:
    """Octaves per doubling: the estimate and its draws."""

    estimate: Estimate
    slope_R: Floats
    line: Regression

    def at(self, scale: float) -> tuple[float, Floats]:
        """log2 of the optimum that the line gives at a scale, and draws of it with a scale's own scatter."""
        return self.line.at(np.log2([scale]))


def slope_of(fits: Sequence[Fit]) -> Slope | None:
    """The line through the optima of one family, ascending in scale; None with fewer than two."""
    if sum(fit.usable for fit in fits) < 2:
        return None
    line = regression(optima_of(fits, np.log2([[fit.curve.scale] for fit in fits])))
    slope, slope_R = float(line.slope_C[0]), line.slope_RC[:, 0]
    return Slope(Estimate(slope, percentiles(slope_R, slope)), slope_R, line)


def optima_of(fits: Sequence[Fit], place_SC: Floats) -> Optima:
    """Those inside their grids, and those at the edge as bounds, at the fits' places [S, C]."""
    inside, outside = (np.array([fit.status == told for fit in fits]) for told in ("ok", "at_edge"))
    return Optima(
        [_known(fit) for fit in fits if fit.usable],
        place_SC[inside],
        [_bound(fit) for fit in fits if fit.status == "at_edge"],
        place_SC[outside],
    )


def _known(fit: Fit) -> Known:
    assert fit.vertex is not None and fit.vertex_R is not None
    return Known(fit.vertex, fit.vertex_R, float(fit.curve.x[0]), float(fit.curve.x[-1]))


def _bound(fit: Fit) -> Bound:
    assert fit.vertex is not None
    return Bound(fit.vertex, 1.0 if fit.edge == "high" else -1.0)
