"""Compaction: the many files of a finished sweep as one per folder, for readers of 100,000 trials.

A compacted file names the jobs that it replaces, and readers skip these: so a reader that comes in between
counts nothing twice, and a late attempt of a replaced job counts for nothing. What was damaged stays as it
is. Rows are sorted by family and scale, so that a query on some of them reads some row groups.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from .schema import CURVES, METADATA, ROWS
from .store import REPLACES, concatenated, link_table, published_jobs, read_file, replaced_jobs, small_files

ORDER = [("architecture", "ascending"), ("optimizer", "ascending"), ("parametrization", "ascending"),
         ("width", "ascending"), ("depth", "ascending"), ("trial_id", "ascending")]  # fmt: skip
CURVE_ORDER = [("trial_id", "ascending"), ("step", "ascending")]
FEWEST = 16
"""Files fewer than this are left as they are: they cost a reader nothing."""
ROW_GROUP = 20_000


@dataclass(frozen=True, slots=True)
class Compacted:
    """What replaced how many files."""

    path: Path
    files: int


def compact(directory: Path) -> list[Compacted]:
    """Compacts the curves, then the rows, of published jobs. The caller sees to it that no driver runs."""
    published = published_jobs(directory)
    done = [
        _compact(directory / "curves", CURVES, CURVE_ORDER, published),
        _compact(directory / "results", ROWS, ORDER, published),
    ]
    return [compacted for compacted in done if compacted is not None]


def _compact(
    folder: Path, schema: pa.Schema, order: list[tuple[str, str]], published: set[str]
) -> Compacted | None:
    held = replaced_jobs(folder, schema)
    paths, tables = [], []
    for path in small_files(folder):
        if path.stem in held:  # left by one that was killed here, or of an attempt that came too late
            path.unlink(missing_ok=True)
            continue
        table = read_file(path, schema) if path.stem in published else None
        if isinstance(table, pa.Table):
            paths.append(path)
            tables.append(table)
    if len(paths) < FEWEST:
        return None
    replaced = [path.stem for path in paths]
    digest = hashlib.sha256(json.dumps(replaced).encode()).hexdigest()[:12]
    table = concatenated([schema.empty_table(), *tables]).sort_by(order)
    table = table.replace_schema_metadata({**METADATA, REPLACES: json.dumps(replaced).encode()})
    target = folder / f"compact-{digest}.parquet"
    link_table(table, target, compression="zstd", row_group=ROW_GROUP)
    if isinstance(read_file(target, schema), pa.Table):  # only what can be read again replaces anything
        for path in paths:
            path.unlink(missing_ok=True)
    return Compacted(target, len(paths))
