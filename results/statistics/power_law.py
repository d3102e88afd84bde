"""The optimum as a power law of several scales: constant * N^a * D^b, from the optima of many cells.

R draws, S cells, C columns
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curve import Floats, Truths
from .interval import Estimate, percentiles
from .regression import Known, Optima, Regression, regression

SAME_OCTAVES = 1e-9


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a law through the other cells says of those at the largest value of a column: `error` is predicted
    minus measured, octaves, the mean of `cells` of them."""

    column: str
    value: float
    cells: int
    error: Estimate


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """optimum = constant * product of column^exponent; intervals are 95 %.

    `misfit` is the root mean square of what it misses the optima inside their grids by, in octaves. `cells`
    counts these, `bounded` those whose optimum is at the end of its grid.
    """

    columns: tuple[str, ...]
    exponents: tuple[Estimate, ...]
    misfit: float
    cells: int
    bounded: int
    held_out: tuple[HeldOut, ...]
    fitted: Regression

    @property
    def log2_constant(self) -> float:
        """log2 of the constant: of what the law gives where all columns are 1."""
        return self.fitted.at(np.zeros(len(self.columns)))[0]

    def at(self, values: Sequence[float]) -> Estimate:
        """log2 of the optimum at a cell that has these values, with the scatter of a cell of its own."""
        value, drawn_R = self.fitted.at(np.log2(values))
        return Estimate(value, percentiles(drawn_R, value))


def power_law(columns: Sequence[str], optima: Optima) -> PowerLaw | None:
    """Of cells at places [S, C], log2 of the columns; None where these do not tell every exponent."""
    if not optima.tells:
        return None
    fitted = regression(optima)
    missed = [_missed(fitted, one, place_C)[0] for one, place_C in _cells(optima)]
    return PowerLaw(
        columns=tuple(columns),
        exponents=tuple(
            Estimate(float(slope), percentiles(slope_R, float(slope)))
            for slope, slope_R in zip(fitted.slope_C, fitted.slope_RC.T, strict=True)
        ),
        misfit=float(np.sqrt(np.mean(np.square(missed)))),
        cells=len(optima.known),
        bounded=len(optima.bounds),
        held_out=tuple(
            found
            for index, column in enumerate(columns)
            if (found := _held_out(column, index, optima)) is not None
        ),
        fitted=fitted,
    )


def _held_out(column: str, index: int, optima: Optima) -> HeldOut | None:
    """None where the other cells do not tell every exponent."""
    largest = float(optima.known_SC[:, index].max())

    def smaller(place_SC: Floats) -> Truths:
        found: Truths = place_SC[:, index] < largest - SAME_OCTAVES
        return found

    rest, out = optima.where(smaller), optima.where(lambda place_SC: ~smaller(place_SC))
    if not rest.tells:
        return None
    fitted = regression(rest)
    missed, missed_R = zip(*(_missed(fitted, one, place_C) for one, place_C in _cells(out)), strict=True)
    error = float(np.mean(missed))
    interval = percentiles(np.mean(missed_R, axis=0), error)
    value = float(f"{2.0**largest:.12g}")  # as it was before its logarithm
    return HeldOut(column, value, len(missed), Estimate(error, interval))


def _cells(optima: Optima) -> list[tuple[Known, Floats]]:
    return list(zip(optima.known, optima.known_SC, strict=True))


def _missed(fitted: Regression, one: Known, place_C: Floats) -> tuple[float, Floats]:
    """What the fit gives minus the optimum, and draws of it."""
    value, drawn_R = fitted.at(place_C)
    return value - one.optimum, drawn_R - one.optimum_R
