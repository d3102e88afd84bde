"""Measurements made elsewhere, brought into the store's schema."""

import hashlib
import json
import math
from pathlib import Path

import pandas as pd
import pyarrow as pa

from .schema import METADATA, ROWS

REQUIRED = ("optimizer", "parametrization", "width", "depth", "learning_rate", "loss")
POSITIVE = ("width", "depth", "learning_rate")
MAX_FAULTS = 10
LARGEST = 1e15


class ImportFault(Exception):
    """A file that cannot be imported; the message names it, the columns and rows, and the remedy."""


def read_measurements(path: Path) -> pa.Table:
    """Rows of a CSV or Parquet file in the store's schema; an empty loss means diverged.

    Columns `source?, architecture?, optimizer, parametrization, width, depth, learning_rate,
    weight_decay?, seed?, loss`; others are kept. Raises ImportFault with everything that is wrong.
    """
    frame = _read(path)
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise ImportFault(
            f"{path}: the columns {', '.join(missing)} are missing; required: {', '.join(REQUIRED)}"
        )
    if frame.empty:
        raise ImportFault(f"{path}: holds no measurements")
    faults = [fault for name in frame.columns if name in _NUMERIC for fault in _numeric_faults(frame, name)]
    faults += [f"row {row}: {name} is empty" for name in REQUIRED[:2] for row in _rows(frame[name].isna())]
    if faults:
        more = f"\n{path}: and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else ""
        raise ImportFault("\n".join(f"{path}: {fault}" for fault in faults[:MAX_FAULTS]) + more)
    return _table(frame, path)


_NUMERIC = {field.name: field.type for field in ROWS if pa.types.is_integer(field.type)
            or pa.types.is_floating(field.type)}  # fmt: skip


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, compression=None)
    except OSError as error:
        raise ImportFault(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ImportFault(f"{path}: is neither CSV nor Parquet that can be read ({reason})") from None


def _numeric_faults(frame: pd.DataFrame, name: str) -> list[str]:
    values = pd.to_numeric(frame[name], errors="coerce")
    wrong = values.isna() & frame[name].notna()
    faults = [f"row {row}: {name} {frame[name].iloc[row - 2]!r} is not a number" for row in _rows(wrong)]
    if name != "loss":
        faults += [f"row {row}: {name} is not finite or too large" for row in _rows(values.abs() > LARGEST)]
    if name in REQUIRED and name != "loss":
        faults += [f"row {row}: {name} is empty" for row in _rows(frame[name].isna())]
    if name in POSITIVE:
        faults += [f"row {row}: {name} must be positive" for row in _rows(values <= 0)]
    if pa.types.is_integer(_NUMERIC[name]):
        faults += [
            f"row {row}: {name} must be an integer" for row in _rows(values.notna() & (values % 1 != 0))
        ]
    return faults


def _rows(mask: pd.Series) -> list[int]:
    """Line numbers as a spreadsheet shows them: the header is line 1."""
    return [int(index) + 2 for index in mask.reset_index(drop=True).index[mask.to_numpy()]]


def _table(frame: pd.DataFrame, path: Path) -> pa.Table:
    frame = frame.copy()
    for name in _NUMERIC:
        if name in frame:
            frame[name] = pd.to_numeric(frame[name])
    finite = frame["loss"].map(lambda loss: pd.notna(loss) and math.isfinite(loss))
    frame["loss"] = frame["loss"].where(finite)
    frame["status"] = ["finished" if ok else "diverged" for ok in finite]
    frame["sweep"] = path.stem
    frame["trial_id"] = [_identity(record) for record in frame.to_dict("records")]
    frame = frame.drop_duplicates("trial_id", ignore_index=True)
    known = {}
    for field in ROWS:
        column = frame[field.name] if field.name in frame else pd.Series([None] * len(frame))
        if pa.types.is_string(field.type):
            column = _as_text(column)
        try:
            known[field.name] = pa.array(column, type=field.type, from_pandas=True)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise ImportFault(f"{path}: column {field.name}: {str(error).splitlines()[0]}") from None
    extra = frame[[name for name in frame.columns if name not in ROWS.names]]
    table = pa.table(known, schema=ROWS)
    for name in extra.columns:
        # As text, so that files which hold other kinds of values under one name still go together.
        table = table.append_column(str(name), pa.array(_as_text(extra[name]), pa.string(), from_pandas=True))
    return table.replace_schema_metadata(METADATA)


def _as_text(column: pd.Series) -> pd.Series:
    return column.map(str, na_action="ignore").astype(object)


def _identity(record: dict[str, object]) -> str:
    """A measurement is its content: importing a file twice adds nothing."""
    content = {str(name): str(value) for name, value in record.items() if name != "sweep"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
