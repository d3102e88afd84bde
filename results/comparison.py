"""From rows to comparisons: which trials belong on one curve, and the judgement of each family."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .drift import Drift, judge
from .optimum import Curve

SCALE_AXES = ("width", "depth", "batch_size", "steps", "sequence_length")
HYPERPARAMETERS = (
    "learning_rate",
    "weight_decay",
    "init_scale",
    "embedding_multiplier",
    "residual_multiplier",
    "attention_multiplier",
    "readout_multiplier",
)
FAMILY = ("architecture", "optimizer", "parametrization")
NOT_COORDINATES = {
    "trial_id", "job_id", "sweep", "seed", "status", "diverged_step", "initial_loss", "loss", "train_loss",
    "parameters", "tokens", "flops", "seconds", "device", *FAMILY,
}  # fmt: skip
# Rows that are older than a column have null there: what it was then, or that their optimizer had no such
# thing. Neither may split a sweep that has gained points since.
BEFORE = {"decay": "coupled", "nesterov": True}
UNKNOWN_BEFORE = {"adamw_lr_ratio", "matrices", "gamma", "curvature_every", "precondition_every"}
MIN_SWEPT = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """One family of curves along one scale axis: same architecture, optimizer and parametrization."""

    architecture: str | None
    optimizer: str | None
    parametrization: str | None
    axis: str
    hyperparameter: str
    fixed: dict[str, Any]
    drift: Drift

    @property
    def title(self) -> str:
        parts = [self.architecture, self.optimizer, self.parametrization]
        return " ".join(part for part in parts if part)


def compare(rows: pd.DataFrame, known_columns: Sequence[str]) -> list[Comparison]:
    """All comparisons that the rows support; `known_columns` are those that may tell trials apart.

    Further columns that an import brought along are kept in the store but never split a curve.
    """
    coordinates = [name for name in known_columns if name in rows and name not in NOT_COORDINATES]
    rows = rows.assign(**{name: rows[name].fillna(old) for name, old in BEFORE.items() if name in rows})
    found: list[Comparison] = []
    for family, members in rows.groupby(list(FAMILY), dropna=False, sort=False):
        varying = [name for name in coordinates if members[name].nunique(dropna=name in UNKNOWN_BEFORE) > 1]
        axes = [axis for axis in SCALE_AXES if axis in varying] or ["width"]
        for axis in axes:
            for hyperparameter in _swept(members):
                found += _scaling(list(_family(family, members, axis, hyperparameter, varying)))
    return sorted(found, key=_order)


def _order(comparison: Comparison) -> tuple[object, ...]:
    """By architecture and optimizer, SP before what is compared with it."""
    return (
        comparison.axis,
        comparison.hyperparameter,
        comparison.architecture or "",
        comparison.optimizer or "",
        comparison.parametrization != "sp",
        comparison.parametrization or "",
    )


def _scaling(comparisons: list[Comparison]) -> list[Comparison]:
    """Without those of a single scale, unless there are no others: several axes need not be crossed."""
    several = [c for c in comparisons if len(c.drift.optima) > 1]
    return several or comparisons


def _swept(members: pd.DataFrame) -> list[str]:
    """Those with enough values to fit; the learning rate where there is no other."""
    enough = [name for name in HYPERPARAMETERS if name in members and members[name].nunique() >= MIN_SWEPT]
    return enough or ["learning_rate"]


def _family(
    family: tuple[Any, ...], members: pd.DataFrame, axis: str, hyperparameter: str, varying: list[str]
) -> Iterator[Comparison]:
    fixed_names = [
        name for name in varying if name not in (axis, hyperparameter) and not _follows(members, name, axis)
    ]
    groups = members.groupby(fixed_names, dropna=False, sort=True) if fixed_names else [((), members)]
    for key, group in groups:
        drift = judge(curves_along(group, axis, hyperparameter))
        architecture, optimizer, parametrization = (_none(value) for value in family)
        fixed = {name: _none(value) for name, value in zip(fixed_names, key, strict=True)}
        yield Comparison(architecture, optimizer, parametrization, axis, hyperparameter, fixed, drift)


def _follows(members: pd.DataFrame, name: str, axis: str) -> bool:
    """Whether `name` is a function of the axis, as in zipped axes: then it does not split a curve."""
    return int(members.groupby(axis)[name].nunique(dropna=False).max()) == 1


def curves_along(group: pd.DataFrame, axis: str, hyperparameter: str) -> list[Curve]:
    """One curve per value of the axis, ascending. Values of zero have no place on a log axis."""
    positive = group[group[hyperparameter] > 0]
    return [
        _curve(float(scale), members, hyperparameter) for scale, members in positive.groupby(axis, sort=True)
    ]


def _curve(scale: float, members: pd.DataFrame, hyperparameter: str) -> Curve:
    # pivot_table drops values whose trials all diverged: the grid comes from the rows themselves.
    grid = np.sort(members[hyperparameter].unique())
    losses = members.assign(loss=members["loss"].where(members["status"] == "finished"))
    seeds = losses["seed"].fillna(0) if "seed" in losses else pd.Series(0, index=losses.index)
    table = losses.assign(seed=seeds).pivot_table(
        index="seed", columns=hyperparameter, values="loss", aggfunc="mean", dropna=False
    )
    table = table.reindex(columns=grid)
    y_SP = table.to_numpy(dtype=float)
    healthy = np.isfinite(y_SP)
    y_SP = y_SP - _seed_effects(y_SP, healthy)
    tried = losses.groupby(hyperparameter)["status"].agg(lambda s: (s == "diverged").mean()).reindex(grid)
    mostly = tried.to_numpy() >= 0.5
    counts = healthy.sum(axis=0)
    means = np.where(counts > 0, np.where(healthy, y_SP, 0.0).sum(axis=0) / np.maximum(counts, 1), np.inf)
    spread, degrees = _spread(y_SP[:, healthy.all(axis=0)])
    return Curve(
        scale=scale,
        x=np.log2(grid),
        y=np.where(mostly, np.inf, means),
        seeds=max(1, len(y_SP)),
        trials=len(members),
        diverged=int((members["status"] == "diverged").sum()),
        spread=spread,
        degrees=degrees,
    )


def _seed_effects(y_SP: np.ndarray, healthy: np.ndarray) -> np.ndarray:
    """What each seed shifts its losses by, [S, 1], read off the values that all seeds have.

    Without this, a value that some seeds lack would be a mean over other seeds than its neighbours.
    """
    complete = y_SP[:, healthy.all(axis=0)]
    if complete.shape[1] == 0:
        return np.zeros((len(y_SP), 1))
    return np.asarray(complete.mean(axis=1, keepdims=True) - complete.mean())


def _spread(y_SP: np.ndarray) -> tuple[float | None, int]:
    """Standard deviation of one run after point and seed effects are taken out, and its freedom.

    Seeds are paired (same batches and start for every value), so their common shift moves no optimum.
    """
    seeds, points = y_SP.shape
    degrees = (seeds - 1) * (points - 1)
    if degrees < 1:
        return None, 0
    residual = y_SP - y_SP.mean(axis=0) - y_SP.mean(axis=1, keepdims=True) + y_SP.mean()
    return float(np.sqrt((residual**2).sum() / degrees)), degrees


def _none(value: Any) -> Any:  # noqa: ANN401 - a cell of any column
    """Missing cells as None, numpy scalars as Python's."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
