"""From rows to comparisons: the judgement of each family, and what is said beside it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ...models.recipe.family import Family
from ...models.recipe.recipe import FIELDS
from ..statistics.curve import Curve, scale_name
from ..statistics.drift import Drift, judge
from ..statistics.tolerance import Tolerance
from ..store.schema import PRUNED, WAITING
from .curves import curves_along, places
from .grouping import DURATIONS, Group, filled, grouped, tunable, zipped


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


def rows_behind(comparison: Comparison, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that a comparison was made of."""
    members = filled(rows)
    for name, value in {**comparison.family._asdict(), **comparison.fixed}.items():
        members = members[members[name].isna() if value is None else members[name] == value]
    return members


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


def _measured(members: pd.DataFrame) -> pd.DataFrame:
    return members[members["status"] != WAITING]


def _zeros(group: Group) -> Iterator[str]:
    """What is said of trials whose hyperparameter is 0: no curve has a place for them."""
    members = _measured(group.members)
    zero = members[group.hyperparameter] == 0
    if not zero.any():
        return
    readable, count = group.hyperparameter.replace("_", " "), int(zero.sum())
    least = members.groupby([members[group.axis], zero])["loss"].min().unstack()
    better = [scale_name(scale) for scale in least.index[least.get(True) < least.get(False)]]
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
    along = [name for name in several if tunable(members, name) and zipped(members, name, tuned)]
    if along:
        readable = [name.replace("_", " ") for name in (*along, tuned)]
        yield f"{', '.join(readable[:-1])} moves along with the {readable[-1]}: the optimum is that of both"


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
