"""Seeds that reached nothing: trials that differ in their seed alone and ended alike."""

from collections.abc import Collection

import pandas as pd

MIN_ALIKE = 3
"""So many points whose seeds end alike to the last digit are no coincidence."""


def copies(rows: pd.DataFrame, known: Collection[str]) -> list[str]:
    """A line where at all points with several seeds these have one loss: they would pass for repeats, and
    tell no noise. `known` are the columns that tell points apart."""
    if "seed" not in rows:
        return []
    finished = rows[rows["loss"].notna()]
    apart = [name for name in known if name != "seed"]
    if finished.empty or not apart:
        return []
    points = finished.groupby(apart, dropna=False)
    losses = points["loss"].nunique()[points["seed"].nunique() > 1]
    if len(losses) < MIN_ALIKE or (losses > 1).any():
        return []
    return [
        f"at all {len(losses)} points with several seeds these ended alike to the last digit: the seed "
        "reached nothing, and intervals take copies for repeats; keep one with --hold seed=VALUE"
    ]
