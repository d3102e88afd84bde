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
from ..statistics.interval import Estimate
from ..statistics.optimum import fit_family
from ..statistics.penalty import smaller_half, transfer_penalty
from ..statistics.power_law import power_law
from ..statistics.regression import optima_at
from ..statistics.slope import located
from .curves import Runs
from .grouping import family_rows, split, swept

AXES = ("width", "depth")
MIN_CELLS = 4
MAX_INFLATION = 10.0
"""Of a slope's variance by how alike width and depth grow: beyond it no cell tells one from the other."""


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
        if not {*AXES} <= {*entry.varying}:
            continue
        for hyperparameter in swept(entry.members):
            for fixed, group in split(entry, AXES, hyperparameter):
                runs = Runs.of(group, hyperparameter)
                sizes = group[[*AXES]].fillna(0).to_numpy(dtype=int)
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
    fits = fit_family([curves[size] for size in sizes]).fits
    usable = [(size, fit.vertex) for size, fit in zip(sizes, fits, strict=True) if fit.usable]
    if len(usable) < MIN_CELLS or _inflation([size for size, _ in usable]) > MAX_INFLATION:
        return None
    law = power_law(AXES, optima_at([located(fit) for fit in fits], np.log2(np.array(sizes, dtype=float))))
    if law is None:
        return None
    has_largest = sizes[-1] == (max(width for width, _ in sizes), max(depth for _, depth in sizes))
    transfer = transfer_penalty(fits, smaller_half(fits)) if has_largest else None
    cells = [Cell(*size, vertex) for size, vertex in usable if vertex is not None]
    slopes = dict(zip(AXES, law.exponents, strict=True))
    return Plane(slopes, law.misfit, None if transfer is None else transfer.estimate, tuple(cells))


def _inflation(sizes: Sequence[tuple[int, int]]) -> float:
    """1 / (1 - r^2) of width and depth in log2; infinite where one is all the same."""
    log2_SC = np.log2(np.array(sizes, dtype=float))
    if len(sizes) < 2 or (np.ptp(log2_SC, axis=0) == 0).any():
        return np.inf
    share = float(np.corrcoef(log2_SC.T)[0, 1]) ** 2
    return 1 / (1 - share) if share < 1 else np.inf
