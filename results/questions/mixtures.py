"""Columns that no comparison knows, by which trials differ that it averages, or has on one curve."""

import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .curves import places
from .grouping import MIN_SWEPT

PROGRESS = frozenset({
    "_step", "step", "global_step", "iter", "iteration", "iterations", "epoch", "epochs",
})  # fmt: skip
"""What trackers call how far a training came."""
FURTHER = 1.1
"""Trainings of one length came no further than by this factor."""
SAME_LOSS = 1e-6
"""Losses are the same to within this share: machines round otherwise."""
CURVES_COMPARED, APART_SHARE, DISAGREEMENT = 20, 0.3, 0.15
"""Parts of so many curves are compared; they are apart if so large a share of those are, by so large a share
of what their losses span."""


def mixtures(
    rows: pd.DataFrame,
    known: Collection[str],
    others: Sequence[str],
    pooled: Collection[str],
    tuned: Collection[str],
) -> list[str]:
    """Lines for those of the `others` that tell apart trials which agree in all that is `known`, for those
    of which curves along what is `tuned` are made, and for trials that agree in all these and in what is
    `pooled`, their seed included, and ended otherwise."""
    coded = pd.DataFrame({name: pd.factorize(rows[name], use_na_sentinel=False)[0] for name in others})
    averaged, count = _averaged(coded, rows, known)
    told = []
    if averaged:
        names = ", ".join(averaged)
        told.append(f"{count} trials that differ in {names} are averaged; {_remedy(averaged[0])}")
    told += _contradicting(rows, [*known, *others, *pooled])
    lengths = [name for name in others if _plain(name) in PROGRESS and name not in averaged]
    told += [line for name in lengths for line in _of_lengths(rows, name, {*known} - {*tuned, "seed"})]
    mixed = _mixed(coded.drop(columns=averaged), rows, known, tuned)
    return told + [f"curves are made of trials that differ in {name}; {_remedy(name)}" for name in mixed]


def _plain(name: object) -> str:
    """Without the folders that trackers put before it."""
    return re.split(r"[./]", str(name).lower())[-1].replace(" ", "_")


def _of_lengths(rows: pd.DataFrame, name: str, apart: Collection[str]) -> Iterator[str]:
    """A line where trainings of one curve, whose losses are known, came unlike far."""
    came = pd.to_numeric(rows[name], errors="coerce").where(np.isfinite(rows["loss"].astype(float)))
    keys = [rows[key].to_numpy() for key in sorted(apart)] or [np.zeros(len(rows))]
    ends = came[came > 0].groupby([key[came > 0] for key in keys], dropna=False).agg(["min", "max"])
    unlike = ends[ends["max"] > FURTHER * ends["min"]]
    if len(unlike):
        low, high = unlike.iloc[0]
        yield f"{name}: trainings of one curve came from {low:g} to {high:g}; {_remedy(str(name))}"


def _remedy(column: str) -> str:
    mapped = "" if column == "sweep" else ", import --map takes a column for a field"
    return f"--hold {column}=VALUE keeps one{mapped}, --pool {column} says that this is meant"


def _averaged(coded: pd.DataFrame, rows: pd.DataFrame, known: Collection[str]) -> tuple[list[str], int]:
    """The columns that tell apart what is averaged, and how many trials that is."""
    keys = [rows[name].to_numpy() for name in sorted(known)]
    several = _unlike(rows, keys)
    if not several.any():
        return [], 0
    groups = coded.groupby(keys, dropna=False)
    apart = {name: several & (groups[name].transform("nunique").to_numpy() > 1) for name in coded.columns}
    telling = [name for name, mask in apart.items() if mask.any()]
    return telling, int(np.logical_or.reduce([apart[name] for name in telling]).sum()) if telling else 0


def _contradicting(rows: pd.DataFrame, apart: Collection[str]) -> list[str]:
    """`apart` are the columns that tell trials apart. Of trials without a seed repeats may end otherwise; so
    may those that differ in a further column, which is another in nearly every row."""
    if "seed" not in apart:
        return []
    keys = [rows[name].to_numpy() for name in sorted(apart)]
    found = rows[_unlike(rows, keys) & rows["seed"].notna().to_numpy()]
    if found.empty:
        return []
    first = ", ".join(
        f"{name} {found[name].iloc[0]:g}" for name in sorted(apart)
        if rows[name].nunique() > 1 and pd.api.types.is_numeric_dtype(found[name])
    )  # fmt: skip
    return [
        f"{len(found)} trials agree in all that is known, their seed included, and ended otherwise (at "
        f"{first}): they are averaged; keep one of each, or --map what they differ in"
    ]


def _unlike(rows: pd.DataFrame, keys: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """Which are among trials that agree in all keys and ended otherwise."""
    outcomes = pd.Series(rows["loss"].fillna(np.inf).to_numpy()).groupby([*keys], dropna=False, sort=False)
    highest, lowest = outcomes.transform("max").to_numpy(), outcomes.transform("min").to_numpy()
    with np.errstate(invalid="ignore"):  # where all diverged
        found: NDArray[np.bool_] = highest - lowest > SAME_LOSS * np.abs(lowest)
    return found


def _mixed(
    coded: pd.DataFrame, rows: pd.DataFrame, known: Collection[str], tuned: Collection[str]
) -> Iterator[str]:
    """The columns by which most curves fall into the same parts, each with values enough for a curve of its
    own, that are no one curve: two families whose grids do not meet, so that nothing is averaged."""
    tuned = [name for name in tuned if name in known]
    curve = [rows[name].to_numpy() for name in sorted(known) if name not in (*tuned, "seed")]
    leading = next((name for name in tuned if rows[name].nunique() >= MIN_SWEPT), None)
    if leading is None or not curve:
        return
    values, losses = (rows[column].to_numpy(dtype=float) for column in (leading, "loss"))
    there = (values > 0) & np.isfinite(losses)
    numbers = pd.DataFrame({"x": places(values[there]), "y": losses[there]}, index=np.flatnonzero(there))
    number = pd.DataFrame(dict(enumerate(curve))).groupby([*range(len(curve))], dropna=False).ngroup()
    for name in coded.columns:
        held = numbers.assign(curve=number, part=coded[name])
        parts = held.groupby(["curve", "part"])["x"].nunique() >= MIN_SWEPT
        enough = parts.groupby(level="curve")
        if not ((enough.sum() > 1) & enough.all()).mean() > 0.5:
            continue
        curves = [*held.groupby("curve")][:CURVES_COMPARED]
        apart = [_disagree([part for _, part in one.groupby("part")]) for _, one in curves]
        if np.mean(apart) >= APART_SHARE:
            yield str(name)


def _disagree(parts: Sequence[pd.DataFrame]) -> bool:
    """Whether two parts of a curve are none: where one lies within the other they differ by a good part of
    what losses rise there; or each has a valley of its own."""
    means = [part.groupby("x")["y"].mean() for part in parts if part["x"].nunique() >= MIN_SWEPT]
    valleys = sum(0 < int(np.argmin(one)) < len(one) - 1 for one in means)
    for one, other in itertools.permutations(means, 2):
        inside = other[(other.index > one.index[0]) & (other.index < one.index[-1])]
        if len(inside) < 2:
            continue
        misses = [abs(loss - _through_three(one, x)) for x, loss in inside.items()]
        if np.median(misses) > DISAGREEMENT * np.ptp([*inside, *one]):
            return True
        valleys = 0  # they meet, so both may be of one valley
    return valleys > 1


def _through_three(curve: pd.Series, x: float) -> float:
    """The parabola through the three nearest points."""
    near = np.argsort(np.abs(curve.index.to_numpy() - x))[:3]
    return float(np.polyval(np.polyfit(curve.index.to_numpy()[near], curve.to_numpy()[near], 2), x))
