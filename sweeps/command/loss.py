"""What a program says of its training: the final loss by its rule, and the curve from its metrics lines."""

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...models.training.outcome import CurvePoint

CURVE = ("train_loss", "eval_loss", "learning_rate", "gradient_norm")
GROUP = re.compile(r"(?<!\\)\((?:\?P<\w+>|(?!\?))[^()]*\)")
"""The group of a pattern, where no other is inside."""
AFTER_A_NUMBER = ".,;:)]}"
COMMAS = re.compile(r"[-+]?\d+,\d[\d,.]*")
LINE_END = re.compile(r"\r\n?|\n")
"""Others, such as U+2028, may stand within a text of JSON."""
LARGEST_COUNT = 2**63 - 1


class NoLossError(Exception):
    """There is no final loss where the rule says; the message says what there is."""


class Written:
    """A file that attempts write to, as one attempt finds it: `text` is what this one wrote.

    An attempt appends, or writes the file anew. What an earlier one left there is no result of this one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size, self._time = self._stat()
        self._digest = _digest(path, self._size)

    def text(self) -> str | None:
        """None where this attempt wrote nothing."""
        size, time = self._stat()
        if (size, time) == (self._size, self._time):
            return None
        appended = size > self._size and _digest(self.path, self._size) == self._digest
        with self.path.open("rb") as file:
            file.seek(self._size if appended else 0)
            return file.read().decode("utf-8-sig", errors="replace")

    def first_line(self) -> str:
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return file.readline()

    def _stat(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except OSError:
            return 0, 0
        return found.st_size, found.st_mtime_ns


def _digest(path: Path, size: int) -> bytes:
    """Of so many bytes from the beginning."""
    found = hashlib.sha256()
    if size:
        with path.open("rb") as file:
            while size > 0 and (chunk := file.read(min(size, 1 << 20))):
                found.update(chunk)
                size -= len(chunk)
    return found.digest()


def final_loss(rule: Mapping[str, Any], output: Iterator[str], written: Written) -> float:
    """The last value that the rule finds: NaN or infinite where the training diverged. Raises NoLossError.

    `output` is what the attempt printed, `written` its metrics or the file that the rule names.
    """
    if "pattern" in rule:
        return _matched(rule["pattern"], output)
    text = written.text()
    if "helper" in rule:
        lines = [line for line in _objects(text or "") if line.get("final") is True and "loss" in line]
        lines = [line for line in lines if "rank" not in line] or lines
        return _number([line["loss"] for line in lines], "the program did not call trial.finish(loss=...)")
    name = rule.get("file", rule.get("csv"))
    if not written.path.is_file():
        raise NoLossError(f"{name} is not there")
    if text is None:
        raise NoLossError(f"{name} is left from an earlier attempt; this one wrote nothing to it")
    return (
        _in_lines(text, rule["key"], name)
        if "file" in rule
        else _in_columns(text, written, rule["column"], name)
    )


def _matched(text: str, output: Iterator[str]) -> float:
    """What the group holds last. Where it would stop within a word that is a number, or pass over what is
    none, as [0-9.]+ does with 1e-05 and nan, the word counts."""
    pattern, last = re.compile(text), None
    words, count = GROUP.subn(lambda group: r"(\S+)", text)
    wide = re.compile(words) if count == 1 else None
    for line in output:
        found = {match.start(): match[1] for match in pattern.finditer(line) if match[1] is not None}
        if wide is not None and wide.groups == 1:
            whole = {match.start(): (match[1] or "").rstrip(AFTER_A_NUMBER) for match in wide.finditer(line)}
            found |= {start: word for start, word in whole.items() if _is_number(word)}
            if cut := [word for start, word in whole.items() if start in found and COMMAS.fullmatch(word)]:
                raise NoLossError(f"{cut[0]!r} in its output has a comma; print the loss with a point alone")
        if found:
            last = found[max(found)]
    return _number([] if last is None else [last], f"no line of its output matches {text!r}")


def _in_lines(text: str, key: str, name: str) -> float:
    lines = _objects(text)
    told = f"no line of {name} has {key!r}"
    if not lines:
        told = f"{name} holds no line that is a JSON object by itself"
    return _number([line[key] for line in lines if key in line], told)


def _in_columns(text: str, written: Written, column: str, name: str) -> float:
    """An empty cell says nothing: many loggers leave a column out where they have no value for it."""
    first = written.first_line()
    rows = csv.DictReader(io.StringIO(text if text.startswith(first) else first + text, newline=""))
    try:
        cells = [row[column] for row in rows if row.get(column)]
    except csv.Error as error:
        raise NoLossError(f"{name} is no CSV that can be read ({error})") from None
    columns = ", ".join(map(repr, rows.fieldnames or ()))
    return _number(cells, f"{name} has no value in a column {column!r}; its columns are {columns}")


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
    return _objects(read.decode(errors="replace")), offset + read.rfind(b"\n") + 1


def _objects(text: str) -> list[dict[str, Any]]:
    found = []
    for line in LINE_END.split(text):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def curve(metrics: Path) -> tuple[CurvePoint, ...]:
    """The points by step; where a resumed attempt came to a step again, what it said last."""
    points = {}
    for line in json_lines(metrics):
        step = counted(line.get("step"))
        if step is not None:
            values = {name: _told(line.get(name)) for name in CURVE}
            points[step] = CurvePoint(step=step, tokens=counted(line.get("tokens")), **values)
    return tuple(points[step] for step in sorted(points))


def counted(value: object) -> int | None:
    """A step or a number of tokens; None for what is none."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT:
        return value
    return None


def _told(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.inf


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _number(found: list[Any], why: str) -> float:
    if not found:
        raise NoLossError(why)
    last = found[-1]
    if isinstance(last, bool) or "_" in str(last):  # 1_000 is Python's own way to write one
        raise NoLossError(f"{last!r} is no number")
    try:
        return math.nan if last is None else float(last)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        raise NoLossError(f"{last!r} is no number") from None
