"""MLflow's file store (`mlruns/<experiment>/<run>/{params,metrics,tags}`) and database. Needs no mlflow."""

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from .fault import ImportFault
from .runs import FINISHED, frame_of

STATES = {1: "running", 2: "scheduled", 3: FINISHED, 4: "failed", 5: "killed"}
DELETED = "deleted"


def read_mlflow(path: Path, include: Collection[str]) -> pd.DataFrame:
    """One row per run: parameters and the last value of every metric."""
    try:
        runs = [(_state(run), _row(run)) for run in _runs(path)]
    except (OSError, ValueError, IndexError, YAMLError) as error:
        raise ImportFault(f"{path}: is no MLflow file store ({str(error).splitlines()[0]})") from None
    if not runs:
        raise ImportFault(f"{path}: holds no MLflow runs; give the folder mlruns, or an experiment in it")
    return frame_of(runs, include, path)


def read_mlflow_database(database: sqlite3.Connection, path: Path, include: Collection[str]) -> pd.DataFrame:
    """The same of MLflow's tables."""
    rows: defaultdict[str, dict[str, object]] = defaultdict(dict)
    for run, name, value, is_nan in database.execute(
        "SELECT run_uuid, key, value, is_nan FROM latest_metrics"
    ):
        rows[run][name] = None if is_nan else value
    for run, name, value in database.execute("SELECT run_uuid, key, value FROM params"):
        rows[run][name] = value
    runs = [
        (DELETED if DELETED in (stage, folder) else str(status).lower(), {"run": run, **rows[run]})
        for run, status, stage, folder in database.execute(
            "SELECT run_uuid, status, runs.lifecycle_stage, experiments.lifecycle_stage FROM runs "
            "LEFT JOIN experiments ON runs.experiment_id = experiments.experiment_id"
        )
    ]
    if not runs:
        raise ImportFault(f"{path}: holds no MLflow runs")
    return frame_of(runs, include, path)


def _runs(path: Path) -> Iterator[Path]:
    for meta in sorted(path.glob("**/meta.yaml")):
        if (meta.parent / "params").is_dir() or (meta.parent / "metrics").is_dir():
            yield meta.parent


def _state(run: Path) -> str:
    """Of a run whose file does not say, that it finished."""
    told = YAML(typ="safe").load((run / "meta.yaml").read_text(encoding="utf-8")) or {}
    if ".trash" in run.parts or told.get("lifecycle_stage") == DELETED:
        return DELETED
    status = told.get("status", 3)
    return STATES.get(status, str(status).lower())


def _row(run: Path) -> dict[str, object]:
    parameters = {name: file.read_text(encoding="utf-8") for name, file in _files(run / "params")}
    # A line of a metric is: timestamp value step.
    metrics = {
        name: float(file.read_text(encoding="utf-8").split("\n")[-2].split()[1])
        for name, file in _files(run / "metrics")
    }
    return {"run": run.name, **metrics, **parameters}


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """A name may hold slashes, and then stands in folders."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.stat().st_size:
            yield file.relative_to(folder).as_posix(), file
