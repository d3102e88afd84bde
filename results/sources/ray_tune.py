"""Ray Tune: the folder of an experiment, or one above it. Needs no ray.

Every trial has a `result.json`, an object a line for what it reported, each with its configuration;
`experiment_state-*.json` says how the trials stand.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from .fault import ImportFault
from .runs import FINISHED
from .table import text_of
from .wandb import read_runs

RESULTS, STATES = "**/result.json", "**/experiment_state-*.json"
BESIDE = {
    "trial_id", "done", "config", "timestamp", "date", "pid", "hostname", "node_ip", "checkpoint_dir_name",
    "time_this_iter_s", "time_total_s", "time_since_restore", "iterations_since_restore",
}  # fmt: skip
"""What Ray writes into a report of its own: no measurement of the trial's."""


def is_experiment(path: Path) -> bool:
    return any((file.parent / "params.json").exists() for file in path.glob(RESULTS))


def read_experiment(path: Path, include: Collection[str]) -> pd.DataFrame:
    """Of each trial what it reported last."""
    stands = dict(_states(path))
    return read_runs((_run(file, stands) for file in sorted(path.glob(RESULTS))), include, path)


def _run(file: Path, stands: Mapping[str, str]) -> dict[str, Any]:
    """Raises ImportFault for a line that is no report, but the last: its writer may have been killed."""
    lines = [line for line in text_of(file).split("\n") if line.strip()]
    reports: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            reports.append(dict(json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            if number < len(lines):
                told = (
                    f"{file}: line {number} is no report of a trial; mend it, or move the trial's folder away"
                )
                raise ImportFault(told) from None
    last = reports[-1] if reports else {"config": _mapping(file.parent / "params.json")}
    trial = str(last.get("trial_id", file.parent.name))
    failed = "error" if (file.parent / "error.txt").exists() else FINISHED
    return {
        "id": trial,
        "config": last.get("config") or {},
        "summary": {name: value for name, value in last.items() if name not in BESIDE},
        "state": stands.get(trial, failed),
    }


def _states(path: Path) -> Iterator[tuple[str, str]]:
    """By trial, as the newest file of each experiment has it, which is the last by name."""
    for file in sorted(path.glob(STATES)):
        for told in _mapping(file).get("trial_data", []):
            held = json.loads(told[0]) if isinstance(told, list) and told else {}
            if isinstance(held, dict) and "status" in held:
                yield str(held.get("trial_id")), str(held["status"])


def _mapping(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(text_of(file))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
