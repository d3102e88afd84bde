"""From rows to comparisons: which trials belong on one curve, and the judgement of each family."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from ...models.recipe.family import Family
from ...models.recipe.identity import unread_alike
from ...models.recipe.recipe import FIELDS, Recipe
from ..statistics.curve import Curve, Floats, Truths, curve_of
from ..statistics.drift import Drift, judge
from ..statistics.tolerance import Tolerance
from ..store.schema import BEFORE, OUTCOMES, PRUNED, ROWS, UNKNOWN_BEFORE, WAITING
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
SAME_OCTAVES = 1e-6
"""Of a hyperparameter's values in log2: the same number in single precision."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The curves of one family along one scale axis."""

    family: Family
    axis: str
    hyperparameter: str
    fixed: dict[str, Any]
    drift: Drift
    accuracy: Mapping[float, float] = field(default_factory=dict)
    """By scale: the mean accuracy at the value with the lowest loss, where labels are classes."""
    waiting: Mapping[float, tuple[float, ...]] = field(default_factory=dict)
    """By scale: log2 of the hyperparameter's values whose trials wait to be asked for, ascending."""
    flops: Mapping[float, float] = field(default_factory=dict)
    """By scale: the operations of one trial, where rows say."""
    duration: str = "steps"
    """What says how long its trials train: steps, tokens, or tokens for each parameter."""
    busiest_expert: Mapping[float, float] = field(default_factory=dict)
    """As `accuracy`: the load of the busiest expert over an average one's, where there are experts."""

    @property
    def title(self) -> str:
        return self.family.title


def compare(
    rows: pd.DataFrame,
    known_columns: Sequence[str],
    tolerance: Tolerance | None = None,
    along: str | None = None,
    tuned: str | None = None,
    pool: Collection[str] = (),
) -> list[Comparison]:
    """All comparisons that the rows support; `known_columns` are those that may tell trials apart.

    Further columns that an import brought along are kept in the store but never split a curve. `along` is
    the scale and `tuned` the hyperparameter, columns of positive numbers; by default every scale axis that
    varies, and every hyperparameter that was swept. Of columns of `pool` it is known that trials differ in
    them.
    """
    found = [
        _judged(group, curves, tolerance, pool)
        for group in grouped(rows, known_columns, along, tuned)
        if (curves := curves_along(_measured(group.members), group.axis, group.hyperparameter))
    ]
    return sorted(found, key=_order)


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


def _measured(members: pd.DataFrame) -> pd.DataFrame:
    return members[members["status"] != WAITING]


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


def _unread(members: pd.DataFrame) -> set[str]:
    """Fields that our proxies did not read, and that hold whatever their default was: it may have changed
    since the first of them."""
    if not of_proxies(members):
        return set()
    first = members.iloc[0]
    placed = members["learnable_multipliers"] if "learnable_multipliers" in members else pd.Series("none")
    multipliers = bool((placed.fillna("none") != "none").any())
    return unread_alike(str(first["architecture"]), str(first["optimizer"]), multipliers)


def filled(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the old values of the columns that are younger than they are, and our own proxies' tokens
    for each parameter."""
    rows = rows.assign(**{name: rows[name].fillna(old) for name, old in BEFORE.items() if name in rows})
    return per_parameter(rows)


def rows_behind(comparison: Comparison, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that a comparison was made of."""
    members = filled(rows)
    for name, value in {**comparison.family._asdict(), **comparison.fixed}.items():
        members = members[members[name].isna() if value is None else members[name] == value]
    return members


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


def _judged(
    group: Group, curves: Sequence[Curve], tolerance: Tolerance | None, pool: Collection[str]
) -> Comparison:
    drift = judge(curves, tolerance)
    reasons = (*_zeros(group), *_entangled(group, pool), *drift.judgement.reasons)
    return Comparison(
        group.family,
        group.axis,
        group.hyperparameter,
        group.fixed,
        replace(drift, judgement=replace(drift.judgement, reasons=reasons)),
        _at_best("accuracy", group.members, group.axis, group.hyperparameter),
        _waiting(group),
        _flops(group),
        _duration(group),
        _at_best("busiest_expert", group.members, group.axis, group.hyperparameter),
    )


def _zeros(group: Group) -> Iterator[str]:
    """What is said of trials whose hyperparameter is 0: no curve has a place for them."""
    members = _measured(group.members)
    zero = members[group.hyperparameter] == 0
    if not zero.any():
        return
    readable, count = group.hyperparameter.replace("_", " "), int(zero.sum())
    least = members.groupby([members[group.axis], zero])["loss"].min().unstack()
    better = [f"{scale:g}" for scale in least.index[least.get(True) < least.get(False)]]
    lower = f"; the lowest loss is theirs at scale {', '.join(better)}" if better else ""
    yield f"left out: {count} with a {readable} of 0, which has no logarithm{lower}"


def _entangled(group: Group, pool: Collection[str]) -> Iterator[str]:
    """What changes from scale to scale, is one at each, and the same at several; and what moves along with
    the hyperparameter. No trial tells either apart."""
    members, axis, tuned = _measured(group.members), group.axis, group.hyperparameter
    others = [name for name in group.differing if name not in (axis, tuned, *pool)]
    scales, values = members[axis].nunique(), members[others].nunique()
    some = [name for name in others if 1 < values[name] < scales]
    most = members.groupby(axis)[some].nunique().max() if some else {}
    if switched := [name for name in some if most[name] == 1]:
        own = next((name for name in switched if name not in FIELDS), None)
        meant = f", --pool {own} says that this is meant" if own else ""
        yield (
            f"{', '.join(switched)}: not the same at all scales, and never two at one; what that does is "
            f"part of the slope; --hold {switched[0]}=VALUE keeps one{meant}"
        )
    several = [name for name in others if values[name] > 1 and name in FIELDS and name not in switched]
    along = [name for name in several if _tunable(members, name) and _zipped(members, name, tuned)]
    if along:
        readable = [name.replace("_", " ") for name in (*along, tuned)]
        yield f"{', '.join(readable[:-1])} moves along with the {readable[-1]}: the optimum is that of both"


def _differing(members: pd.DataFrame) -> tuple[str, ...]:
    """Columns that say how trials are trained, and words of the user's own: numbers of theirs may be sizes or
    measurements."""
    ours = [name for name in members.columns if name in TRAINED_WITH]
    theirs = members.columns.difference([*ROWS.names, *FIELDS, *NOT_COORDINATES])
    texts = [name for name in theirs if pd.api.types.infer_dtype(members[name], skipna=True) == "string"]
    words = [name for name in texts if pd.to_numeric(members[name].dropna(), errors="coerce").isna().any()]
    values = members[[*ours, *words]].nunique()
    return tuple(map(str, values.index[values > 1]))


def _duration(group: Group) -> str:
    """Scales are compared at one number of steps, or of tokens, or of tokens for each parameter."""
    if group.axis in DURATIONS:
        return group.axis
    members = group.members
    if not {"steps", *DURATIONS} <= {*members} or members["steps"].nunique() == 1:
        return "steps"
    return next((name for name in DURATIONS if members[name].nunique() == 1), "steps")


def _waiting(group: Group) -> dict[float, tuple[float, ...]]:
    members = group.members[group.members["status"] == WAITING]
    values = members[members[group.hyperparameter] > 0].groupby(group.axis)[group.hyperparameter].unique()
    return {float(scale): tuple(places(np.sort(found)).tolist()) for scale, found in values.items()}


def _flops(group: Group) -> dict[float, float]:
    if "flops" not in group.members:
        return {}
    whole = group.members[group.members["status"] != PRUNED]
    means = whole.groupby(group.axis)["flops"].mean().dropna()
    return {float(scale): float(value) for scale, value in means.items()}


def _at_best(measured: str, group: pd.DataFrame, axis: str, hyperparameter: str) -> dict[float, float]:
    """The mean of a measurement at the value with the lowest loss, by scale."""
    if measured not in group or group[measured].isna().all():
        return {}
    means = group.groupby([axis, hyperparameter])[["loss", measured]].mean().dropna()
    best = means.loc[means.groupby(level=0)["loss"].idxmin()]
    return {float(scale): float(value) for (scale, _), value in best[measured].items()}


def _order(comparison: Comparison) -> tuple[object, ...]:
    """By architecture and optimizer, SP before what is compared with it."""
    return (
        comparison.axis,
        comparison.hyperparameter,
        comparison.family.architecture or "",
        comparison.family.optimizer or "",
        comparison.family.parametrization != "sp",
        comparison.family.parametrization or "",
    )


def _scaling(groups: list[Group]) -> list[Group]:
    """Without those of a single scale, unless there are no others: several axes need not be crossed."""
    several = [group for group in groups if group.members[group.axis].nunique() > 1]
    return several or groups


def swept(members: pd.DataFrame) -> list[str]:
    """Those with enough values to fit; the learning rate where there is no other."""
    enough = [name for name in HYPERPARAMETERS if name in members and members[name].nunique() >= MIN_SWEPT]
    return enough or ["learning_rate"]


def _leading(members: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Of hyperparameters that are zipped with each other, the first."""
    kept: list[str] = []
    for name in names:
        if not any(_zipped(members, name, other) for other in kept):
            kept.append(name)
    return kept


def _follows(members: pd.DataFrame, name: str, axes: Sequence[str], hyperparameters: Sequence[str]) -> bool:
    """Whether `name` is a function of the axes, or zipped with a hyperparameter: neither splits a curve."""
    if int(members.groupby(list(axes))[name].nunique(dropna=False).max()) == 1:
        return True
    return _tunable(members, name) and any(_zipped(members, name, other) for other in hyperparameters)


def _tunable(members: pd.DataFrame, name: str) -> bool:
    """Whether a column is of numbers with which trials are trained, and no size."""
    return name in HYPERPARAMETERS or (
        name in TRAINED_WITH and FIELDS[name].kind is float and pd.api.types.is_numeric_dtype(members[name])
    )


def _zipped(members: pd.DataFrame, name: str, other: str) -> bool:
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


def _cell(name: str, value: Any) -> Any:  # noqa: ANN401 - a cell of any column
    """As the column has it: pandas holds integers with gaps as floats."""
    plain = _none(value)
    return int(plain) if isinstance(plain, float) and name in INTEGERS else plain


def _none(value: Any) -> Any:  # noqa: ANN401 - a cell of any column
    """Missing cells as None, numpy scalars as Python's."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
