"""Weights & Biases: exported runs, or a folder of offline runs. Needs no wandb.

An exported run is an object with `config` and `summary` (as `run.config` and `run.summary` give them), and
perhaps `name`, `id` and `state`. A folder holds `run-*/files/config.yaml` and `wandb-summary.json`.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from .fault import NOTES, ImportFault, of_file
from .runs import DIVERGED, named_apart, state_of, tells_state

FOLDERS = ("config", "summary")
NOT_FINITE = {"NaN": None, "Infinity": None, "-Infinity": None}
"""How Weights & Biases writes what JSON cannot hold."""
STEP, SHORT = "_step", 8


def read_folder(path: Path, include: Collection[str]) -> pd.DataFrame:
    """Of offline runs, of which only their `run-*.wandb` says how they ended, in wandb's own format."""
    frame = read_runs(_folder_runs(path), include, path)
    frame.attrs[NOTES] = ["a folder of runs does not tell which of them ended early"]
    return frame


def read_runs(found: Iterable[Mapping[str, Any]], include: Collection[str], path: Path) -> pd.DataFrame:
    """One row per run: its configuration and summary, nested names joined by dots.

    A run that has no state has finished; one whose state is empty has where no run tells another.
    """
    try:
        runs = [_run(run) for run in found]
    except (OSError, ValueError, YAMLError, RecursionError) as error:
        raise ImportFault(f"{path}: is no Weights & Biases export ({str(error).splitlines()[0]})") from None
    return named_apart(runs, FOLDERS, include, path)


def _run(run: Mapping[str, Any]) -> tuple[object, Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]:
    """Its state, its names, its configuration and its summary."""
    named = {name: run[name] for name in ("name", "id") if name in run}
    config, summary = (dict(flat(_mapping(run, folder))) for folder in FOLDERS)
    if "summary" not in run:  # some write what was measured beside the configuration
        own = {"config", *named}
        summary = dict(
            flat({n: told for n, told in run.items() if n not in own and not tells_state(n, told)})
        )
    state = DIVERGED if summary.get(DIVERGED) is True else state_of(run)
    return state, named, config, summary


def _folder_runs(path: Path) -> Iterator[dict[str, Any]]:
    for config in sorted(path.glob("**/files/config.yaml")):
        summary = config.parent / "wandb-summary.json"
        yield {
            "id": config.parent.parent.name,
            "config": _configuration(config),
            "summary": _summary(summary) if summary.exists() else {},
        }


def _configuration(file: Path) -> Any:  # noqa: ANN401 - whatever the YAML holds
    with of_file(file):
        return YAML(typ="safe").load(file.read_text(encoding="utf-8")) or {}


def _summary(file: Path) -> Any:  # noqa: ANN401 - whatever the JSON holds
    with of_file(file):
        return json.loads(file.read_text(encoding="utf-8"))


def _mapping(run: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = run.get(name) or {}
    if isinstance(value, str):
        value = json.loads(value)  # how a CSV that became JSON holds it
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is no mapping but {type(value).__name__}")
    return value


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names that begin with an underscore are Weights & Biases' own; the step is told. A short list, such as
    betas, is one value, as text; a long one holds what was measured on the way."""
    for name, value in values.items():
        if str(name).startswith("_") and name != STEP:
            continue
        if isinstance(value, Mapping) and "value" in value and {*value} <= {"value", "desc"}:
            value = value["value"]  # how config.yaml wraps every entry
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            yield f"{prefix}{name}", NOT_FINITE.get(value, value) if isinstance(value, str) else value
        elif len(value) <= SHORT and not any(isinstance(one, Mapping | list) for one in value):
            yield f"{prefix}{name}", json.dumps(value)
