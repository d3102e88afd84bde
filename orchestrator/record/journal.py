"""What the drivers of a sweep did, one line an event: `journal.jsonl`, written by the lease's owner alone.

Results say which trials are done; the journal says what else happened: what was submitted where, how
attempts ended, what they cost. A torn last line (a killed driver, a full disk) is passed over by readers
and closed by the next writer. Lines of a driver that had lost its lease are passed over too: the lease's
number stands in every line, and after a higher one a lower one does not count.
"""

import errno
import io
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from ..backends.registry import outlives
from .attempt import End, end_from
from .failpoint import failpoint


class Journal:
    """The writing end. Events are on disk when their method returns; a submission's intent is synced too."""

    def __init__(self, path: Path, lease: int) -> None:
        self._path, self._lease = path, lease

    def __enter__(self) -> Self:
        self._file = io.FileIO(self._path, "a+")
        size = self._file.seek(0, os.SEEK_END)
        if size:
            self._file.seek(size - 1)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")  # so that the first line is not glued to a torn one
        return self

    def __exit__(self, *reason: object) -> None:
        self._file.close()

    def run(self, **facts: object) -> None:
        self._append("run", facts)

    def submitting(self, backend: str, name: str, jobs: list[str]) -> None:
        """The intent, before the scheduler is asked: a driver killed in between looks the name up."""
        self._append("submitting", {"backend": backend, "name": name, "jobs": jobs}, sync=True)

    def submitted(self, backend: str, name: str, handle: str, jobs: list[str]) -> None:
        self._append("submitted", {"backend": backend, "name": name, "handle": handle, "jobs": jobs})

    def refused(self, name: str) -> None:
        self._append("refused", {"name": name})

    def returned(self, jobs: list[str]) -> None:
        """Jobs that nobody has any more."""
        self._append("returned", {"jobs": jobs})

    def ended(self, end: End, action: str) -> None:
        """`action`: done, requeued, retry, split, accumulate, give up or stop."""
        self._append("ended", {**asdict(end), "action": action})

    def split(self, job: str, into: list[str]) -> None:
        self._append("split", {"job": job, "into": into})

    def stopped(self, reason: str) -> None:
        self._append("stopped", {"reason": reason})

    def _append(self, event: str, facts: dict[str, Any], sync: bool = False) -> None:
        failpoint(f"journal {event}")
        line = {"event": event, "lease": self._lease, "time": round(time.time(), 3), **facts}
        text = json.dumps(line, allow_nan=False).encode() + b"\n"
        if self._file.write(text) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        if sync:
            os.fsync(self._file.fileno())


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """The events that count, in order."""
    if not path.exists():
        return
    lease = 0
    with open(path, "rb") as file:
        for raw in file:
            event = _event(raw)
            if event is not None and event["lease"] >= lease:
                lease = event["lease"]
                yield event


def has_nothing(path: Path) -> bool:
    """Whether a journal that is there has no event that counts: it is damaged from beginning to end."""
    return path.exists() and path.stat().st_size > 0 and next(read_journal(path), None) is None


@dataclass(slots=True)
class Submission:
    """Jobs handed over under one name. `handle` is None until the scheduler's answer is on record."""

    backend: str
    name: str
    jobs: list[str]
    handle: str | None = None


@dataclass(slots=True)
class History:
    """What the journal says of a sweep, as far as it still matters."""

    backend: str = ""
    in_flight: dict[str, Submission] = field(default_factory=dict)
    seen: set[tuple[str, int]] = field(default_factory=set)  # (job, attempt) whose end is on record
    given_up: dict[str, End] = field(default_factory=dict)
    diverged: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)  # attempts by class
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    lost_seconds: float = 0.0
    lost_gpu_seconds: float = 0.0
    attempts: int = 0

    def left(self) -> dict[str, Submission]:
        """Jobs that may still be under way without their driver: those of a backend whose jobs outlive it."""
        return {job: held for job, held in self.in_flight.items() if outlives(held.backend)}


def replay(events: Iterator[dict[str, Any]]) -> History:
    """Pure: the history that the events tell."""
    history, by_name = History(), dict[str, Submission]()
    for event in events:
        match event["event"]:
            case "run":
                history.backend = event.get("backend", "")
                history.given_up.clear()  # every run tries them again
                history.in_flight = history.left()
            case "submitting" | "submitted":
                known = by_name.get(event["name"])
                submission = known or Submission(event["backend"], event["name"], event["jobs"])
                submission.handle = event.get("handle")
                by_name[event["name"]] = submission
                history.in_flight.update(dict.fromkeys(event["jobs"], submission))
                for job in event["jobs"]:
                    history.given_up.pop(job, None)
            case "refused":
                gone = by_name.pop(event["name"], None)
                for job in gone.jobs if gone else ():
                    if history.in_flight.get(job) is gone:
                        del history.in_flight[job]
            case "returned":
                for job in event["jobs"]:
                    history.in_flight.pop(job, None)
            case "ended":
                _ended(history, event)
    return history


def _ended(history: History, event: dict[str, Any]) -> None:
    end = end_from(event)
    if not end.requeued:
        history.in_flight.pop(end.job, None)
    history.seen.add((end.job, end.attempt))
    history.attempts += 1
    history.seconds += end.seconds
    history.gpu_seconds += end.gpu_seconds
    if end.kind == "finished":
        history.diverged[end.job] = end.diverged
        history.given_up.pop(end.job, None)
        return
    history.failures[end.kind] = history.failures.get(end.kind, 0) + 1
    history.lost_seconds += end.seconds
    history.lost_gpu_seconds += end.gpu_seconds
    if event["action"] in ("give up", "stop"):
        history.given_up[end.job] = end


_TEXTS = {
    "run": (),
    "submitting": ("backend", "name"),
    "submitted": ("backend", "name", "handle"),
    "refused": ("name",),
    "returned": (),
    "ended": ("action",),
    "split": ("job",),
    "stopped": (),
}
LATEST = 1e11
"""Seconds since 1970: no event is later, and clocks can tell it."""

_LISTS = {"submitting": "jobs", "submitted": "jobs", "returned": "jobs", "split": "into"}


def _event(raw: bytes) -> dict[str, Any] | None:
    """The line as an event; None for a torn or foreign one."""
    try:
        event = json.loads(raw)
        whole = isinstance(event["lease"], int) and isinstance(event["time"], int | float)
        whole &= all(isinstance(event[name], str) for name in _TEXTS[event["event"]])
        if listed := _LISTS.get(event["event"]):
            whole &= all(isinstance(job, str) for job in event[listed])
        whole &= 0 <= event["time"] < LATEST
        if event["event"] == "ended":
            event |= asdict(end_from(event))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return dict(event) if whole else None
