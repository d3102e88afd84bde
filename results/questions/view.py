"""Which rows a report looks at, and along which column: what the rows themselves do not say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ...models.recipe.fault import Fault
from ..store.schema import ROWS
from .comparison import HYPERPARAMETERS

MEASURED = {"trial_id", "job_id", "sweep", "source", "status", "loss", "accuracy", "train_loss", "seconds",
            "initial_loss", "diverged_step", "device"}  # fmt: skip
BUDGETS = {"tokens", "parameters", "flops"}
"""Follow from the rest for trials of our own; where others measured, they may be what tells trials apart."""
NEARLY_ALL = 0.9
"""A column with another value in nearly every row is a measurement."""


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
        asked = [
            *((f"--hold {name}", name) for name in self.hold),
            *((f"--pool {name}", name) for name in self.pool),
        ]
        asked += [(f"--axis {self.axis}", self.axis)] if self.axis else []
        for option, name in asked:
            if name not in rows.columns:
                there = ", ".join(sorted(str(name) for name in rows.columns if rows[name].notna().any()))
                raise ViewFault(f"{option}: is no column of these measurements; there are {there}")
        for name, value in self.hold.items():
            rows = rows[_equal(rows[name], value)]
            if rows.empty:
                raise ViewFault(f"--hold {name}={value}: no trial has this value")
        return rows if self.axis is None else self._scaled(rows, self.axis)

    def _scaled(self, rows: pd.DataFrame, axis: str) -> pd.DataFrame:
        if axis in MEASURED or axis in HYPERPARAMETERS:
            raise ViewFault(f"--axis {axis}: is measured or tuned, no scale; give what models differ in")
        numbers = pd.to_numeric(rows[axis], errors="coerce")
        there = rows[axis].notna()
        if not (np.isfinite(numbers[there]) & (numbers[there] > 0)).all() or not there.any():
            raise ViewFault(f"--axis {axis}: holds what is no positive number")
        return rows.assign(**{axis: numbers})

    def pooled(self, rows: pd.DataFrame, known_columns: Sequence[str]) -> list[str]:
        """A line where trials are averaged that a column tells apart which no comparison knows."""
        known = {name for name in known_columns if name in rows and name not in MEASURED | BUDGETS}
        known |= {self.axis} if self.axis else set()
        known = {name for name in known if rows[name].notna().any()}
        others = [
            str(name)
            for name in rows.columns
            if name not in known | MEASURED | {*self.pool} and (name not in ROWS.names or name in BUDGETS)
            if rows[name].nunique() <= NEARLY_ALL * len(rows)
        ]
        if not known or not others:
            return []
        coded = pd.DataFrame({name: pd.factorize(rows[name], use_na_sentinel=False)[0] for name in others})
        coded = coded.assign(outcome=rows["loss"].fillna(np.inf).to_numpy())
        groups = coded.groupby([rows[name].to_numpy() for name in sorted(known)], dropna=False)
        several = groups["outcome"].transform("nunique").to_numpy() > 1
        if not several.any():
            return []
        apart = {name: several & (groups[name].transform("nunique").to_numpy() > 1) for name in others}
        telling = [name for name, mask in apart.items() if mask.any()]
        if not telling:
            return []
        count, first = int(np.logical_or.reduce([apart[name] for name in telling]).sum()), telling[0]
        return [
            f"{count} trials that differ in {', '.join(telling)} are averaged; --hold {first}=VALUE keeps "
            f"one, import --map takes a column for a field, --pool {first} says that this is meant"
        ]


def _equal(column: pd.Series, value: str) -> pd.Series:
    """As numbers where both are, else as text."""
    numbers = pd.to_numeric(column, errors="coerce")
    try:
        return pd.Series(np.isclose(numbers, float(value), rtol=1e-9), index=column.index)
    except ValueError:
        return column.astype(str) == value
