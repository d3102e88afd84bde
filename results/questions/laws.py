"""How the best values go with several scales at once: a law for each hyperparameter, of all cells together.

A cell is what has one value of every scale: a model of N parameters trained on D tokens. Its optimum is that
of a curve, or of a surface where two hyperparameters were tuned together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...models.recipe.family import Family
from ..statistics.curve import Floats
from ..statistics.optimum import fit_family
from ..statistics.power_law import PowerLaw, power_law
from ..statistics.regression import Bound, Known, optima_at
from ..statistics.slope import located
from ..statistics.surface import Grid, joint_optima
from .curves import Runs
from .grouping import HYPERPARAMETERS, SCALE_AXES, family_rows, split
from .view import ViewFault

CHOSEN = tuple(name for name in (*SCALE_AXES, *HYPERPARAMETERS) if name not in ("width", "depth"))
"""What is chosen for a model, rather than what it is."""


@dataclass(frozen=True, slots=True)
class CellOptimum:
    """log2 of the optima of one cell, by hyperparameter: None where unknown; `loss` is the loss there."""

    place: tuple[float, ...]
    optima: tuple[Known | Bound | None, ...]
    loss: float | None
    trials: int


@dataclass(frozen=True, slots=True)
class Laws:
    """One family's laws over the columns `over`, by hyperparameter: None where the cells tell none."""

    family: Family
    fixed: dict[str, Any]
    over: tuple[str, ...]
    laws: dict[str, PowerLaw | None]
    cells: tuple[CellOptimum, ...]
    following: tuple[str, ...]
    """What else is chosen and goes along with the columns: the law holds where it does."""
    unplaced: int
    """Trials without a place on every column."""


def default_axes(rows: pd.DataFrame, tuned: Sequence[str], asked: Sequence[str] = ()) -> list[str]:
    """The scales that vary; where none does, the scale that the sweep file `asked` for, or parameters and
    tokens. Raises ViewFault where these do not."""
    for names in (SCALE_AXES, asked, ("parameters", "tokens")):
        varying = [name for name in names if name in rows and name not in tuned and rows[name].nunique() > 1]
        if varying:
            return varying
    raise ViewFault("--axis: no scale varies in these trials; name the columns that do")


def laws(
    rows: pd.DataFrame, known_columns: Sequence[str], tuned: Sequence[str], over: Sequence[str]
) -> list[Laws]:
    """The laws of all families; `over` and the one or two `tuned` are columns of positive numbers."""
    known_columns = list(dict.fromkeys([*known_columns, *tuned, *over]))
    found = []
    for entry in family_rows(rows, known_columns):
        for fixed, group in split(entry, over, *tuned):
            cells = _cells(group, tuned, over)
            if cells:
                told = {name: _law(cells, index, over) for index, name in enumerate(tuned)}
                others = {*CHOSEN} & {*entry.varying} - {*over, *tuned, *fixed}
                following = tuple(sorted(name for name in others if group[name].nunique() > 1))
                unplaced = len(group) - sum(cell.trials for cell in cells)
                found.append(Laws(entry.family, fixed, tuple(over), told, tuple(cells), following, unplaced))
    return found


def _cells(group: pd.DataFrame, tuned: Sequence[str], over: Sequence[str]) -> list[CellOptimum]:
    place_MC = group[[*over]].to_numpy(dtype=float)
    there = np.isfinite(place_MC).all(axis=1) & (place_MC > 0).all(axis=1)
    there &= (group[[*tuned]].to_numpy(dtype=float) > 0).all(axis=1)
    group, place_MC = group[there], place_MC[there]
    places, cell_M = np.unique(place_MC, axis=0, return_inverse=True)
    runs = Runs.of(group, tuned[0])
    members = [cell_M == index for index in range(len(places))]
    if len(tuned) == 1:
        fits = fit_family([runs.curve(float(index), mine) for index, mine in enumerate(members)]).fits
        found: list[tuple[tuple[Known | Bound | None, ...], float | None]]
        found = [((located(fit),), fit.loss) for fit in fits]
    else:
        second = np.log2(group[tuned[1]].to_numpy(dtype=float)).round(9)
        joint = joint_optima([_grid(runs, mine, second) for mine in members])
        found = [(one.optima, one.loss) for one in joint]
    return [
        CellOptimum(tuple(map(float, place)), optima, loss, int(mine.sum()))
        for place, (optima, loss), mine in zip(places, found, members, strict=True)
    ]


def _grid(runs: Runs, mine: np.ndarray, second: Floats) -> Grid:
    values = [float(value) for value in np.unique(second[mine])]
    return Grid([runs.curve(value, mine & (second == value)) for value in values], values)


def _law(cells: Sequence[CellOptimum], index: int, over: Sequence[str]) -> PowerLaw | None:
    places = np.log2(np.array([cell.place for cell in cells]))
    return power_law(over, optima_at([cell.optima[index] for cell in cells], places))
