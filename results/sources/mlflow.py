"""MLflow's file store (`mlruns/<experiment>/<run>/{params,metrics,tags}`) and database. Needs no mlflow."""

import re
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from .fault import NOTES, ImportFault, of_file
from .runs import FINISHED, named_apart

STATES = {1: "running", 2: "scheduled", 3: FINISHED, 4: "failed", 5: "killed"}
DELETED = "deleted"
EXPERIMENT = "experiment"
INFINITE = 1.79e308
"""How the database holds what is infinite: the largest number that it can."""
MARK = re.compile(rb"^(run_id|run_uuid|experiment_id|lifecycle_stage|artifact_uri)\b", re.MULTILINE)

Run = tuple[object, dict[str, object], dict[str, object], dict[str, object]]
"""Its state, what names it, its parameters and its metrics."""


def read_mlflow(path: Path, experiment: str | None, include: Collection[str]) -> pd.DataFrame:
    """One row per run, of one experiment or of all: parameters and the last value of every metric."""
    try:
        found = list(_runs(path))
        names = {folder: _experiment(folder) for folder in {run.parent for run, _ in found}}
        runs: list[Run] = [
            (_state(run, told), {"run": run.name, EXPERIMENT: names[run.parent]}, *_cells(run))
            for run, told in found
        ]
    except (OSError, ValueError, YAMLError) as error:
        raise ImportFault(
            f"{path}: is no MLflow file store that can be read ({str(error).splitlines()[0]})"
        ) from None
    if not runs:
        tables = sorted(file.name for file in path.glob("*.*") if file.is_file())
        alone = f"; import a file alone: {', '.join(tables[:3])}" if tables else ""
        raise ImportFault(
            f"{path}: holds no Parquet files and no runs of Weights & Biases or MLflow (give the folder "
            f"mlruns, or an experiment in it){alone}"
        )
    frame = _frame(runs, experiment, include, path)
    if unknown := sorted(_without_meta(path)):
        named = unknown[0].relative_to(path)
        frame.attrs[NOTES] += [
            f"without meta.yaml, which runs have, passed over: {len(unknown)}, {named} first"
        ]
    return frame


def read_mlflow_database(
    database: sqlite3.Connection, path: Path, experiment: str | None, include: Collection[str]
) -> pd.DataFrame:
    """The same of MLflow's tables."""
    parameters: defaultdict[str, dict[str, object]] = defaultdict(dict)
    metrics: defaultdict[str, dict[str, object]] = defaultdict(dict)
    for run, name, value in database.execute("SELECT run_uuid, key, value FROM params"):
        parameters[run][name] = value
    for run, name, value, is_nan in database.execute(
        "SELECT run_uuid, key, value, is_nan FROM latest_metrics"
    ):
        if not isinstance(value, int | float):
            raise ImportFault(
                f"{path}: run {run}: the metric {name} is {value!r}, no number; mend or delete it"
            )
        metrics[run][name] = None if is_nan or abs(value) >= INFINITE else value
    columns = {column for _, column, *_ in database.execute("PRAGMA table_info(experiments)")}
    called = "name" if "name" in columns else "experiment_id"
    runs: list[Run] = [
        (
            DELETED if DELETED in (stage, folder) else status,
            {"run": run, EXPERIMENT: str(name)},
            parameters[run],
            metrics[run],
        )
        for run, status, stage, folder, name in database.execute(
            "SELECT run_uuid, status, runs.lifecycle_stage, experiments.lifecycle_stage, "
            f"experiments.{called} FROM runs "
            "LEFT JOIN experiments ON runs.experiment_id = experiments.experiment_id"
        )
    ]
    if not runs:
        raise ImportFault(f"{path}: holds no MLflow runs")
    return _frame(runs, experiment, include, path)


def _frame(runs: Sequence[Run], experiment: str | None, include: Collection[str], path: Path) -> pd.DataFrame:
    """The runs of the chosen experiment, or of all that have some, told apart by a column."""
    names = sorted({str(named[EXPERIMENT]) for state, named, *_ in runs if state != DELETED})
    if experiment is not None:
        if experiment not in names:
            raise ImportFault(
                f"{path}: has no experiment {experiment}; choose one with --study: {', '.join(names)}"
            )
        runs = [run for run in runs if run[1][EXPERIMENT] == experiment]
    several = names if experiment is None and len(names) > 1 else []
    if not several:
        runs = [(state, {"run": named["run"]}, params, metrics) for state, named, params, metrics in runs]
    frame = named_apart(runs, ("params", "metrics"), include, path)
    said = f"of {len(several)} experiments: {', '.join(several)}; --study NAME takes one"
    frame.attrs[NOTES] = [said] if several else []
    return frame


def has_runs(path: Path) -> bool:
    """Whether a folder is MLflow's, by what its files say."""
    return any(MARK.search((folder / "meta.yaml").read_bytes()) for folder in _folders(path))


def _experiment(folder: Path) -> str:
    """Its name, or where the store does not tell one its folder's."""
    meta = folder / "meta.yaml"
    return str((_told(meta) if meta.exists() else {}).get("name") or folder.name)


def _folders(path: Path) -> Iterator[Path]:
    """Of what may be runs: what they left behind may be called in any way."""
    for meta in path.glob("**/meta.yaml"):
        folder = meta.parent
        kept = ((folder / "params").is_dir(), (folder / "metrics").is_dir())
        if any(kept) and "artifacts" not in folder.relative_to(path).parts:
            yield folder


def _without_meta(path: Path) -> Iterator[Path]:
    """Folders that are like runs', and do not say what they are."""
    for metrics in path.glob("**/metrics"):
        folder = metrics.parent
        alike = (folder / "params").is_dir() and not (folder / "meta.yaml").exists()
        if alike and "artifacts" not in folder.relative_to(path).parts:
            yield folder


def _runs(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each with what it tells of itself. A model that a run logged is none."""
    for folder in sorted(_folders(path)):
        told = _told(folder / "meta.yaml")
        if "model_id" not in told:
            yield folder, told


def _told(meta: Path) -> dict[str, Any]:
    with of_file(meta):
        told = YAML(typ="safe").load(meta.read_text(encoding="utf-8")) or {}
        if not isinstance(told, dict):
            raise ValueError("holds no names with values")
    return told


def _text(file: Path) -> str:
    with of_file(file):
        return file.read_text(encoding="utf-8")


def _state(run: Path, told: Mapping[str, Any]) -> object:
    if ".trash" in run.parts or told.get("lifecycle_stage") == DELETED:
        return DELETED
    status = told.get("status")
    return STATES.get(status, status) if isinstance(status, int) else status


def _cells(run: Path) -> tuple[dict[str, object], dict[str, object]]:
    """Its parameters, and of each metric the value at the last step."""
    parameters: dict[str, object] = {name: _text(file) for name, file in _files(run / "params")}
    return parameters, {name: _last(file) for name, file in _files(run / "metrics")}


def _last(file: Path) -> float:
    """A line of a metric is: timestamp value step. A run that went on again may write earlier steps later."""
    lines = [line.split() for line in _text(file).splitlines() if line.strip()]
    with of_file(file):
        try:
            steps = [(int(step[0]) if step else 0, int(when), float(value)) for when, value, *step in lines]
            return max(steps, key=lambda one: one[:2])[2]
        except ValueError:
            raise ValueError("a line is not time, value and step") from None


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """A name may hold slashes, and then stands in folders."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.stat().st_size:
            yield file.relative_to(folder).as_posix(), file
