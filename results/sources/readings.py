"""Cells of a measurement as people write them: words for nothing and for divergence, rates and sizes."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_numeric_dtype

from .cells import NUMERIC
from .fault import NOTES
from .table import NO_NUMBER
from .written import count, is_worked_out, rate

DIVERGED = {
    "diverged", "diverges", "div", "div.", "×", "✗", "-", "–", "—", "nan", "n/a", "na", "none", "null", "inf",
}  # fmt: skip
NOT_BELOW = re.compile(r"^[>≥]=?\s*[\d.]+(e[-+]?\d+)?$")


def read_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with our names, its cells as numbers where they say some; a note tells of sizes."""
    texts = [name for name in frame if name != "loss" and not is_numeric_dtype(frame[name])]
    frame = frame.assign(**{
        name: frame[name].map(_none_as_empty) if name in NUMERIC else _without_words(frame[name])
        for name in texts
    })  # fmt: skip
    if "loss" in frame.columns:
        frame = frame.assign(loss=frame["loss"].map(_loss))
    for name in ("learning_rate", "weight_decay"):
        if name in frame.columns:
            frame = frame.assign(**{name: frame[name].map(_as_rate)})
    return _counted(frame)


def _loss(value: object) -> object:
    """Words for divergence, and losses that are only known to be above something, as not a number."""
    text = str(value).strip().lower()
    return np.nan if text in DIVERGED or NOT_BELOW.match(text) else value


def _without_words(cells: pd.Series) -> pd.Series:
    """A column of numbers as that, whatever word stands for none of them; any other as it is: an option may
    be called None."""
    known = cells[cells.notna()]
    told = known.map(_says_nothing)
    if known.map(lambda cell: isinstance(cell, bool)).any() or not 0 < told.sum() < len(known):
        return cells
    numbers = pd.to_numeric(known[~told], errors="coerce")
    return numbers.reindex(cells.index) if numbers.notna().all() else cells


def _none_as_empty(value: object) -> object:
    """Trackers write None where nothing was set."""
    return None if _says_nothing(value) else value


def _says_nothing(value: object) -> bool:
    return isinstance(value, str) and value.strip().lower() in NO_NUMBER


def _as_rate(value: object) -> object:
    """2^-10 and 1/1024 as numbers; all else as it is."""
    found = rate(value) if is_worked_out(value) else None
    return value if found is None else found


def _counted(frame: pd.DataFrame) -> pd.DataFrame:
    """With `125M` and `1,024` as numbers where whole ones belong; a note says so. In columns of somebody's
    own they may be names, and are read where such a column is asked for."""
    notes = list(frame.attrs.get(NOTES, ()))
    for name in (name for name, kind in NUMERIC.items() if name in frame and pa.types.is_integer(kind)):
        read = frame[name].map(count)
        if read.notna().any():
            notes.append(
                f"{name}: {frame[name][read.first_valid_index()]!r} is read as {read.dropna().iloc[0]:,.0f}"
            )
            frame = frame.assign(**{name: frame[name].where(read.isna(), read)})
    if notes:
        frame.attrs[NOTES] = notes
    return frame
