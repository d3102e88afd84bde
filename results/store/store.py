"""The Parquet store of a sweep directory: published atomically, first attempt wins, never changed.

A job publishes its curves, then its rows; the rows are the commit. A file is written beside, synced and
put in place by link(2), which fails when the name exists: so a late attempt cannot count twice, and a
killed one leaves only a name that readers ignore. Compacted files (`compaction`) replace those they name.
"""

import io
import json
import os
import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...models.files.place import claim
from .schema import CURVES, PRUNED, ROWS, SCHEMA_VERSION
from .seal import BLANK, KEY, is_intact, is_sealed, seal

_SCHEMA = re.compile(rb"mutransfer\.schema.{1,8}?(\d+)", re.DOTALL)
"""The version of the schema in a file's footer."""
COMPACT = "compact-"
REPLACES = b"mutransfer.replaces"
"""Metadata of a compacted file: the jobs in it, as JSON."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A file of the store that cannot be read, and why.

    `damaged` where its own bytes show it; otherwise it may be whole, and only cannot be read here and now: a
    stale handle, somebody else's permissions, a newer schema.
    """

    path: str
    reason: str
    damaged: bool

    @property
    def told(self) -> str:
        return f"{self.path}: unreadable ({self.reason})"


def publish(
    directory: Path,
    job_id: str,
    rows: Sequence[Mapping[str, Any]],
    curves: Sequence[Mapping[str, Any]],
    schema: pa.Schema = ROWS,
) -> bool:
    """Publishes a finished job. False when another attempt of the same job was first.

    `schema` is that of its rows, where they have coordinates of their own (`rows_schema`)."""
    if curves:
        table = pa.Table.from_pylist(list(curves), schema=CURVES)
        link_table(table, directory / "curves" / f"{job_id}.parquet")
    return link_table(
        pa.Table.from_pylist(list(rows), schema=schema), directory / "results" / f"{job_id}.parquet"
    )


def publish_table(directory: Path, name: str, table: pa.Table) -> bool:
    """Publishes rows that came from elsewhere; further columns are kept."""
    return link_table(table, directory / "results" / f"{name}.parquet")


def read_rows(directory: Path) -> tuple[pa.Table, list[Broken]]:
    """All rows of a sweep and the files that could not be read."""
    tables, broken = _tables(directory / "results", ROWS)
    return _trained_whole(_concatenated(tables, ROWS)), broken


def read_curves(directory: Path) -> tuple[pa.Table, list[Broken]]:
    """The curves of all jobs that published their rows: without rows a curve does not count."""
    tables, broken = _tables(directory / "curves", CURVES, published_jobs(directory))
    return _concatenated(tables, CURVES), broken


def finished_trials(directory: Path) -> tuple[set[str], list[Broken]]:
    """Ids of the trials that have rows: what needs no further work."""
    done, _, broken = trial_fates(directory)
    return done, broken


def trial_fates(directory: Path) -> tuple[set[str], set[str], list[Broken]]:
    """Ids of the trials that have rows, and of those among them that were stopped early and not trained whole
    since."""
    tables, broken = _tables(directory / "results", ROWS)  # read whole: damage anywhere makes a file useless
    whole, stopped = set[str](), set[str]()
    for table in tables:
        ids, statuses = (table.column(name).to_pylist() for name in ("trial_id", "status"))
        for trial, status in zip(ids, statuses, strict=True):
            (stopped if status == PRUNED else whole).add(trial)
    return whole | stopped, stopped - whole, broken


def _trained_whole(table: pa.Table) -> pa.Table:
    """Without the rows of trials that were stopped early and trained whole later."""
    pruned = pc.equal(table.column("status"), PRUNED)
    whole = table.filter(pc.invert(pruned)).column("trial_id")
    again = pc.and_(pruned, pc.is_in(table.column("trial_id"), value_set=whole))
    return table.filter(pc.invert(again))


def diverged_trials(directory: Path, job_id: str) -> int | None:
    """How many trials of a published job diverged; None before it is published.

    A damaged file is moved aside: the job may be published again. Raises OSError for one that may be whole.
    """
    path = directory / "results" / f"{job_id}.parquet"
    if not path.is_file():
        return None
    table = read_file(path, ROWS)
    if isinstance(table, Broken):
        if not table.damaged:
            raise OSError(f"{path}: {table.reason}")
        quarantine([table])
        return None
    statuses: list[str] = table.column("status").to_pylist()
    return statuses.count("diverged")


def read_job(directory: Path, job_id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and curve points of one published job; empty where its files cannot be read."""
    found = []
    for folder, schema in (("results", ROWS), ("curves", CURVES)):
        table = read_file(directory / folder / f"{job_id}.parquet", schema)
        found.append([] if isinstance(table, Broken) else table.to_pylist())
    return found[0], found[1]


def published_jobs(directory: Path) -> set[str]:
    """Ids of the jobs that have a results file, whole or not, or are in a compacted one."""
    folder = directory / "results"
    return {path.stem for path in small_files(folder)}.union(*_compacted(folder).values())


def unsound(directory: Path) -> list[Broken]:
    """The result files that readers leave out. Those that a digest shows to be ours are not opened, which
    takes twenty times as long."""
    folder = directory / "results"
    files = [*_listed(folder, COMPACT), *small_files(folder)]
    return [
        found for path in files if not _is_ours(path) and isinstance(found := _opened(path, ROWS), Broken)
    ]


def _is_ours(path: Path) -> bool:
    """Whether a file is as this version's schema sealed it."""
    try:
        data = path.read_bytes()
    except OSError:
        return False
    written = _SCHEMA.search(data)
    known = written is not None and int(written[1]) <= SCHEMA_VERSION
    return known and is_sealed(data) and is_intact(data)


def quarantine(broken: Sequence[Broken]) -> None:
    """Moves damaged files aside, so that their jobs can publish again; nothing is deleted."""
    for item in broken:
        path = Path(item.path)
        # The leading dot hides it from everything that reads the folder as a data set.
        os.replace(path, path.parent / f".{path.name}.broken-{uuid.uuid4().hex[:8]}")


def link_table(
    table: pa.Table, path: Path, compression: str = "snappy", row_group: int | None = None
) -> bool:
    """Writes a file beside and puts it in place; False where the name is taken."""
    return claim(path, _file_of(table, compression, row_group))


def _file_of(table: pa.Table, compression: str, row_group: int | None) -> bytes:
    """The table as a Parquet file, sealed."""
    blank = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: BLANK})
    # Dictionaries pay where a value recurs: hardly in the few rows of a job, which are all columns.
    dictionary = table.num_rows > table.num_columns
    file = io.BytesIO()
    pq.write_table(
        blank, file, row_group, compression=compression, use_dictionary=dictionary, write_page_checksum=True
    )
    return seal(file.getvalue())


def small_files(folder: Path) -> list[Path]:
    """The files of single jobs. Raises OSError for a folder that cannot be read."""
    return [path for path in _listed(folder) if not path.name.startswith((".", COMPACT))]


def _listed(folder: Path, begin: str = "") -> list[Path]:
    """Not by `glob`, to which a folder that may not be read is an empty one."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if name.startswith(begin) and name.endswith(".parquet")]


def _compacted(folder: Path) -> dict[Path, set[str]]:
    """Compacted files with the jobs that they replace; one that does not say so replaces none."""
    found = {}
    for path in _listed(folder, COMPACT):
        try:
            metadata = pq.read_schema(path).metadata or {}
            found[path] = {str(job) for job in json.loads(metadata.get(REPLACES, b"[]"))}
        except (pa.ArrowException, OSError, ValueError):
            found[path] = set()
    return found


def _concatenated(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    """One table; files may have gained columns since the first was written."""
    return concatenated([schema.empty_table(), *tables])


def concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    """One table of all; a column that holds texts in some and numbers in others becomes one of texts.

    Each column is one chunk: ten thousand files would be as many, and every later operation goes through all.
    """
    try:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowTypeError:
        pass
    kinds: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for entry in table.schema:
            kinds.setdefault(entry.name, set()).add(entry.type)
    mixed = {name for name, types in kinds.items() if len({_family(one) for one in types} - {None}) > 1}
    texts = [_as_text(table, mixed) for table in tables]
    return pa.concat_tables(texts, promote_options="permissive").combine_chunks()


def _family(kind: pa.DataType) -> str | None:
    """Types of one family go together; those of none go with any."""
    if pa.types.is_null(kind):
        return None
    return "truth" if pa.types.is_boolean(kind) else "number" if pa.types.is_primitive(kind) else "text"


def _as_text(table: pa.Table, names: Collection[str]) -> pa.Table:
    fields = [entry.with_type(pa.string()) if entry.name in names else entry for entry in table.schema]
    return table.cast(pa.schema(fields, table.schema.metadata))


def replaced_jobs(folder: Path, schema: pa.Schema) -> set[str]:
    """The jobs that are in compacted files which can be read."""
    found = _compacted(folder).items()
    return set().union(*(jobs for path, jobs in found if isinstance(read_file(path, schema), pa.Table)))


def _tables(
    folder: Path, schema: pa.Schema, stems: set[str] | None = None
) -> tuple[list[pa.Table], list[Broken]]:
    """The files that hold at least the columns which the schema requires, and the others.

    Read again where files were compacted meanwhile: they are gone from under one name and not yet seen
    under the other.
    """
    while True:
        compacted = _compacted(folder)
        found = _tables_beside(folder, schema, stems, compacted)
        if _compacted(folder).keys() == compacted.keys():
            return found


def _tables_beside(
    folder: Path, schema: pa.Schema, stems: set[str] | None, compacted: Mapping[Path, set[str]]
) -> tuple[list[pa.Table], list[Broken]]:
    tables: list[pa.Table] = []
    broken: list[Broken] = []
    replaced: set[str] = set()
    for path, jobs in compacted.items():
        if stems is None or jobs & stems:
            _sorted_out(path, schema, tables, broken)
        if not broken or broken[-1].path != str(path):
            replaced |= jobs
    for path in small_files(folder):
        if path.stem not in replaced and (stems is None or path.stem in stems):
            _sorted_out(path, schema, tables, broken)
    return tables, broken


def _sorted_out(path: Path, schema: pa.Schema, tables: list[pa.Table], broken: list[Broken]) -> None:
    found = read_file(path, schema)
    (broken if isinstance(found, Broken) else tables).append(found)


def read_file(path: Path, schema: pa.Schema) -> pa.Table | Broken:
    """One file, checked against its digest; older files lack later columns, newer ones are refused."""
    file = _opened(path, schema)
    if isinstance(file, Broken):
        return file
    try:
        with file:
            # A thread of Arrow's that lets go of Python's bytes while Python ends aborts the process.
            return file.read(use_threads=False).replace_schema_metadata(None)
    except (pa.ArrowException, OSError, ValueError) as error:
        return Broken(str(path), str(error).splitlines()[0], damaged=True)


def _opened(path: Path, schema: pa.Schema) -> pq.ParquetFile | Broken:
    """A file that is whole, by its digest, and of a schema that is known."""
    required = {field.name for field in schema if not field.nullable}
    try:
        data = path.read_bytes()
    except OSError as error:
        return Broken(str(path), error.strerror or str(error), damaged=False)
    try:
        if not is_intact(data):
            raise ValueError("not as it was written: its digest differs")
        # ParquetFile, not read_table: the latter guesses partitions from the path.
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        version = int((file.schema_arrow.metadata or {}).get(b"mutransfer.schema", b"1"))
    except (pa.ArrowException, OSError, ValueError) as error:
        return Broken(str(path), str(error).splitlines()[0], damaged=True)
    if version > SCHEMA_VERSION:
        newer = f"written with schema {version} by a newer mutransfer; upgrade to read it"
        return Broken(str(path), newer, damaged=False)
    if missing := required - {*file.schema_arrow.names}:
        return Broken(str(path), f"has no column {', '.join(sorted(missing))}", damaged=False)
    return file
