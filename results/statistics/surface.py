"""Losses against two hyperparameters at once: a surface per cell, and its joint optimum.

P points of one cell, D = 2 hyperparameters, R draws, F places looked at
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.spatial import Delaunay

from .curve import Curve, Floats
from .outliers import cleaned
from .process import Losses, Process, Scatter, family_units
from .regression import Bound, Known
from .valley import NEAR_UNITS, minima

LENGTHS = np.array(list(product([1.5, 3.3, 7.5], repeat=2)))
"""Octaves over which a surface goes on as it was, along either hyperparameter."""
PLACES = 25
"""Along either hyperparameter."""
MIN_POINTS = 6
"""As many as a quadratic surface has coefficients."""
HIGHEST_UNITS = 2.0
"""What is higher, in units of its own valley, is left out: there are points enough below, and what is far up
walls that differ draws the optimum along."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The losses of one cell: curves along the first hyperparameter, one for each log2 of the second."""

    curves: Sequence[Curve]
    second: Sequence[float]


@dataclass(frozen=True, slots=True)
class JointOptimum:
    """What one cell says of either hyperparameter, None where nothing.

    Known where the lowest loss is inside the grid of both. Where it is at an end of one grid, that one is
    bounded, and the other unknown: beyond, it would have another optimum.
    """

    optima: tuple[Known | Bound | None, ...]
    loss: float | None


def joint_optima(cells: Sequence[Grid]) -> list[JointOptimum]:
    """Of cells that are fitted together: smoothness, bends and noise are common to them."""
    clean = iter(cleaned([curve for cell in cells for curve in cell.curves]))
    cells = [Grid([next(clean) for _ in cell.curves], cell.second) for cell in cells]
    losses = _low([_losses(cell) for cell in cells])
    found = [JointOptimum((None, None), None)] * len(cells)
    fitted = [index for index, one in enumerate(losses) if _spans(one.x_PD)]
    if not fitted:
        return found
    units = family_units([losses[index] for index in fitted])
    scatters = [_scatter(cells[index], unit) for index, unit in zip(fitted, units, strict=True)]
    process = Process([losses[index] for index in fitted], scatters, LENGTHS)
    for place, index in enumerate(fitted):
        found[index] = _joint(process, place, cells[index], losses[index])
    return found


def _losses(cell: Grid) -> Losses:
    x = [curve.x[curve.usable] for curve in cell.curves]
    second = [np.full(len(one), value) for one, value in zip(x, cell.second, strict=True)]
    return Losses(
        np.stack([np.concatenate(x), np.concatenate(second)], axis=1),
        np.concatenate([curve.y[curve.usable] for curve in cell.curves]),
        np.concatenate([curve.runs[curve.usable] for curve in cell.curves]),
    )


def _low(cells: Sequence[Losses]) -> list[Losses]:
    """Without what is far up the walls, blow-ups with finite losses among it."""
    measured = [one for one in cells if len(one.y_P)]
    units = iter(family_units(measured) if measured else ())
    return [_below(one, HIGHEST_UNITS * next(units)) if len(one.y_P) else one for one in cells]


def _below(losses: Losses, most: float) -> Losses:
    kept = losses.y_P - losses.y_P.min() <= most
    return Losses(losses.x_PD[kept], losses.y_P[kept], losses.runs_P[kept])


def _spans(x_PD: Floats) -> bool:
    """Whether the points are enough and not all in one line."""
    return len(x_PD) >= MIN_POINTS and bool(np.linalg.matrix_rank(x_PD - x_PD.mean(axis=0), tol=1e-6) == 2)


def _scatter(cell: Grid, unit: float) -> Scatter:
    """Of single runs about their point, once each seed's own shift of a curve is taken out."""
    lowest = min(float(curve.y[curve.usable].min(initial=np.inf)) for curve in cell.curves)
    left, height, freedom = [np.empty(0)], [np.empty(0)], 0
    for curve in cell.curves:
        near = curve.usable & (curve.y - lowest <= NEAR_UNITS * unit)
        scatter_SP = curve.scatter_SP[:, near] / unit
        there = np.isfinite(scatter_SP)
        left.append(scatter_SP[there])
        height.append(np.broadcast_to((curve.y[near] - lowest) / unit, there.shape)[there])
        freedom += max(0, int(there.sum()) - int(near.sum()) - max(int(there.any(axis=1).sum()), 1) + 1)
    return Scatter(np.concatenate(left), np.concatenate(height), float(freedom))


def _joint(process: Process, index: int, cell: Grid, losses: Losses) -> JointOptimum:
    x_PD = losses.x_PD
    places = [np.linspace(x_P.min(), x_P.max(), PLACES) for x_P in x_PD.T]
    place_FD = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, 2)
    inside = Delaunay(x_PD).find_simplex(place_FD, tol=1e-9) >= 0
    if inside.sum() < PLACES:  # points in a band too narrow to look at
        return JointOptimum((None, None), None)
    drawn = process.draw(index, place_FD[inside], np.random.default_rng([4, index]))
    height_RF = np.full((len(drawn.height_RF), len(place_FD)), np.inf)
    height_RF[:, inside] = drawn.height_RF
    vertex_RD = _vertices(places, height_RF)
    best = int(losses.y_P.argmin())
    loss = max(float(np.median(drawn.height_RF.min(axis=1))), -drawn.noise) + float(losses.y_P[best])
    tried = [np.concatenate([curve.x for curve in cell.curves]), np.array(cell.second)]
    ends = [_end(float(x_PD[best, d]), tried[d]) for d in range(2)]
    optima: tuple[Known | Bound | None, ...]
    drawn_DR = np.ascontiguousarray(vertex_RD.T)
    if any(ends):
        optima = tuple(
            Bound(float(x), end, vertex_R) if end else None
            for x, end, vertex_R in zip(x_PD[best], ends, drawn_DR, strict=True)
        )
    else:
        optima = tuple(
            Known(float(np.median(vertex_R)), vertex_R, float(values.min()), float(values.max()))
            for vertex_R, values in zip(drawn_DR, tried, strict=True)
        )
    return JointOptimum(optima, loss)


def _end(x: float, tried: Floats) -> float:
    """1 for the highest value that was tried, -1 for the lowest, else 0."""
    return float(x >= tried.max()) - float(x <= tried.min())


def _vertices(places: Sequence[Floats], height_RF: Floats) -> Floats:
    """Where each draw is lowest, [R, 2]: the vertices of the parabolas through the lowest place and its
    neighbours along either hyperparameter."""
    height_RAB = height_RF.reshape(-1, PLACES, PLACES)
    lowest_R = height_RF.argmin(axis=1)
    at = np.unravel_index(lowest_R, (PLACES, PLACES))
    rows = np.arange(len(height_RF))
    along = (height_RAB[rows, :, at[1]], height_RAB[rows, at[0], :])
    return np.stack([minima(place, height) for place, height in zip(places, along, strict=True)], axis=1)
