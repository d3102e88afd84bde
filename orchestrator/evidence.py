"""The measurements of one or several sweep directories, gathered for reports and exports."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from ..results.comparison import Comparison, compare
from ..results.facts import Facts, facts_of
from ..results.schema import ROWS
from ..results.store import finished_trials, publish_table, read_rows
from .record.directory import DirectoryError, SweepDirectory
from .record.journal import read_journal, replay


@dataclass(frozen=True, slots=True)
class Evidence:
    """Rows, their comparisons, and what stands in the way."""

    rows: pd.DataFrame
    comparisons: tuple[Comparison, ...]
    facts: Facts
    problems: tuple[str, ...]


def gather(directories: Sequence[Path]) -> Evidence:
    """Reads the directories. Raises DirectoryError for one that is no sweep; broken files are named."""
    tables, problems, names, runs = [], [], [], []
    failures, lost_seconds = Counter[str](), 0.0
    for path in directories:
        directory = SweepDirectory(path)
        name = directory.sweep_name()
        if name is None:
            raise DirectoryError(
                f"{path}: is not a sweep directory; run a sweep or import measurements first"
            )
        table, broken = read_rows(path)
        problems += [f"{item.path}: unreadable, left out ({item.reason})" for item in broken]
        tables.append(table)
        names.append(name)
        runs += directory.provenance()
        history = replay(read_journal(directory.journal))
        failures.update(history.failures)
        lost_seconds += history.lost_seconds
        problems += _unfinished(directory, table)
    rows = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    rows = rows.drop_duplicates("trial_id", ignore_index=True)
    if rows.empty:
        problems.append(f"{', '.join(str(path) for path in directories)}: no finished trials to report yet")
    comparisons = compare(rows, ROWS.names) if len(rows) else []
    facts = facts_of(rows, names, runs, dict(sorted(failures.items())), lost_seconds)
    return Evidence(rows, tuple(comparisons), facts, tuple(problems))


def store_import(table: pa.Table, source: Path, out: Path) -> int:
    """Publishes imported rows as a sweep directory named after the file; importing again adds nothing."""
    directory = SweepDirectory(out)
    if directory.wanted_trials():
        raise DirectoryError(f"{out}: holds a sweep that was trained; give another --out")
    directory.write_sweep(source.stem, f"# imported from {source.name}\nname: {source.stem}\n")
    if not publish_table(out, "imported", table):
        held, _ = finished_trials(out)
        if held != set(table.column("trial_id").to_pylist()):
            raise DirectoryError(f"{out}: holds another version of these measurements; give another --out")
    return int(table.num_rows)


def _unfinished(directory: SweepDirectory, table: pa.Table) -> list[str]:
    wanted = directory.wanted_trials()
    missing = wanted - set(table.column("trial_id").to_pylist())
    if not missing:
        return []
    return [
        f"{directory.path}: {len(missing)} of {len(wanted)} trials are not there yet; run the sweep again"
    ]
