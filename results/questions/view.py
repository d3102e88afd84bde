"""Which rows a report looks at, and along which column: what the rows themselves do not say."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from ...models.recipe.aliases import ALIASES
from ...models.recipe.family import Family
from ...models.recipe.fault import Fault
from ..sources.written import count
from ..store.schema import BUDGETS, OUTCOMES, ROWS
from .copies import copies
from .grouping import HYPERPARAMETERS, NOT_COORDINATES
from .mixtures import mixtures
from .per_parameter import PER_PARAMETER, per_parameter

MEASURED = {"trial_id", "job_id", "sweep", "source", "seconds", "device", *OUTCOMES}
NEARLY_ALL = 0.9
"""A column with another value in nearly every row is a measurement."""
SAME_SHARE, DERIVED_SHARE = 1e-9, 0.05
"""A value is held to within this share of it; what follows from other columns is rarely round."""
APART_OCTAVES = 0.1
"""Columns that leave a line by less than this go together."""


class ViewFault(Fault):
    """The message names the option, the column and what there is."""


@dataclass(frozen=True, slots=True)
class View:
    """`axes` are the scales and `hyperparameters` what is tuned, any columns of positive numbers; `hold`
    keeps the rows with these values; columns of `pool` may differ among trials that are averaged.

    A name may also be a product or quotient of columns, `tokens/parameters` or `tokens_per_parameter`.
    """

    axes: Sequence[str] = ()
    hyperparameters: Sequence[str] = ()
    hold: Mapping[str, str] = field(default_factory=dict)
    pool: Sequence[str] = ()

    @classmethod
    def along(
        cls, axis: str | None, hyperparameter: str | None, hold: Mapping[str, str], pool: Sequence[str]
    ) -> Self:
        """Of one scale and one hyperparameter, None where the trials say which."""
        return cls([axis] if axis else [], [hyperparameter] if hyperparameter else [], hold, pool)

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that are looked at, with axes and hyperparameters as numbers. Raises ViewFault."""
        options = {
            "--axis": self.axes,
            "--hyperparameter": self.hyperparameters,
            "--hold": self.hold,
            "--pool": self.pool,
        }
        derived: dict[str, pd.Series] = {}
        for option, name in ((option, name) for option, names in options.items() for name in names):
            if name not in rows.columns:
                derived[name] = _derived(rows, option, name)
        rows = rows.assign(**derived)
        for name, value in self.hold.items():
            rows = rows[_equal(rows[name], value, DERIVED_SHARE if name in derived else SAME_SHARE)]
            if rows.empty:
                raise ViewFault(f"--hold {name}={value}: no trial has this value")
        for name in self.axes:
            if name in MEASURED or name in (self.hyperparameters or HYPERPARAMETERS):
                raise ViewFault(f"--axis {name}: is measured or tuned, no scale; give what models differ in")
            rows = _numeric(rows, "--axis", name)
        for name in self.pool:
            if name in {*ROWS.names, *Family._fields} - BUDGETS - (NOT_COORDINATES - {*Family._fields}):
                told = "trials that differ in it are compared apart, not averaged"
                raise ViewFault(f"--pool {name}: {told}; --hold {name}=VALUE keeps one")
        for name in self.hyperparameters:
            if name in MEASURED:
                raise ViewFault(f"--hyperparameter {name}: is measured, not chosen; give what was tuned")
            rows = _numeric(rows, "--hyperparameter", name)
        return rows

    def pooled(self, rows: pd.DataFrame, known_columns: Sequence[str]) -> list[str]:
        """Lines for columns which no comparison knows: that tell apart trials that are averaged, or what
        curves are made of; and for seeds that are copies."""
        known = {name for name in known_columns if name in rows and name not in MEASURED | BUDGETS}
        known |= {*self.axes, *self.hyperparameters}
        known = {name for name in known if rows[name].notna().any()}
        own = [
            str(name)
            for name in rows.columns
            if name not in known | MEASURED and (name not in ROWS.names or name in BUDGETS)
            if rows[name].nunique() <= NEARLY_ALL * len(rows)
        ]
        own += ["sweep"] if "sweep" in rows else []
        pooled = [name for name in own if name in self.pool]
        others = [name for name in own if name not in pooled]
        told = copies(rows, known)
        if known and others:
            told += mixtures(rows, known, others, pooled, self.hyperparameters or HYPERPARAMETERS)
        return told


ALL = View()


def collinear(rows: pd.DataFrame, columns: Sequence[str]) -> str | None:
    """In words, what of these columns follows from the others, so that no trial tells them apart."""
    places = rows[[*columns]].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    places = places[np.isfinite(places).all(axis=1) & (places > 0).all(axis=1)]
    log2_SC = np.log2(np.unique(places, axis=0))
    if len(columns) < 2 or len(log2_SC) < 2:
        return None
    centered_SC = log2_SC - log2_SC.mean(axis=0)
    for index, name in reversed([*enumerate(columns)]):
        others = [other for other in columns if other != name]
        rest_SC = np.delete(centered_SC, index, axis=1)
        left_S = centered_SC[:, index] - rest_SC @ np.linalg.pinv(rest_SC) @ centered_SC[:, index]
        if float(np.abs(left_S).max()) < APART_OCTAVES:
            return f"{name} goes with {' and '.join(others)}: no trial tells them apart"
    return None


def _numbers(column: pd.Series) -> pd.Series:
    """With `125M` and `1,024` as what they say; what is no number is missing."""
    read = column.map(count) if not is_numeric_dtype(column) else None
    return pd.to_numeric(column if read is None else column.where(read.isna(), read), errors="coerce")


def _numeric(rows: pd.DataFrame, option: str, name: str) -> pd.DataFrame:
    numbers = _numbers(rows[name])
    there = rows[name].notna()
    positive = np.isfinite(numbers[there]) & (numbers[there] >= 0)
    if not positive.all() or not there.any() or (option == "--axis" and (numbers[there] == 0).any()):
        negative = rows[name][there][~positive]
        wrong = negative if len(negative) else rows[name][there]
        told = f", such as {wrong.iloc[0]}" if len(wrong) else ""
        raise ViewFault(f"{option} {name}: holds what is no positive number{told}")
    return rows.assign(**{name: numbers})


def _derived(rows: pd.DataFrame, option: str, name: str) -> pd.Series:
    """The product or quotient that a name says."""
    if name == PER_PARAMETER and PER_PARAMETER in (ours := per_parameter(rows)):
        return ours[PER_PARAMETER]
    per = name.partition("_per_")
    if per[1]:
        plain = [next((c for c in (word, f"{word}s") if c in rows.columns), word) for word in per[::2]]
        parts = ["", plain[0], "/", plain[1]]
    else:
        parts = ["", *re.split(r"\s*([*/])\s*", name)]
    if len(parts) < 4 or not {*parts[1::2]} <= {*rows.columns}:
        there = sorted(str(name) for name in rows.columns if rows[name].notna().any())
        ours = next((ours for ours, theirs in ALIASES.items() if name.lower() in theirs), None)
        meant = f"; it was taken for {ours}" if ours in there else f"; there are {', '.join(there)}"
        raise ViewFault(f"{option} {name}: is no column of these measurements{meant}")
    found = pd.Series(1.0, index=rows.index)
    for sign, column in zip(parts[::2], parts[1::2], strict=True):
        numbers = _numbers(rows[column])
        found = found / numbers if sign == "/" else found * numbers
    return found


def _equal(column: pd.Series, value: str, share: float) -> pd.Series:
    """As numbers where both are, truths as sweep files write them, else as text."""
    numbers, asked = _numbers(column), count(value)
    try:
        wanted = float(value) if asked is None else asked
        return pd.Series(np.isclose(numbers, wanted, rtol=share, atol=0.0), index=column.index)
    except ValueError:
        text = column.astype(str)
        if column.name == "parametrization":  # a table of the user's own goes by its name, too
            return (text == value) | (text.str.partition("@")[0] == value)
        return text.str.lower() == value.lower() if pd.api.types.is_bool_dtype(column) else text == value
