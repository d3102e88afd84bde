"""What a program says of its training: the final loss by its rule, and the curve from its metrics lines."""

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...models.training.outcome import CurvePoint

CURVE = ("train_loss", "eval_loss", "learning_rate", "gradient_norm")


class NoLossError(Exception):
    """There is no final loss where the rule says; the message says what there is."""


def final_loss(rule: Mapping[str, Any], files: Path, output: Iterator[str], metrics: Path) -> float:
    """The last value that the rule finds: NaN or infinite where the training diverged. Raises NoLossError."""
    if "helper" in rule:
        found = [line["loss"] for line in json_lines(metrics) if line.get("final")]
        return _number(found, "the program did not call trial.finish(loss=...)")
    if "pattern" in rule:
        pattern = re.compile(rule["pattern"])
        last = None
        for line in output:
            for match in pattern.finditer(line):
                last = match[1]
        return _number(
            [last] if last is not None else [], f"no line of its output matches {rule['pattern']!r}"
        )
    path = files / rule.get("file", rule.get("csv"))
    if not path.is_file():
        raise NoLossError(f"{path} is not there")
    if "file" in rule:
        key = rule["key"]
        return _number(
            [line[key] for line in json_lines(path) if key in line], f"no line of {path} has {key!r}"
        )
    column = rule["column"]
    with path.open(newline="", errors="replace") as file:
        cells = [row[column] for row in csv.DictReader(file) if row.get(column)]
    return _number(cells, f"{path} has no value in a column {column!r}")


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; a line that was cut off is none."""
    return json_lines_from(path, 0)[0]


def json_lines_from(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Those from an offset on, and where the last whole line ends."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            read = file.read()
    except FileNotFoundError:
        return [], offset
    found = []
    for line in read.splitlines():
        try:
            value = json.loads(line.decode(errors="replace"))
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found, offset + read.rfind(b"\n") + 1


def curve(metrics: Path) -> tuple[CurvePoint, ...]:
    """The points by step; where a resumed attempt came to a step again, what it said last."""
    points = {}
    for line in json_lines(metrics):
        step = line.get("step")
        if isinstance(step, int) and not line.get("final"):
            values = {name: _told(line.get(name)) for name in CURVE}
            tokens = line.get("tokens")
            points[step] = CurvePoint(step=step, tokens=tokens if isinstance(tokens, int) else None, **values)
    return tuple(points[step] for step in sorted(points))


def _told(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _number(found: list[Any], why: str) -> float:
    if not found:
        raise NoLossError(why)
    last = found[-1]
    try:
        return math.nan if last is None else float(last)
    except (TypeError, ValueError):
        raise NoLossError(f"{last!r} is no number") from None
