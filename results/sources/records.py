"""JSON that holds runs or rows: a list of objects, one object a line, a list within an object, or columns."""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from .fault import ImportFault
from .names import MEANT_BY_NAME
from .runs import by_state
from .table import text_of
from .wandb import FOLDERS, flat, read_runs

Record = Mapping[str, Any]
TRAINER = ("log_history", "global_step")


def read_json(path: Path, include: Collection[str]) -> pd.DataFrame:
    """Runs of Weights & Biases, which have `config` or `summary`; of any other objects a row each, nested
    names joined by dots."""
    try:
        loaded = _loaded(text_of(path))
        records = _records(loaded)
    except (ValueError, RecursionError) as error:
        raise ImportFault(f"{path}: is no JSON that can be read ({str(error).splitlines()[0]})") from None
    if isinstance(loaded, Mapping) and {*TRAINER} <= {*loaded}:
        raise ImportFault(
            f"{path}: is what transformers' Trainer keeps of one run; write a table with a row for each run"
        )
    if not records:
        raise ImportFault(f"{path}: holds no objects; a run is one with config and summary, or a row's cells")
    if any({*FOLDERS} & {*record} for record in records):
        return read_runs(records, include, path)
    rows = [dict(flat(record)) for record in records]
    entries = [(name, value) for record in records for name, value in record.items() if value is not None]
    told = {name for name, value in entries if not isinstance(value, list)} & MEANT_BY_NAME
    for number, record in enumerate(records, start=1):
        if lists := [name for name, value in record.items() if isinstance(value, list) and name in told]:
            told_else = "is a list, and one value in other entries; write one value"
            raise ImportFault(f"{path}: entry {number}: {lists[0]} {told_else}")
    return by_state(pd.DataFrame(rows), include, path)


def _loaded(text: str) -> Any:  # noqa: ANN401 - whatever the JSON holds
    """One value, or a list of one a line. Raises ValueError, which names the line."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    try:
        return _parsed(text)
    except json.JSONDecodeError:
        if len(lines) < 2 or not _is_value(lines[0][1]):
            raise
    values = []
    for number, line in lines:
        try:
            values.append(_parsed(line))
        except ValueError as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise ValueError(f"line {number}: {reason}") from None
    return values


def _is_value(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def _parsed(text: str) -> Any:  # noqa: ANN401
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a name that is given twice: either value may be the one that is meant."""
    held = dict(pairs)
    if len(held) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"an object has {next(name for name in names if names.count(name) > 1)!r} twice")
    return held


def _records(found: Any) -> list[Record]:  # noqa: ANN401
    """Raises ValueError for a list of objects that holds something else, too."""
    if isinstance(found, list):
        others = [index for index, entry in enumerate(found) if not isinstance(entry, Mapping)]
        if others and len(others) < len(found):
            raise ValueError(f"entry {others[0] + 1} of {len(found)} is no object: {found[others[0]]!r:.40}")
        return [] if others else found
    if not isinstance(found, Mapping):
        return []
    values = list(found.values())
    if not {*FOLDERS} & {*found}:
        inner = [value for value in values if isinstance(value, list) and value and _objects(value)]
        if len(inner) == 1:
            return list(inner[0])
        if columns := list(_of_columns(found)):
            return columns
        if len(values) > 1 and _objects(values):  # by name
            return values
    return [found]


def _objects(values: Collection[object]) -> bool:
    return all(isinstance(value, Mapping) for value in values)


def _of_columns(found: Record) -> Iterator[Record]:
    """Columns of equal length as rows; pandas writes a column as an object of numbered cells. Raises
    ValueError."""
    if (
        isinstance(found.get("columns"), list)
        and isinstance(cells := found.get("data"), list)
        and all(isinstance(row, list) for row in cells)
    ):
        raise ValueError("its cells and their names are apart; pandas writes rows with orient='records'")
    columns = [
        [*column.values()] if isinstance(column, Mapping) and all(map(str.isdigit, column)) else column
        for column in found.values()
    ]
    if not all(isinstance(column, list) for column in columns):
        return
    for name, column in zip(found, columns, strict=True):
        if len(column) != len(columns[0]):
            raise ValueError(f"the column {name} has another length than {next(iter(found))}")
    yield from (dict(zip(found, row, strict=True)) for row in zip(*columns, strict=True))
