"""What a report says about the measurements themselves: how many, at what cost, from where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..store.schema import PRUNED


@dataclass(frozen=True, slots=True)
class Facts:
    """Counts and costs of the rows behind a report. `seconds` are worker seconds.

    `in_nats`: whether all are of our own proxies, whose losses are; a program's and another tool's may be in
    any. `failures` counts attempts without a result by their class, and `lost_seconds` is what they took.
    """

    names: tuple[str, ...]
    trials: int
    diverged: int
    pruned: int
    seeds: int
    tokens: int
    flops: float
    seconds: float
    sources: tuple[str, ...]
    runs: tuple[Mapping[str, Any], ...]
    in_nats: bool
    failures: Mapping[str, int]
    lost_seconds: float


def of_proxies(rows: pd.DataFrame) -> bool:
    """Whether our own proxies were trained for all rows, here: of a program's trials, and of others' tables,
    less is known."""
    if "vocab_size" not in rows or rows["vocab_size"].isna().any():
        return False
    return "source" not in rows or bool(rows["source"].isna().all())


def facts_of(
    rows: pd.DataFrame,
    names: Sequence[str],
    runs: Sequence[Mapping[str, Any]],
    failures: Mapping[str, int],
    lost_seconds: float,
) -> Facts:
    return Facts(
        names=tuple(names),
        trials=len(rows),
        diverged=int((rows["status"] == "diverged").sum()),
        pruned=int((rows["status"] == PRUNED).sum()),
        seeds=int(rows["seed"].nunique()),
        tokens=int(rows["tokens"].sum()),
        flops=float(rows["flops"].sum()),
        seconds=float(rows["seconds"].sum()),
        sources=tuple(sorted({str(source) for source in rows["source"].dropna()})),
        runs=tuple(runs),
        in_nats=of_proxies(rows),
        failures=failures,
        lost_seconds=lost_seconds,
    )
