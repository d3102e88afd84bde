"""What one attempt at a program of the user's is given, and how far it is."""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...models.files.checkpoint_name import CheckpointName, checkpoints
from ...models.files.place import replace
from ...models.handover.values import handover_of
from ...models.training.outcome import Progress
from ..program import Setup
from .command import Command, Definition
from .loss import counted, json_lines_from
from .words import filled

PATIENCE = 100.0
"""Looking through the checkpoints takes no more than this fraction of the time."""


@dataclass
class Given:
    """Folders and files of the trial, and what the program is told of them.

    `files` and `checkpoints` are the program's own; `metrics` is where it reports, `stop` is there once it
    has to leave, `told_in` holds all of it as JSON.
    """

    program: Command
    setup: Setup

    def __post_init__(self) -> None:
        folder = self.setup.folder
        self.files, self.checkpoints = folder / "files", self.setup.checkpoints / "own"
        self.metrics, self.stop, self.told_in = (
            folder / "metrics.jsonl",
            folder / "stop",
            folder / "trial.json",
        )
        for own in (self.files, self.checkpoints):
            own.mkdir(parents=True, exist_ok=True)
        self.stop.unlink(missing_ok=True)
        self._seen, self._read, self._step = (0, 0), 0, 0
        self._written, self._look_again = _newest(self.checkpoints), 0.0

    def tell(self) -> None:
        """Writes down what the program is told, for a process to read."""
        replace(self.told_in, json.dumps(self.told(), indent=1).encode(), sync=False)

    @property
    def definition(self) -> Definition:
        return self.program.definition

    def told(self) -> dict[str, Any]:
        values = self.program.point()
        handover, why_not = handover_of(values)
        return {
            "format": 1,
            "id": self.setup.ids[0],
            "point": values,
            "seed": values.get("seed"),
            "base": self.definition["base"],
            "files": str(self.files),
            "checkpoints": str(self.checkpoints),
            "attempt": self.setup.attempt,
            "metrics": str(self.metrics),
            "stop": str(self.stop),
            "handover": handover,
            "no_handover": why_not,
        }

    def placeholders(self) -> dict[str, object]:
        return self.program.placeholders(
            trial=self.setup.ids[0],
            files=self.files,
            checkpoints=self.checkpoints,
            attempt=self.setup.attempt,
        )

    def rule(self) -> dict[str, Any]:
        """Where the loss stands, paths filled in."""
        rule = self.definition["loss"]
        paths = {name: filled(rule[name], self.placeholders()) for name in ("file", "csv") if name in rule}
        return {**rule, **paths}

    def look(self, last: bool = False) -> None:
        """Metrics or output that grew are a sign of life; a checkpoint that was written is progress. A folder
        that takes long to look through is looked through seldom, but the `last` time always."""
        sizes = (_size(self.metrics), size_of_output())
        if sizes != self._seen:
            self._seen = sizes
            self._step = max(self._step, self._last_step())
            self.setup.report(self.progress(self._step))
        begin = time.monotonic()
        if begin < self._look_again and not last:
            return
        written = _newest(self.checkpoints)
        self._look_again = begin + PATIENCE * (time.monotonic() - begin)
        if written > self._written:
            self._written = written
            before = next((name.step for name, _ in checkpoints(self.setup.checkpoints)), 0)
            mark = CheckpointName(max(before + 1, self._step), "own")
            (self.setup.checkpoints / str(mark)).touch()

    def _last_step(self) -> int:
        """The highest in the lines that are new since the last look."""
        lines, self._read = json_lines_from(self.metrics, self._read)
        return max((counted(line.get("step")) or 0 for line in lines), default=0)

    def progress(self, step: int) -> Progress:
        steps = self.program.steps
        return Progress(min(step, steps) if steps > 1 else 0, 0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def size_of_output() -> int:
    """Of the job's log, where this process and all that it starts print."""
    return os.fstat(2).st_size


def _newest(folder: Path) -> int:
    """When anything in a folder was last written, in nanoseconds."""
    times = [0]
    for path in folder.rglob("*"):
        with suppress(OSError):
            times.append(path.stat().st_mtime_ns)
    return max(times)
