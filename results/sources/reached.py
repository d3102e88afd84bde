"""How long runs were to train that diverged before: trackers and tables say how far they came."""

import pandas as pd

from ...models.recipe.family import Family
from ...models.recipe.recipe import FIELDS

DURATIONS = ("steps", "tokens")
APART = [
    *Family._fields,
    *(name for name, one in FIELDS.items() if one.setting.scale and name not in DURATIONS),
]


def planned(frame: pd.DataFrame, finite: pd.Series, duration: str) -> pd.Series:
    """The steps, or tokens, of every run. One that diverged, and says fewer than the finished ones of its
    shape take, or none, has theirs (where there is none of its shape, those of all), if they are one number;
    not if some finished run takes as few."""
    told = pd.to_numeric(frame[duration], errors="coerce")
    finished = told[finite].dropna()
    if finished.empty:
        return told
    shapes = pd.Series(0, index=frame.index)
    if apart := [name for name in APART if name in frame]:
        shapes = frame.groupby(apart, dropna=False, sort=False).ngroup()
    of_shape = finished.groupby(shapes[finished.index]).agg(["min", "max"])
    least = shapes.map(of_shape["min"]).fillna(finished.min())
    most = shapes.map(of_shape["max"]).fillna(finished.max())
    short = told.isna() | ((told < least) & ~told.isin(finished))
    return told.mask(~finite & short & (least == most), least)
