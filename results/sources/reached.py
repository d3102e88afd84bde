"""How long runs were to train that diverged before: trackers and tables say how far they came."""

import pandas as pd

from ...models.recipe.family import Family
from ...models.recipe.recipe import FIELDS

DURATIONS = ("steps", "tokens")
APART = [
    *Family._fields,
    *(name for name, one in FIELDS.items() if one.setting.scale and name not in DURATIONS),
]
GRID = 3
"""So many runs of a shape that diverged after the same steps were to take those."""


def as_planned(frame: pd.DataFrame, finite: pd.Series) -> tuple[pd.DataFrame, int]:
    """The runs with the steps and tokens that they were to train for, and how many that changes. The steps
    that they reached are `diverged_step`, where theirs says nothing else."""
    found = {name: _planned(frame, finite, name) for name in DURATIONS if name in frame}
    changed = {name: frame[name].ne(series) & series.notna() for name, series in found.items()}
    if "steps" in changed and changed["steps"].any():
        reached = frame["steps"].where(changed["steps"])
        found["diverged_step"] = frame.get("diverged_step", reached).fillna(reached)
    return frame.assign(**found), int(pd.DataFrame(changed).any(axis=1).sum())


def _planned(frame: pd.DataFrame, finite: pd.Series, duration: str) -> pd.Series:
    """The steps, or tokens, of every run. One that diverged, and says fewer than the finished ones of its
    shape take, or none, has theirs (where there is none of its shape, those of all), if they are one number.

    Not where a finished run has the same hyperparameters and seed: it is that one, tried before. Nor where
    several of its shape say the same number, which some finished run takes, or none of its shape finished.
    """
    told = pd.to_numeric(frame[duration], errors="coerce")
    finished = told[finite].dropna()
    if finished.empty:
        return told
    shapes = _numbered(frame, APART)
    of_shape = finished.groupby(shapes[finished.index]).agg(["min", "max"])
    least = shapes.map(of_shape["min"]).fillna(finished.min())
    most = shapes.map(of_shape["max"]).fillna(finished.max())
    points = _numbered(frame, [name for name in FIELDS if name not in DURATIONS])
    again = points.isin(points[finite])
    alike = (~finite).groupby([shapes, told]).transform("sum") >= GRID
    of_its_own = alike & (told.isin(finished) | ~shapes.isin(shapes[finite]))
    short = ~finite & (told.isna() | (told < least)) & (least == most)
    return told.mask(short & ~again & ~of_its_own, least)


def _numbered(frame: pd.DataFrame, names: list[str]) -> pd.Series:
    """Rows that agree in these columns have one number."""
    there = [name for name in names if name in frame]
    if not there:
        return pd.Series(0, index=frame.index)
    return frame.groupby(there, dropna=False, sort=False).ngroup()
