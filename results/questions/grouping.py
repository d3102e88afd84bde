"""Which rows belong on one curve: families, and within each what varies, what follows from something else,
and what is held."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from ...models.recipe.family import Family
from ...models.recipe.identity import unread_alike
from ...models.recipe.recipe import FIELDS, Recipe
from ..store.schema import BEFORE, OUTCOMES, ROWS, UNKNOWN_BEFORE
from .facts import of_proxies
from .per_parameter import PER_PARAMETER, per_parameter

SCALE_AXES = tuple(name for name, field in FIELDS.items() if field.setting.scale)
HYPERPARAMETERS = tuple(name for name, field in FIELDS.items() if field.setting.tuned)
NOT_COORDINATES = {
    "trial_id", "job_id", "sweep", "seed", "parameters", "tokens", "flops", "seconds", "device", *OUTCOMES,
    *Family._fields,
}  # fmt: skip
TRAINED_WITH = {field.name for field in fields(Recipe)} - {*SCALE_AXES, "activation_checkpointing"}
"""Fields that say how a trial is trained, not of what shape it is."""
INTEGERS = {column.name for column in ROWS if pa.types.is_integer(column.type)}
DURATIONS = ("tokens", PER_PARAMETER)
"""Of a proxy, what may say how long it trains in place of its steps."""
MIN_SWEPT, MIN_ZIPPED = 3, 6


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one comparison."""

    family: Family
    axis: str
    hyperparameter: str
    fixed: dict[str, Any]
    members: pd.DataFrame
    differing: tuple[str, ...]
    """As its family's."""


def grouped(
    rows: pd.DataFrame, known_columns: Sequence[str], along: str | None = None, tuned: str | None = None
) -> list[Group]:
    """The rows by the comparisons that they are for; arguments are those of `compare`."""
    found: list[Group] = []
    known_columns = list(dict.fromkeys([*known_columns, *filter(None, (along, tuned))]))
    for entry in family_rows(rows, known_columns):
        members = entry.members
        axes = [
            axis
            for axis in (*SCALE_AXES, *DURATIONS)
            if axis in entry.varying and members[axis].nunique() > 1
        ]
        axes = [axis for axis in axes if axis != tuned]
        for axis in [along] if along else axes or [name for name in ("width",) if name != tuned]:
            scaled = entry.scaled(axis)
            if scaled.members.empty:
                continue
            at_scales = scaled.members.groupby(axis)
            several = [name for name in swept(scaled.members) if at_scales[name].nunique().max() > 1]
            leading = _leading(scaled.members, several or ["learning_rate"])
            for hyperparameter in [tuned] if tuned else leading:
                found += _scaling(
                    [
                        Group(entry.family, axis, hyperparameter, fixed, group, entry.differing)
                        for fixed, group in split(scaled, (axis,), hyperparameter)
                        if (group[hyperparameter] > 0).any()
                    ]
                )
    return found


def _scaling(groups: list[Group]) -> list[Group]:
    """Without those of a single scale, unless there are no others: several axes need not be crossed."""
    several = [group for group in groups if group.members[group.axis].nunique() > 1]
    return several or groups


def _leading(members: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Of hyperparameters that are zipped with each other, the first."""
    kept: list[str] = []
    for name in names:
        if not any(zipped(members, name, other) for other in kept):
            kept.append(name)
    return kept


@dataclass(frozen=True, slots=True)
class FamilyRows:
    """The rows of one family, the coordinates that vary in them, and what else may move their optima."""

    family: Family
    members: pd.DataFrame
    varying: tuple[str, ...]
    differing: tuple[str, ...]

    def scaled(self, axis: str) -> Self:
        """Those rows that have a place on the axis."""
        scale = self.members[axis].to_numpy(dtype=float)
        return replace(self, members=self.members[np.isfinite(scale) & (scale > 0)])


def family_rows(rows: pd.DataFrame, known_columns: Sequence[str]) -> Iterator[FamilyRows]:
    """The rows by family."""
    coordinates = [name for name in known_columns if name in rows and name not in NOT_COORDINATES]
    for names, members in filled(rows).groupby(list(Family._fields), dropna=False, sort=False):
        unread = _unread(members)
        varying = [
            name for name in coordinates
            if name not in unread and members[name].nunique(dropna=name in UNKNOWN_BEFORE) > 1
        ]  # fmt: skip
        yield FamilyRows(
            Family(*map(_none, names)),
            members,
            tuple(by_duration(members, varying)),
            _differing(members),
        )


def filled(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the old values of the columns that are younger than they are, and our own proxies' tokens
    for each parameter."""
    rows = rows.assign(**{name: rows[name].fillna(old) for name, old in BEFORE.items() if name in rows})
    return per_parameter(rows)


def _unread(members: pd.DataFrame) -> set[str]:
    """Fields that our proxies did not read, and that hold whatever their default was: it may have changed
    since the first of them."""
    if not of_proxies(members):
        return set()
    first = members.iloc[0]
    placed = members["learnable_multipliers"] if "learnable_multipliers" in members else pd.Series("none")
    multipliers = bool((placed.fillna("none") != "none").any())
    return unread_alike(str(first["architecture"]), str(first["optimizer"]), multipliers)


def _differing(members: pd.DataFrame) -> tuple[str, ...]:
    """Columns that say how trials are trained, and words of the user's own: numbers of theirs may be sizes or
    measurements."""
    ours = [name for name in members.columns if name in TRAINED_WITH]
    theirs = members.columns.difference([*ROWS.names, *FIELDS, *NOT_COORDINATES])
    texts = [name for name in theirs if pd.api.types.infer_dtype(members[name], skipna=True) == "string"]
    words = [name for name in texts if pd.to_numeric(members[name].dropna(), errors="coerce").isna().any()]
    values = members[[*ours, *words]].nunique()
    return tuple(map(str, values.index[values > 1]))


def by_duration(members: pd.DataFrame, varying: list[str]) -> list[str]:
    """The varying coordinates, with what a sweep was made of in place of its steps, where those follow from
    batch and tokens: of steps, tokens and tokens for each parameter the one with the fewest values."""
    if (
        "steps" not in varying
        or not {*DURATIONS} <= {*members}
        or members[[*DURATIONS]].isna().any(axis=None)
    ):
        return varying
    others = [name for name in DURATIONS if _gives_steps(members, name)]
    made_of = min(("steps", *others), key=lambda name: members[name].nunique())
    rest = [name for name in varying if name != "steps"]
    return [*rest, made_of] if members[made_of].nunique() > 1 else rest


def _gives_steps(members: pd.DataFrame, name: str) -> bool:
    """Whether a batch and a size have one number of steps at each of its values."""
    return (
        int(members.groupby([name, "batch_size", "sequence_length", "parameters"])["steps"].nunique().max())
        == 1
    )


def split(
    found: FamilyRows, axes: Sequence[str], *hyperparameters: str
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows by what else varies: what is the same in each group, and the group."""
    members = found.members
    fixed_names = [
        name
        for name in found.varying
        if name not in (*axes, *hyperparameters) and not _follows(members, name, axes, hyperparameters)
    ]
    groups = members.groupby(fixed_names, dropna=False, sort=True) if fixed_names else [((), members)]
    for key, group in groups:
        yield {name: _cell(name, value) for name, value in zip(fixed_names, key, strict=True)}, group


def swept(members: pd.DataFrame) -> list[str]:
    """Those with enough values to fit; the learning rate where there is no other."""
    enough = [name for name in HYPERPARAMETERS if name in members and members[name].nunique() >= MIN_SWEPT]
    return enough or ["learning_rate"]


def _follows(members: pd.DataFrame, name: str, axes: Sequence[str], hyperparameters: Sequence[str]) -> bool:
    """Whether `name` is a function of the axes, or zipped with a hyperparameter: neither splits a curve."""
    if int(members.groupby(list(axes))[name].nunique(dropna=False).max()) == 1:
        return True
    return tunable(members, name) and any(zipped(members, name, other) for other in hyperparameters)


def tunable(members: pd.DataFrame, name: str) -> bool:
    """Whether a column is of numbers with which trials are trained, and no size."""
    return name in HYPERPARAMETERS or (
        name in TRAINED_WITH and FIELDS[name].kind is float and pd.api.types.is_numeric_dtype(members[name])
    )


def zipped(members: pd.DataFrame, name: str, other: str) -> bool:
    """Whether two hyperparameters advance together: each value of one has one of the other, over a grid,
    whose values mostly recur at other scales, or along one way, which values drawn at random do not."""
    if (
        int(members.groupby(other, dropna=False)[name].nunique(dropna=False).max()) > 1
        or int(members.groupby(name, dropna=False)[other].nunique(dropna=False).max()) > 1
    ):
        return False
    along = members.drop_duplicates(other).sort_values(other)[name]
    one_way = along.is_monotonic_increasing or along.is_monotonic_decreasing
    recur = float(members.groupby(other).size().median()) > 1
    return recur or (one_way and len(along) >= MIN_ZIPPED)


def _cell(name: str, value: Any) -> Any:  # noqa: ANN401 - a cell of any column
    """As the column has it: pandas holds integers with gaps as floats."""
    plain = _none(value)
    return int(plain) if isinstance(plain, float) and name in INTEGERS else plain


def _none(value: Any) -> Any:  # noqa: ANN401 - a cell of any column
    """Missing cells as None, numpy scalars as Python's."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
