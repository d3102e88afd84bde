"""What a search over several hyperparameters found: the best point of each cell, and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...models.recipe.family import Family
from ..store.schema import PRUNED
from .grouping import family_rows

NEAR_NATS = 0.02
"""Points this close to the best are as good as it: their ranges say how well a value is known."""


@dataclass(frozen=True, slots=True)
class Searched:
    """One cell of the axes. `best` are the values of the lowest mean loss over seeds.

    `near` are the lowest and highest values among the points within NEAR_NATS of the best.
    """

    family: Family
    fixed: dict[str, Any]
    points: int
    diverged: int
    pruned: int
    loss: float
    best: dict[str, float]
    near: dict[str, tuple[float, float]]


def best_of_searches(
    rows: pd.DataFrame, searched: Sequence[str], known_columns: Sequence[str]
) -> list[Searched]:
    """One entry per cell, in the order of the families; cells where all diverged are left out."""
    found = []
    for entry in family_rows(rows, known_columns):
        varying = [name for name in entry.varying if name not in searched]
        found += _cells(entry.family, entry.members, varying, searched)
    return found


def _cells(
    family: Family, members: pd.DataFrame, varying: Sequence[str], searched: Sequence[str]
) -> list[Searched]:
    found = []
    groups = members.groupby(list(varying), dropna=False) if varying else [((), members)]
    for key, group in groups:
        by_point = group.groupby(list(searched))
        points = by_point["loss"].agg(lambda s: s.mean(skipna=False))
        pruned = by_point["status"].agg(lambda s: {*s} - {"finished"} == {PRUNED})
        finished = points[np.isfinite(points.to_numpy(dtype=float))].sort_values()
        if finished.empty:
            continue
        table = finished.reset_index()
        near = table[table["loss"] <= table["loss"].iloc[0] + NEAR_NATS]
        found.append(
            Searched(
                family,
                fixed={name: _plain(value) for name, value in zip(varying, key, strict=True)},
                points=len(points),
                diverged=len(points) - len(finished) - int(pruned.sum()),
                pruned=int(pruned.sum()),
                loss=float(table["loss"].iloc[0]),
                best={name: float(table[name].iloc[0]) for name in searched},
                near={name: (float(near[name].min()), float(near[name].max())) for name in searched},
            )
        )
    return found


def _plain(value: Any) -> Any:  # noqa: ANN401 - a cell of any column
    return value.item() if isinstance(value, np.generic) else value
