"""Which rows a report looks at, and along which column: what the rows themselves do not say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ...models.recipe.fault import Fault
from ..store.schema import ROWS
from .comparison import NOT_COORDINATES

MEASURED = {"trial_id", "job_id", "sweep", "source", "status", "loss", "accuracy", "train_loss", "seconds",
            "initial_loss", "diverged_step", "device", "tokens", "flops", "parameters"}  # fmt: skip


class ViewFault(Fault):
    """The message names the option, the column and what there is."""


@dataclass(frozen=True, slots=True)
class View:
    """`axis` is the scale, any numeric column; `hold` keeps the rows with these values; columns of `pool` may
    differ among trials that are averaged."""

    axis: str | None = None
    hold: Mapping[str, str] = field(default_factory=dict)
    pool: Sequence[str] = ()

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that are looked at, the axis as numbers. Raises ViewFault."""
        for name in (*self.hold, *([self.axis] if self.axis else []), *self.pool):
            if name not in rows.columns:
                there = ", ".join(sorted(str(name) for name in rows.columns if rows[name].notna().any()))
                raise ViewFault(f"{name}: is no column of these measurements; there are {there}")
        for name, value in self.hold.items():
            rows = rows[_equal(rows[name], value)]
            if rows.empty:
                raise ViewFault(f"--hold {name}={value}: no trial has this value")
        if self.axis is None:
            return rows
        numbers = pd.to_numeric(rows[self.axis], errors="coerce")
        if numbers[rows[self.axis].notna()].isna().any() or not (numbers > 0).any():
            raise ViewFault(f"--axis {self.axis}: holds what is no positive number")
        return rows.assign(**{self.axis: numbers})

    def pooled(self, rows: pd.DataFrame, known_columns: Sequence[str]) -> list[str]:
        """A line for each column that tells trials apart which are averaged all the same."""
        known = [name for name in known_columns if name in rows and name not in MEASURED]
        known = [name for name in {*known, *([self.axis] if self.axis else [])} if rows[name].notna().any()]
        others = [
            str(name)
            for name in rows.columns
            if name not in {*known, *MEASURED, *NOT_COORDINATES, *ROWS.names, *self.pool}
        ]
        if not known:
            return []
        groups = rows.groupby(known, dropna=False)
        several = groups["loss"].transform(lambda loss: loss.nunique() > 1).to_numpy(dtype=bool)
        found = []
        for name in others:
            differ = groups[name].transform("nunique").to_numpy() > 1
            count = int(np.sum(several & differ))
            if count:
                found.append(
                    f"{count} trials that differ in {name} alone are averaged; --hold {name}=VALUE keeps one "
                    f"value, --map takes it for a field, --pool {name} says that this is meant"
                )
        return found


def _equal(column: pd.Series, value: str) -> pd.Series:
    """As numbers where both are, else as text."""
    numbers = pd.to_numeric(column, errors="coerce")
    try:
        return pd.Series(np.isclose(numbers, float(value), rtol=1e-9), index=column.index)
    except ValueError:
        return column.astype(str) == value
