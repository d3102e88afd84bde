"""Weighted least squares through optima, bounded ones included, log2 against log2 of one scale or several.

R draws, S scales, C columns of the design
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri

from .curve import Floats, Truths
from .interval import POSITION_OCTAVES

STEPS = 50
"""Of fits and bounds, adjusted to each other in turn; what is left by then is far below an interval."""
CHANCE = 0.5
"""Optima that scatter about their fit by more than their errors would in this share of cases, scatter: as
often above what they truly do as below."""
PRIOR_FREEDOM = 2
"""Scatter is not all unknown before the data speak: it counts as if told by so many scales more."""
HALVINGS = 60
WIDEST_OCTAVES = 16.0


@dataclass(frozen=True, slots=True)
class Known:
    """log2 of an optimum inside its grid, which is from `low` to `high`, and its draws."""

    optimum: float
    optimum_R: Floats
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bound:
    """log2 of the grid's end, where the lowest loss is: `beyond` is 1 for the upper end, -1 for the lower.

    The optimum is beyond, or as far inside as its draws are.
    """

    end: float
    beyond: float
    optimum_R: Floats


@dataclass(frozen=True, slots=True)
class Optima:
    """What is fitted: optima inside their grids at places [S, C], log2 of scales, and bounds at theirs."""

    known: Sequence[Known]
    known_SC: Floats
    bounds: Sequence[Bound]
    bounds_SC: Floats

    def where(self, kept: Callable[[Floats], Truths]) -> "Optima":
        """Those at places that are kept."""
        known, bounds = kept(self.known_SC), kept(self.bounds_SC)
        return Optima(
            [one for one, mine in zip(self.known, known, strict=True) if mine],
            self.known_SC[known],
            [one for one, mine in zip(self.bounds, bounds, strict=True) if mine],
            self.bounds_SC[bounds],
        )

    @property
    def tells(self) -> bool:
        """Whether the optima inside their grids tell the coefficient of every column."""
        count, columns = self.known_SC.shape
        if count < columns + 1:
            return False
        rank = np.linalg.matrix_rank(self.known_SC - self.known_SC.mean(axis=0), tol=1e-6)
        return bool(rank == columns)


@dataclass(frozen=True, slots=True)
class Regression:
    """Coefficients [C] of the columns, by the optima themselves (`slope_C`) and by their draws.

    `middle_C` is where the levels are told. `scatter` is the standard deviation, in octaves, of the scales'
    own optima about the fit, and `wider_R` by how much more it may be than few scales tell.
    """

    level: float
    slope_C: Floats
    level_R: Floats
    slope_RC: Floats
    middle_C: Floats
    scatter: float
    wider_R: Floats

    def at(self, place_C: Floats) -> tuple[float, Floats]:
        """log2 of the optimum at a place, and draws of it with a scale's own scatter."""
        from_middle = place_C - self.middle_C
        own_R = self.scatter * self.wider_R * np.random.default_rng(8).standard_normal(len(self.level_R))
        drawn_R: Floats = self.level_R + self.slope_RC @ from_middle + own_R
        return float(self.level + self.slope_C @ from_middle), drawn_R


def optima_at(located: Sequence[Known | Bound | None], place_SC: Floats) -> Optima:
    """Of scales at places [S, C]; None is left out."""
    inside, outside = (np.array([isinstance(one, kind) for one in located]) for kind in (Known, Bound))
    return Optima(
        [one for one in located if isinstance(one, Known)],
        place_SC[inside],
        [one for one in located if isinstance(one, Bound)],
        place_SC[outside],
    )


def regression(optima: Optima) -> Regression:
    """Through optima that tell every coefficient.

    An optimum at the end of its grid is a bound: the fit may pass beyond it at no cost (a censored
    regression, Tobin 1958). Optima that scatter about the fit by more than their errors have a scatter of
    their own, which is added to the errors (a random effect, Paule and Mandel 1982). The draws are a
    parametric bootstrap of both.
    """
    known, bounds = optima.known, optima.bounds
    place_SC = np.concatenate([optima.known_SC, optima.bounds_SC])
    point_S = np.array(
        [*(one.optimum for one in known), *(float(np.median(one.optimum_R)) for one in bounds)]
    )
    beyond_S = np.array([0.0] * len(known) + [one.beyond for one in bounds])
    drawn_RS = np.stack([one.optimum_R for one in known], axis=1)
    error_S = np.maximum(drawn_RS.std(axis=0), POSITION_OCTAVES)
    of_bounds = [max(float(np.median(error_S)), float(one.optimum_R.std())) for one in bounds]
    error_S = np.concatenate([error_S, of_bounds])
    scatter = _scatter(point_S, beyond_S, place_SC, error_S, len(known))
    weight = 1 / (error_S**2 + scatter**2)
    point = _fit(point_S[None], beyond_S, place_SC, weight)
    generator = np.random.default_rng(3)
    degrees = max(len(known) - place_SC.shape[1] - 1, 1) + PRIOR_FREEDOM
    wider_R = np.sqrt(degrees / generator.chisquare(degrees, len(drawn_RS)))  # Student's t
    own_RS = scatter * wider_R[:, None] * generator.standard_normal(drawn_RS.shape)
    ends_RS = np.array([one.optimum_R for one in bounds]).reshape(len(bounds), len(drawn_RS)).T
    beyond_RS = np.broadcast_to(beyond_S[len(known) :], ends_RS.shape)
    beyond_RS = np.concatenate([_at_ends(known, drawn_RS), beyond_RS], axis=1)
    drawn = _fit(np.concatenate([drawn_RS + own_RS, ends_RS], axis=1), beyond_RS, place_SC, weight)
    return Regression(
        level=float(point.level_R[0]),
        slope_C=point.slope_RC[0],
        level_R=drawn.level_R,
        slope_RC=drawn.slope_RC,
        middle_C=drawn.middle_C,
        scatter=scatter,
        wider_R=wider_R,
    )


def _at_ends(known: Sequence[Known], drawn_RS: Floats) -> Floats:
    """Draws at the end of their grid are bounds as well: 1 at the upper end, -1 at the lower."""
    low, high = np.array([one.low for one in known]), np.array([one.high for one in known])
    return np.where(drawn_RS >= high - POSITION_OCTAVES, 1.0, 0.0) - (drawn_RS <= low + POSITION_OCTAVES)


def _scatter(point_S: Floats, beyond_S: Floats, place_SC: Floats, error_S: Floats, known: int) -> float:
    """Whose addition brings the squared residuals down to what chance would hardly exceed; by halving."""
    freedom = known - place_SC.shape[1] - 1
    if freedom < 1:
        return 0.0
    most = float(chdtri(freedom, CHANCE))

    def squares(scatter: float) -> float:
        variance = error_S**2 + scatter**2
        fit = _fit(point_S[None], beyond_S, place_SC, 1 / variance)
        left = (point_S - fit.at(place_SC)[0])[:known]
        return float(np.sum(left**2 / variance[:known]))

    low, high = 0.0, WIDEST_OCTAVES
    if squares(low) <= most:
        return 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if squares(middle) > most else (low, middle)
    return high


@dataclass(frozen=True, slots=True)
class _Fit:
    level_R: Floats
    slope_RC: Floats
    middle_C: Floats

    def at(self, place_SC: Floats) -> Floats:
        """[R, S]."""
        return self.level_R[:, None] + self.slope_RC @ (place_SC - self.middle_C).T


def _fit(optimum_RS: Floats, beyond: Floats, place_SC: Floats, weight_S: Floats) -> _Fit:
    """`beyond` is 1 where the optimum may lie above the value, -1 where it may lie below."""
    middle_C = np.average(place_SC, axis=0, weights=weight_S)
    root_S = np.sqrt(weight_S)
    lever_CS = np.linalg.pinv((place_SC - middle_C) * root_S[:, None]) * root_S
    share_S = weight_S / weight_S.sum()
    bounded: Truths = beyond != 0
    filled_RS = optimum_RS
    for _ in range(STEPS if bounded.any() else 1):
        fit = _Fit(filled_RS @ share_S, filled_RS @ lever_CS.T, middle_C)
        passes_RS = bounded & ((fit.at(place_SC) - optimum_RS) * beyond > 0)
        filled_RS = np.where(passes_RS, fit.at(place_SC), optimum_RS)
    return fit
