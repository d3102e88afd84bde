"""The Parquet store of a sweep directory: published atomically, first attempt wins, never changed.

A job publishes its curves, then its rows; the rows are the commit. A file is written beside, synced and
put in place by link(2), which fails when the name exists: so a late attempt cannot count twice, and a
killed one leaves only a name that readers ignore.
"""

import io
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .schema import CURVES, ROWS
from .seal import BLANK, KEY, is_intact, seal


@dataclass(frozen=True, slots=True)
class Broken:
    """A file of the store that cannot be read, and why."""

    path: str
    reason: str


def publish(
    directory: Path, job_id: str, rows: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]]
) -> bool:
    """Publishes a finished job. False when another attempt of the same job was first."""
    _link(pa.Table.from_pylist(list(curves), schema=CURVES), directory / "curves" / f"{job_id}.parquet")
    return _link(pa.Table.from_pylist(list(rows), schema=ROWS), directory / "results" / f"{job_id}.parquet")


def publish_table(directory: Path, name: str, table: pa.Table) -> bool:
    """Publishes rows that came from elsewhere; further columns are kept."""
    return _link(table, directory / "results" / f"{name}.parquet")


def read_rows(directory: Path) -> tuple[pa.Table, list[Broken]]:
    """All rows of a sweep and the files that could not be read."""
    tables, broken = _tables(directory / "results", ROWS)
    return _concatenated(tables, ROWS), broken


def read_curves(directory: Path) -> tuple[pa.Table, list[Broken]]:
    """The curves of all jobs that published their rows: without rows a curve does not count."""
    tables, broken = _tables(directory / "curves", CURVES, published_jobs(directory))
    return _concatenated(tables, CURVES), broken


def finished_trials(directory: Path) -> tuple[set[str], list[Broken]]:
    """Ids of the trials that have rows: what needs no further work."""
    tables, broken = _tables(directory / "results", ROWS)  # read whole: damage anywhere makes a file useless
    return {trial for table in tables for trial in table.column("trial_id").to_pylist()}, broken


def diverged_trials(directory: Path, job_id: str) -> int | None:
    """How many trials of a published job diverged; None before it is published.

    A file that cannot be read is moved aside: the job may be published again.
    """
    tables, broken = _tables(directory / "results", ROWS, {job_id})
    quarantine(broken)
    if not tables:
        return None
    statuses: list[str] = tables[0].column("status").to_pylist()
    return statuses.count("diverged")


def published_jobs(directory: Path) -> set[str]:
    """Ids of the jobs that have a results file, whole or not."""
    return {path.stem for path in _files(directory / "results")}


def quarantine(broken: Sequence[Broken]) -> None:
    """Moves unreadable files aside, so that their jobs can publish again; nothing is deleted."""
    for item in broken:
        path = Path(item.path)
        # The leading dot hides it from everything that reads the folder as a data set.
        os.replace(path, path.parent / f".{path.name}.broken-{uuid.uuid4().hex[:8]}")


def _link(table: pa.Table, path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        with open(scratch, "wb") as file:
            file.write(_file_of(table))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(scratch, path)
        except FileExistsError:
            return False
        _sync_folder(path.parent)
        return True
    finally:
        scratch.unlink(missing_ok=True)


def _file_of(table: pa.Table) -> bytes:
    """The table as a Parquet file, sealed."""
    blank = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: BLANK})
    # Dictionaries pay where a value recurs: hardly in the few rows of a job, which are all columns.
    dictionary = table.num_rows > table.num_columns
    file = io.BytesIO()
    pq.write_table(blank, file, compression="snappy", use_dictionary=dictionary, write_page_checksum=True)
    return seal(file.getvalue())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def _named(folder: Path, stems: set[str]) -> list[Path]:
    return [path for stem in sorted(stems) if (path := folder / f"{stem}.parquet").is_file()]


def _concatenated(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    """One table; files may have gained columns since the first was written."""
    return pa.concat_tables([schema.empty_table(), *tables], promote_options="permissive")


def _tables(
    folder: Path, schema: pa.Schema, stems: set[str] | None = None
) -> tuple[list[pa.Table], list[Broken]]:
    """The files that hold at least the columns which the schema requires, and the others."""
    required = {field.name for field in schema if not field.nullable}
    tables, broken = [], []
    for path in _files(folder) if stems is None else _named(folder, stems):
        try:
            data = path.read_bytes()
            if not is_intact(data):
                raise OSError("not as it was written: its digest differs")
            # ParquetFile, not read_table: the latter guesses partitions from the path.
            with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
                table = file.read().replace_schema_metadata(None)
            if missing := required - {*table.column_names}:
                raise OSError(f"has no column {', '.join(sorted(missing))}")
            tables.append(table)
        except (pa.ArrowException, OSError) as error:
            broken.append(Broken(str(path), str(error).splitlines()[0]))
    return tables, broken
