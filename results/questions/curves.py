"""From rows to curves: what was measured at each value of a hyperparameter, by seed."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from ..statistics.curve import Curve, Floats, Truths, curve_of
from ..store.schema import PRUNED

SAME_OCTAVES = 1e-6
"""Of a hyperparameter's values in log2: the same number in single precision."""


def curves_along(group: pd.DataFrame, axis: str, hyperparameter: str) -> list[Curve]:
    """One curve per value of the axis, ascending. Values of zero have no place on a log axis."""
    runs = Runs.of(group, hyperparameter)
    scale = group[axis].to_numpy(dtype=float)
    there = (runs.value > 0) & (scale > 0) & np.isfinite(scale)
    return [runs.curve(float(value), scale == value) for value in np.unique(scale[there])]


@dataclass(frozen=True, slots=True)
class Runs:
    """The columns of some rows that curves are made of; NaN where a trial has no loss.

    Those without a seed (`unseeded`) have one and the same: nothing pairs them. Of those at one value the
    mean counts, or, where at least half of them diverged, that.
    """

    value: Floats
    seed: Floats
    unseeded: Truths
    loss: Floats
    finished: Truths
    pruned: Truths

    @classmethod
    def of(cls, rows: pd.DataFrame, hyperparameter: str) -> Self:
        seeded = "seed" in rows
        return cls(
            value=rows[hyperparameter].to_numpy(dtype=float),
            seed=rows["seed"].fillna(0).to_numpy(dtype=float) if seeded else np.zeros(len(rows)),
            unseeded=rows["seed"].isna().to_numpy() if seeded else np.ones(len(rows), dtype=bool),
            loss=rows["loss"].to_numpy(dtype=float),
            finished=(rows["status"] == "finished").to_numpy(dtype=bool),
            pruned=(rows["status"] == PRUNED).to_numpy(dtype=bool),
        )

    def curve(self, scale: float, chosen: Truths) -> Curve:
        """The curve of the chosen rows, in log2 of their positive values."""
        chosen = chosen & (self.value > 0)
        x = places(self.value[chosen])
        grid, column = np.unique(x, return_inverse=True)
        seeds, row = np.unique(self.seed[chosen], return_inverse=True)
        loss, finished, pruned = self.loss[chosen], self.finished[chosen], self.pruned[chosen]
        there = finished & np.isfinite(loss)
        shape = (len(seeds), len(grid))
        total_SP, count_SP, lost_SP, pruned_SP, unseeded_SP = (np.zeros(shape) for _ in range(5))
        np.add.at(total_SP, (row[there], column[there]), loss[there])
        np.add.at(count_SP, (row[there], column[there]), 1)  # a measurement may have been imported twice
        np.add.at(lost_SP, (row[~finished], column[~finished]), 1)
        np.add.at(pruned_SP, (row[pruned], column[pruned]), 1)
        np.add.at(unseeded_SP, (row, column), self.unseeded[chosen])
        most = np.where(unseeded_SP > 0, lost_SP - pruned_SP >= count_SP, count_SP == 0)
        lost = (lost_SP > pruned_SP) & most
        stopped = (pruned_SP > 0) & (count_SP == 0)
        losses_SP = np.where((count_SP > 0) & ~lost, total_SP / np.maximum(count_SP, 1), np.nan)
        return curve_of(scale, grid, seeds, losses_SP, lost, stopped & ~lost)


def places(values: Floats) -> Floats:
    """log2. Values that differ by how they were rounded are one: the lowest of them."""
    places, which = np.unique(np.log2(values.astype(float)).round(9), return_inverse=True)
    for index in range(1, len(places)):
        if places[index] - places[index - 1] <= SAME_OCTAVES:
            places[index] = places[index - 1]
    found: Floats = places[which]
    return found
