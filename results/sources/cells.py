"""What the cells of a measurement may hold, and where they hold something else."""

import numpy as np
import pandas as pd
import pyarrow as pa

from ..store.schema import ROWS
from .runs import FOLDERS
from .table import LINES

REQUIRED = ("learning_rate", "loss")
USUAL = ("optimizer", "parametrization", "width", "depth")
"""Not needed, but where a column is there no cell of it is empty."""
POSITIVE = ("width", "depth", "learning_rate", "batch_size", "steps", "sequence_length")
NOT_NEGATIVE = ("weight_decay",)
LARGEST, LARGEST_LOSS, LARGEST_SEED = 1e15, 1e100, 2.0**62
NUMERIC = {field.name: field.type for field in ROWS if pa.types.is_integer(field.type)
            or pa.types.is_floating(field.type)}  # fmt: skip


def faults_in(frame: pd.DataFrame) -> list[str]:
    """A line for each cell that is none of a measurement's."""
    faults = [fault for name in frame.columns if name in NUMERIC for fault in _numeric_faults(frame, name)]
    return faults + [
        f"{row}: {name} is empty"
        for name in USUAL[:2]
        if name in frame.columns
        for row in _rows(frame, frame[name].isna())
    ]


def _numeric_faults(frame: pd.DataFrame, name: str) -> list[str]:
    if frame[name].dtype.kind in "mM":
        return [f"{name} holds times, no numbers"]
    if frame[name].dtype.kind in "bO" and any(isinstance(cell, bool | np.bool_) for cell in frame[name]):
        return [f"{name} holds true and false, no numbers"]
    try:
        values = pd.to_numeric(frame[name], errors="coerce")
    except OverflowError:
        return [f"{name} holds a number that is too large"]
    wrong = values.isna() & frame[name].notna()
    rows = [*zip(_rows(frame, wrong), frame[name][wrong], strict=True)]
    remedy = "; write diverged where a run has no loss" if name == "loss" else ""
    faults = [f"{row}: {name} {cell!r} is not a number{remedy}" for row, cell in rows]
    if len(rows) > 1 and not values.notna().any():
        told = "and nothing else of its column is; write plain numbers, or name another column with --map"
        faults = [f"{rows[0][0]}: {name} {rows[0][1]!r} is not a number, {told} {name}=COLUMN"]
    # A gap makes of a column of integers one of floats, which knows fewer of them.
    seed = LARGEST_SEED if frame[name].dtype.kind == "i" else LARGEST
    large = values.abs() > {"loss": LARGEST_LOSS, "seed": seed}.get(name, LARGEST)
    if name == "loss":
        faults += [f"{row}: {name} is too large" for row in _rows(frame, large & np.isfinite(values))]
    else:
        faults += [
            f"{row}: {name} is not finite or too large; mend it, or leave the column out"
            for row in _rows(frame, large)
        ]
    if name in (*REQUIRED, *USUAL) and name != "loss":
        faults += [f"{row}: {name} is empty" for row in _rows(frame, frame[name].isna())]
    if name == "learning_rate" and (values <= 0).all() and (values < 0).any():
        (first, *_), value = _rows(frame, values < 0), values[values < 0].iloc[0]
        told = f"{first}: learning_rate {value:g}, and none is above 0"
        return [*faults, f"{told}; call a column of logarithms log2_lr or log10_lr"]
    if name in POSITIVE:
        faults += [f"{row}: {name} must be positive" for row in _rows(frame, values <= 0)]
    if name in NOT_NEGATIVE:
        faults += [f"{row}: {name} must not be negative" for row in _rows(frame, values < 0)]
    if pa.types.is_integer(NUMERIC[name]):
        broken = values.notna() & (values % 1 != 0)
        faults += [f"{row}: {name} must be an integer" for row in _rows(frame, broken)]
    return faults


def _rows(frame: pd.DataFrame, mask: pd.Series) -> list[str]:
    """Which they are: runs of a tracker by their names; else lines of the file, where it has lines, or as a
    spreadsheet shows them: the header is line 1."""
    places = np.flatnonzero(mask.to_numpy(dtype=bool))
    named = next((name for name in ("run", "name", "id") if FOLDERS in frame.attrs and name in frame), None)
    if named is not None:
        return [f"run {frame[named].iloc[place]}" for place in places]
    lines = frame.attrs.get(LINES)
    if lines is None or len(lines) != len(frame):
        lines = range(2, len(frame) + 2)
    return [f"row {lines[place]}" for place in places]
