"""Width and depth together: the optimum as a plane over log2 of both.

A sweep over both axes is judged along each of them at every value of the other; the plane uses all cells
at once, so it says with one slope per axis what a model that is wider and deeper needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...models.recipe.family import Family
from ..statistics.curve import Curve
from ..statistics.interval import Estimate, inflation, percentiles
from ..statistics.optimum import POSITION_OCTAVES, Fit, fit_family
from ..statistics.penalty import smaller_half, transfer_penalty
from .comparison import Runs, family_rows, split, swept

MIN_CELLS = 4


@dataclass(frozen=True, slots=True)
class Cell:
    """One model size and its optimum, log2."""

    width: int
    depth: int
    log2_optimum: float


@dataclass(frozen=True, slots=True)
class Plane:
    """Slopes in octaves per doubling; `misfit` in octaves, root mean square; `penalty` in nats.

    The penalty is that of taking the smaller half's optimum to the largest cell; None where the cells have
    no largest one, or where it has no optimum.
    """

    slopes: Mapping[str, Estimate]
    misfit: float
    penalty: Estimate | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Joint:
    """One family's plane."""

    family: Family
    hyperparameter: str
    fixed: dict[str, Any]
    plane: Plane


def joint(rows: pd.DataFrame, known_columns: Sequence[str]) -> list[Joint]:
    """The planes of all families that vary width and depth, neither as a function of the other."""
    found = []
    for entry in family_rows(rows, known_columns):
        if not {"width", "depth"} <= {*entry.varying}:
            continue
        for hyperparameter in swept(entry.members):
            for fixed, group in split(entry, ("width", "depth"), hyperparameter):
                runs = Runs.of(group, hyperparameter)
                sizes = group[["width", "depth"]].fillna(0).to_numpy(dtype=int)
                curves = {
                    (int(width), int(depth)): runs.curve(float(width), (sizes == (width, depth)).all(axis=1))
                    for width, depth in np.unique(sizes[(runs.value > 0) & (sizes > 0).all(axis=1)], axis=0)
                }
                plane = fit_plane(curves)
                if plane is not None:
                    found.append(Joint(entry.family, hyperparameter, fixed, plane))
    return found


def fit_plane(curves: Mapping[tuple[int, int], Curve]) -> Plane | None:
    """The plane of curves by (width, depth); None where the cells do not span one."""
    sizes = sorted(curves, key=lambda size: (size[0] ** 2 * size[1], size))
    fitted = fit_family([curves[size] for size in sizes])
    usable = [(size, fit) for size, fit in zip(sizes, fitted.fits, strict=True) if fit.usable]
    if not _spans([size for size, _ in usable]):
        return None
    slopes, misfit = _slopes([size for size, _ in usable], [fit for _, fit in usable])
    widest, deepest = max(width for width, _ in sizes), max(depth for _, depth in sizes)
    has_largest = sizes[-1] == (widest, deepest)
    transfer = transfer_penalty(fitted.fits, smaller_half(fitted.fits)) if has_largest else None
    cells = [Cell(*size, fit.vertex) for size, fit in usable if fit.vertex is not None]
    return Plane(slopes, misfit, None if transfer is None else transfer.estimate, tuple(cells))


def _spans(sizes: Sequence[tuple[int, int]]) -> bool:
    if len(sizes) < MIN_CELLS:
        return False
    design = np.log2(np.array(sizes, dtype=float))
    return int(np.linalg.matrix_rank(design - design.mean(axis=0), tol=1e-6)) == 2


def _slopes(sizes: Sequence[tuple[int, int]], fits: Sequence[Fit]) -> tuple[dict[str, Estimate], float]:
    """Weighted least squares on all draws."""
    optimum = np.array([fit.vertex for fit in fits])
    drawn_RS = np.stack([fit.vertex_R for fit in fits if fit.vertex_R is not None], axis=1)
    error = np.maximum(drawn_RS.std(axis=0), POSITION_OCTAVES)
    design = np.column_stack([np.ones(len(sizes)), np.log2(np.array(sizes, dtype=float))])
    solve = np.linalg.pinv(design / error[:, None]) / error
    coefficients, drawn_RC = solve @ optimum, drawn_RS @ solve.T
    residual = optimum - design @ coefficients
    degrees = len(sizes) - 3
    wider = inflation(float(np.sum((residual / error) ** 2)), degrees)
    slopes = {}
    for column, axis in enumerate(("width", "depth"), start=1):
        value = float(coefficients[column])
        spread_R = value + (drawn_RC[:, column] - value) * wider
        slopes[axis] = Estimate(value, percentiles(spread_R, value))
    return slopes, float(np.sqrt(np.mean(residual**2)))
