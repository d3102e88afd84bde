"""Weights & Biases: exported runs as JSON or JSON lines, or a folder of offline runs. Needs no wandb.

An exported run is an object with `config` and `summary` (as `run.config` and `run.summary` give them), and
perhaps `name`, `id` and `state`. A folder holds `run-*/files/config.yaml` and `wandb-summary.json`.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from .fault import ImportFault
from .runs import FINISHED, frame_of

FOLDERS = "folders"
"""The attribute of a frame that tells the column of a name with its folder."""
NOT_FINITE = {"NaN": None, "Infinity": None, "-Infinity": None}
"""How Weights & Biases writes what JSON cannot hold."""


def read_wandb(path: Path, include: Collection[str]) -> pd.DataFrame:
    """One row per run: its configuration and summary, nested names joined by dots.

    A name that both have is told apart by its folder, `config.loss` and `summary.loss`; every other name may
    be given with its folder, too. A run whose state is not told has finished.
    """
    try:
        found = list(_folder_runs(path)) if path.is_dir() else _file_runs(path)
        runs = [_Run.of(run) for run in found if isinstance(run, Mapping)]
    except (OSError, ValueError, YAMLError, RecursionError) as error:
        raise ImportFault(f"{path}: is no Weights & Biases export ({str(error).splitlines()[0]})") from None
    if not runs:
        raise ImportFault(
            f"{path}: holds no Weights & Biases runs; export them as JSON with config and summary"
        )
    config, summary = {name for run in runs for name in run.config}, {n for run in runs for n in run.summary}
    both = config & summary
    frame = frame_of(((run.state, run.row(both)) for run in runs), include, path)
    frame.attrs[FOLDERS] = {
        f"{folder}.{name}": name
        for folder, names in (("config", config), ("summary", summary))
        for name in names - both
    }
    return frame


@dataclass(frozen=True, slots=True)
class _Run:
    state: str
    named: Mapping[str, Any]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> Self:
        named = {name: run[name] for name in ("name", "id") if name in run}
        config, summary = (dict(_flat(_mapping(run, folder))) for folder in ("config", "summary"))
        return cls(str(run.get("state") or FINISHED), named, config, summary)

    def row(self, both: Collection[str]) -> dict[str, Any]:
        """Cells by name, those of names that stand in both folders by folder and name."""
        cells = {**self.named}
        for folder, values in (("summary", self.summary), ("config", self.config)):
            cells |= {f"{folder}.{name}" if name in both else name: value for name, value in values.items()}
        return cells


def _file_runs(path: Path) -> list[Any]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    found = json.loads(text)
    return found if isinstance(found, list) else [found]


def _folder_runs(path: Path) -> Iterator[dict[str, Any]]:
    for config in sorted(path.glob("**/files/config.yaml")):
        summary = config.parent / "wandb-summary.json"
        yield {
            "id": config.parent.parent.name,
            "config": YAML(typ="safe").load(config.read_text(encoding="utf-8")) or {},
            "summary": json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else {},
        }


def _mapping(run: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = run.get(name) or {}
    if isinstance(value, str):
        value = json.loads(value)  # how a CSV that became JSON holds it
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is no mapping but {type(value).__name__}")
    return value


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names that begin with an underscore are Weights & Biases' own."""
    for name, value in values.items():
        if str(name).startswith("_"):
            continue
        if isinstance(value, Mapping) and "value" in value and {*value} <= {"value", "desc"}:
            value = value["value"]  # how config.yaml wraps every entry
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            yield f"{prefix}{name}", NOT_FINITE.get(value, value) if isinstance(value, str) else value
