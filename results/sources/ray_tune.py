"""Ray Tune: the folder of an experiment, or one above it. Needs no ray.

Every trial has a folder with its `params.json` and a `result.json`, an object a line for what it reported,
each with its configuration; `experiment_state-*.json` beside them says how the trials stand.
"""

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from .fault import ImportFault
from .runs import FINISHED, UNFINISHED, state_of
from .table import bytes_of
from .wandb import read_runs

PARAMETERS, RESULTS, STATES = "params.json", "result.json", "experiment_state-*.json"
ITERATION = "training_iteration"
BESIDE = {
    "trial_id", "done", "config", "timestamp", "date", "pid", "hostname", "node_ip", "checkpoint_dir_name",
    "time_this_iter_s", "time_total_s", "time_since_restore", "iterations_since_restore",
}  # fmt: skip
"""What Ray writes into a report of its own: no measurement of the trial's."""


def is_experiment(path: Path) -> bool:
    return any((file.parent / PARAMETERS).exists() for file in path.glob(f"**/{RESULTS}"))


def read_experiment(path: Path, include: Collection[str]) -> pd.DataFrame:
    """Of each trial what it reported last. One that a scheduler stopped stands as terminated, too: of those
    that reported less often than the longest of their experiment, and nothing that is no number, it is not
    known whether they were to go on (`unfinished`)."""
    runs: list[dict[str, Any]] = []
    for experiment in sorted({file.parent.parent for file in path.glob(f"**/{PARAMETERS}")}):
        stands = _states(experiment)
        found = [_run(file.parent, stands) for file in sorted(experiment.glob(f"*/{PARAMETERS}"))]
        most = max((_iterations(run) for run in found), default=0)
        for run in found:
            short = _iterations(run) < most and not _diverged(run["summary"])
            if short and state_of(run) == FINISHED:
                run["state"] = UNFINISHED
        runs += found
    return read_runs(runs, include, path)


def _run(folder: Path, stands: Mapping[str, str]) -> dict[str, Any]:
    last = _last_report(folder / RESULTS)
    config = last.get("config", _mapping(folder / PARAMETERS))
    trial = str(last.get("trial_id", folder.name))
    failed = "error" if (folder / "error.txt").exists() else FINISHED
    return {
        "id": trial,
        "config": config if isinstance(config, Mapping) else {},
        "summary": {name: value for name, value in last.items() if name not in BESIDE},
        "state": stands.get(trial, failed),
    }


def _last_report(file: Path) -> Mapping[str, Any]:
    """Of the last lines the first that is whole: whoever wrote the very last may have been killed."""
    content = bytes_of(file) if file.exists() else b""
    lines = [line for line in content.split(b"\n") if line.strip(b"\0 \r\t")]
    for line in reversed(lines[-2:]):
        try:
            report = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(report, dict):
            return report
    if lines:
        raise ImportFault(f"{file}: holds no reports of a trial; mend it, or move its folder away")
    return {}


def _states(experiment: Path) -> dict[str, str]:
    """By trial, as the newest file has it, which is the last by name."""
    found = {}
    for file in sorted(experiment.glob(STATES)):
        held = _mapping(file)
        entries = held.get("trial_data", held.get("checkpoints"))
        for entry in entries if isinstance(entries, list) else []:
            told = _parsed(entry[0] if isinstance(entry, list) and entry else entry)
            if isinstance(told, dict) and isinstance(told.get("status"), str):
                found[str(told.get("trial_id"))] = told["status"]
    return found


def _iterations(run: Mapping[str, Any]) -> float:
    told = run["summary"].get(ITERATION)
    return float(told) if isinstance(told, int | float) else 0.0


def _diverged(summary: Mapping[str, Any]) -> bool:
    return any(isinstance(value, float) and not math.isfinite(value) for value in summary.values())


def _mapping(file: Path) -> Mapping[str, Any]:
    try:
        found = _parsed(file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return {}
    return found if isinstance(found, dict) else {}


def _parsed(text: object) -> object:
    """A value of JSON, None where it is none."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
