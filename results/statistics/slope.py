"""How the optimum moves with scale: a line through the optima, log2 against log2, bounded ones included.

R draws, S scales
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri

from .curve import Floats, Truths
from .interval import Estimate, percentiles
from .optimum import POSITION_OCTAVES, Fit

STEPS = 50
"""Of lines and bounds, adjusted to each other in turn; what is left by then is far below an interval."""
CHANCE = 0.25
"""Optima that scatter about their line by more than their errors would in this share of cases, scatter."""
PRIOR_FREEDOM = 2
"""Scatter is not all unknown before the data speak: it counts as if told by so many scales more."""
HALVINGS = 60
WIDEST_OCTAVES = 16.0


@dataclass(frozen=True, slots=True)
class Slope:
    """Octaves per doubling: the estimate and its draws. `scatter` is the standard deviation, in octaves, of
    the scales' own optima about the line."""

    estimate: Estimate
    slope_R: Floats
    scatter: float
    point: "_Line"
    drawn: "_Line"

    def at(self, scale: float) -> tuple[float, Floats]:
        """log2 of the optimum that the line gives at a scale, and draws of it with a scale's own scatter."""
        place = np.array([np.log2(scale)])
        own_R = self.scatter * np.random.default_rng(8).standard_normal(len(self.slope_R))
        return float(self.point.at(place)[0, 0]), self.drawn.at(place)[:, 0] + own_R


def slope_of(fits: Sequence[Fit]) -> Slope | None:
    """Weighted least squares through the optima of one family, ascending in scale; None with fewer than two.

    An optimum at the edge of its grid is a bound: the line may pass beyond it at no cost (a censored
    regression, Tobin 1958). Optima that scatter about the line by more than their errors have a scatter of
    their own, which is added to the errors (a random effect, Paule and Mandel 1982).
    """
    known = [fit for fit in fits if fit.usable]
    if len(known) < 2:
        return None
    bounded = [fit for fit in fits if fit.status == "at_edge"]
    scale = np.log2([fit.curve.scale for fit in [*known, *bounded]])
    beyond = np.array([0.0] * len(known) + [1.0 if fit.edge == "high" else -1.0 for fit in bounded])
    point_S = np.array([fit.vertex for fit in [*known, *bounded]], dtype=float)
    drawn_RS = np.stack([fit.vertex_R for fit in known if fit.vertex_R is not None], axis=1)
    error_S = np.maximum(drawn_RS.std(axis=0), POSITION_OCTAVES)
    error_S = np.concatenate([error_S, np.full(len(bounded), np.median(error_S))])
    scatter = _scatter(point_S, beyond, scale, error_S, len(known))
    weight = 1 / (error_S**2 + scatter**2)
    point = _line(point_S[None], beyond, scale, weight)
    slope = float(point.slope_R[0])
    edges_RS = np.broadcast_to(point_S[len(known) :], (len(drawn_RS), len(bounded)))
    own_RS = scatter * _heavy(len(drawn_RS), len(known))
    beyond_RS = np.broadcast_to(beyond[len(known) :], edges_RS.shape)
    beyond_RS = np.concatenate([_at_ends(known, drawn_RS), beyond_RS], axis=1)
    drawn = _line(np.concatenate([drawn_RS + own_RS, edges_RS], axis=1), beyond_RS, scale, weight)
    return Slope(Estimate(slope, percentiles(drawn.slope_R, slope)), drawn.slope_R, scatter, point, drawn)


def _at_ends(known: Sequence[Fit], drawn_RS: Floats) -> Floats:
    """Draws at the end of their grid are bounds as well: 1 at the upper end, -1 at the lower."""
    ends = [fit.curve.x[[0, -1]] for fit in known]
    low, high = (np.array([end[side] for end in ends]) for side in (0, 1))
    return np.where(drawn_RS >= high - POSITION_OCTAVES, 1.0, 0.0) - (drawn_RS <= low + POSITION_OCTAVES)


def _scatter(point_S: Floats, beyond: Floats, scale: Floats, error_S: Floats, known: int) -> float:
    """Whose addition brings the squared residuals down to what chance would hardly exceed; by halving."""
    freedom = known - 2
    if freedom < 1:
        return 0.0
    most = float(chdtri(freedom, CHANCE))

    def squares(scatter: float) -> float:
        variance = error_S**2 + scatter**2
        line = _line(point_S[None], beyond, scale, 1 / variance)
        left = (point_S - line.at(scale)[0])[:known]
        return float(np.sum(left**2 / variance[:known]))

    low, high = 0.0, WIDEST_OCTAVES
    if squares(low) <= most:
        return 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if squares(middle) > most else (low, middle)
    return high


def _heavy(draws: int, known: int) -> Floats:
    """Student's t, as the scatter is told by few scales, [R, S]."""
    generator = np.random.default_rng(3)
    freedom = max(known - 2, 1) + PRIOR_FREEDOM
    wider_R = np.sqrt(freedom / generator.chisquare(freedom, draws))
    found: Floats = generator.standard_normal((draws, known)) * wider_R[:, None]
    return found


@dataclass(frozen=True, slots=True)
class _Line:
    level_R: Floats
    slope_R: Floats
    middle: float

    def at(self, scale: Floats) -> Floats:
        """[R, S]."""
        return self.level_R[:, None] + self.slope_R[:, None] * (scale - self.middle)


def _line(optimum_RS: Floats, beyond: Floats, scale: Floats, weight: Floats) -> _Line:
    """`beyond` is 1 where the optimum may lie above the value, -1 where it may lie below."""
    middle = float(np.average(scale, weights=weight))
    lever = weight * (scale - middle) / (weight @ (scale - middle) ** 2)
    share = weight / weight.sum()
    bounded: Truths = beyond != 0
    filled_RS = optimum_RS
    for _ in range(STEPS if bounded.any() else 1):
        line = _Line(filled_RS @ share, filled_RS @ lever, middle)
        passes_RS = bounded & ((line.at(scale) - optimum_RS) * beyond > 0)
        filled_RS = np.where(passes_RS, line.at(scale), optimum_RS)
    return line
