"""SQLite files, looked at before they are used, and never written to: Optuna's and MLflow's."""

import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from .fault import ImportFault
from .mlflow import read_mlflow_database
from .optuna import read_optuna


def read_database(path: Path, study: str | None, include: Collection[str]) -> pd.DataFrame:
    """Raises ImportFault for a database of somebody else."""
    place = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(place, uri=True)) as database:
            names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {str(name) for (name,) in names}
            if {"experiments", "runs", "params", "latest_metrics"} <= tables:
                return read_mlflow_database(database, path, study, include)
    except sqlite3.Error as error:
        raise ImportFault(f"{path}: cannot be read ({error})") from None
    if not {"studies", "trials", "version_info"} <= tables:
        there = ", ".join(sorted(tables)) or "none"
        raise ImportFault(
            f"{path}: is a database of neither Optuna nor MLflow; its tables: {there}; export it as CSV"
        )
    return read_optuna(f"sqlite:///{place}&uri=true", study, include, str(path))
