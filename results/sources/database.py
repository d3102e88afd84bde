"""SQLite files, looked at before they are used, and never written to: Optuna's and MLflow's."""

import shlex
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import pandas as pd

from .fault import ImportFault
from .mlflow import read_mlflow_database
from .optuna import read_optuna

WRITE_AHEAD = (18, b"\2")
"""Where a file says that what is written is first kept in a log beside it, and how."""


def read_database(path: Path, study: str | None, include: Collection[str]) -> pd.DataFrame:
    """Raises ImportFault for a database of somebody else."""
    with _undisturbed(path) as place:
        try:
            with closing(sqlite3.connect(place, uri=True)) as database:
                names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                tables = {str(name) for (name,) in names}
                if {"experiments", "runs", "params", "latest_metrics"} <= tables:
                    return read_mlflow_database(database, path, study, include)
            if {"studies", "trials", "version_info"} <= tables:
                # An address takes the marks of its own out of what it holds.
                address = f"sqlite:///{quote(place, safe=':/?=&')}&uri=true"
                return read_optuna(address, study, include, str(path))
        except sqlite3.Error as error:
            opened = f"sqlite3 {shlex.quote(str(path))}"
            raise ImportFault(
                f"{path}: cannot be read ({error}); import a copy of it: {opened} '.backup copy.db', or, "
                f"where it is damaged, {opened} .recover | sqlite3 copy.db"
            ) from None
    there = ", ".join(sorted(tables)) or "none"
    raise ImportFault(
        f"{path}: is a database of neither Optuna nor MLflow; its tables: {there}; export it as CSV"
    )


@contextmanager
def _undisturbed(path: Path) -> Iterator[str]:
    """The file as SQLite is told of it. Where it keeps a log, SQLite would make files beside it to read it: a
    log that holds something is read with a copy of the file."""
    offset, mark = WRITE_AHEAD
    with path.open("rb") as file:
        file.seek(offset)
        keeps_log = file.read(1) == mark
    log = Path(f"{path}-wal")
    place = f"file:{quote(str(path.absolute()))}?mode=ro"
    if not keeps_log:
        yield place
    elif not log.exists() or not log.stat().st_size:
        yield f"{place}&immutable=1"
    else:
        with TemporaryDirectory() as folder:
            copy = Path(folder, "copy.db")
            for source, target in ((log, f"{copy}-wal"), (path, copy)):
                shutil.copyfile(source, target)
            yield f"file:{copy}?mode=rw"
