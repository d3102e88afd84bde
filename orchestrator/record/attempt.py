"""An attempt at a job: claimed by number, with a heartbeat, ended by a record.

`jobs/<job>/attempts/<n>.json` is made by link(2), so every attempt has a number of its own; the process
behind it replaces it as long as it lives. The highest number owns the job: an attempt that finds a higher
one (its node was thought dead, its driver lost the sweep) ends itself. `ended/<job>.<n>.json` says how it
ended, in one folder, so that a driver sees what thousands of jobs did by one look.
"""

import json
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...models.files.place import claim
from ...models.training.outcome import Progress
from .directory import SweepDirectory, replace_text
from .failpoint import failpoint
from .failures import FAILURE_KINDS, EndKind
from .processes import Process, process_from, this_process

BEAT_SECONDS = 2.0
SUPERSEDED_EXIT, HUNG_EXIT = 71, 72


class SupersededError(Exception):
    """Another attempt of the job took over, or the job was split: this one's result must not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How an attempt ended. Seconds of wall time; `gpu_seconds` are those times the GPUs' share.

    `requeued`: the scheduler starts the job again by itself, so it has not left its queue.
    """

    job: str
    attempt: int
    kind: EndKind
    reason: str = ""
    diverged: int = 0
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    where: str = ""
    requeued: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """What an attempt's record says of it, as of its last heartbeat."""

    job: str
    number: int
    process: Process
    backend: str
    gpus: float
    beat: int
    step: int
    diverged: int
    started: float
    beaten: float
    directory: int | None
    """The inode of the sweep directory that it is at work in; None of older versions, which did not say."""

    @property
    def where(self) -> str:
        return str(self.process)


class Attempt:
    """The process's own side of an attempt. Raises SupersededError from `check`."""

    def __init__(
        self, directory: SweepDirectory, job: str, backend: str, gpus: float, environment: Mapping[str, Any]
    ) -> None:
        self._directory, self._folder = directory, directory.job(job) / "attempts"
        self._job, self._gpus, self._begin = job, gpus, time.monotonic()
        self._progress, self._moved, self._beat = Progress(0, 0), time.monotonic(), 0
        self._record: dict[str, Any] = {
            **asdict(this_process()),
            "backend": backend,
            "gpus": gpus,
            "environment": environment,
            "directory": directory.inode,
            "began": time.time(),
        }
        self._end: End | None = None
        self.number = self._claim()

    def report(self, progress: Progress) -> None:
        self._progress, self._moved = progress, time.monotonic()

    def check(self) -> None:
        if _highest(self._folder) > self.number:
            raise SupersededError(f"attempt {self.number} was taken over by another one")
        if not (self._folder / f"{self.number}.json").exists():
            raise SupersededError("the sweep directory was moved or removed")
        if self._directory.superseded(self._job):
            raise SupersededError("the job was split")

    @contextmanager
    def beating(self, hang_seconds: float) -> Iterator[None]:
        """Heartbeats until the end; ends the process where it is superseded, or no step came for so long."""
        stop = threading.Event()
        thread = threading.Thread(target=self._keep_beating, args=(stop, hang_seconds), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def end(
        self, kind: EndKind, reason: str = "", diverged: int = 0, requeued: bool = False, **facts: object
    ) -> End:
        """Records how it ended; what is recorded first stays."""
        if self._end is not None:
            return self._end
        seconds = time.monotonic() - self._begin
        end = End(
            job=self._job,
            attempt=self.number,
            kind=kind,
            reason=reason,
            diverged=diverged,
            seconds=round(seconds, 3),
            gpu_seconds=round(seconds * self._gpus, 3),
            where=f"process {os.getpid()} on {self._record['host']}",
            requeued=requeued,
        )
        self._end = end
        failpoint("ended")
        # A full disk, or a directory that is gone: a local driver hears of the end all the same.
        with suppress(OSError):
            if self._directory.path.exists():
                record_end(self._directory, end, began=self._record["began"], **facts)
        return end

    def _claim(self) -> int:
        number = _highest(self._folder)
        content = json.dumps(self._contents()).encode()
        while True:
            number += 1
            if claim(self._folder / f"{number}.json", content, sync=False):
                return number

    def _contents(self) -> dict[str, Any]:
        progress = self._progress
        return {
            **self._record,
            "beat": self._beat,
            "beaten": time.time(),
            "step": progress.step,
            "diverged": progress.diverged,
        }

    def _write(self) -> None:
        with suppress(OSError):  # a full disk, which the results will tell of
            replace_text(self._folder / f"{self.number}.json", json.dumps(self._contents()), sync=False)

    def _keep_beating(self, stop: threading.Event, hang_seconds: float) -> None:
        while not stop.wait(BEAT_SECONDS):
            self._beat += 1
            try:
                self.check()
                self._write()
            except SupersededError as error:
                self.end("superseded", str(error))
                os._exit(SUPERSEDED_EXIT)  # the training thread may be anywhere
            except OSError:
                pass  # the file system hiccups: the next beat looks again
            still = time.monotonic() - self._moved
            if still > hang_seconds:
                self.end("hung", f"no step for {still:.0f} s, after step {self._progress.step}")
                os._exit(HUNG_EXIT)


def latest_attempt(directory: SweepDirectory, job: str) -> Running | None:
    """The attempt with the highest number, None before the first."""
    return read_attempt(directory, job, _highest(directory.job(job) / "attempts"))


def read_attempt(directory: SweepDirectory, job: str, number: int) -> Running | None:
    """One attempt; an unreadable record is none."""
    try:
        record = json.loads((directory.job(job) / "attempts" / f"{number}.json").read_text())
        return Running(
            job, number, process_from(record), str(record["backend"]), float(record["gpus"]),
            int(record["beat"]), int(record["step"]), int(record["diverged"]), float(record["began"]),
            float(record["beaten"]), record.get("directory"),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_end(path: Path) -> End | None:
    """One record of `ended/`; None for what is none, such as a file cut off by a crash."""
    try:
        end = end_from(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return end if path.name == f"{end.job}.{end.attempt}.json" else None


def end_from(record: Mapping[str, Any]) -> End:
    """Raises KeyError, TypeError or ValueError for a record of something else."""
    if record["kind"] != "finished" and record["kind"] not in FAILURE_KINDS:
        raise ValueError(record["kind"])
    if not math.isfinite(float(record["seconds"]) + float(record["gpu_seconds"])):
        raise ValueError("seconds")
    return End(
        job=str(record["job"]),
        attempt=int(record["attempt"]),
        kind=record["kind"],
        reason=str(record["reason"]),
        diverged=int(record["diverged"]),
        seconds=float(record["seconds"]),
        gpu_seconds=float(record["gpu_seconds"]),
        where=str(record["where"]),
        requeued=bool(record["requeued"]),
    )


def record_end(directory: SweepDirectory, end: End, **facts: object) -> None:
    record = {**asdict(end), **facts, "ended": time.time()}
    replace_text(directory.end(end.job, end.attempt), json.dumps(record), sync=False)


def record_lost(directory: SweepDirectory, attempt: Running, kind: EndKind, reason: str) -> End:
    """The end of an attempt that could not record it itself: its time runs to the last heartbeat."""
    seconds = max(0.0, attempt.beaten - attempt.started)
    end = End(
        job=attempt.job,
        attempt=attempt.number,
        kind=kind,
        reason=reason,
        seconds=round(seconds, 3),
        gpu_seconds=round(seconds * attempt.gpus, 3),
        where=attempt.where,
    )
    record_end(directory, end)
    return end


def never_started(job: str, kind: EndKind, reason: str) -> End:
    """The end of a submission whose process never came as far as claiming an attempt."""
    return End(job=job, attempt=0, kind=kind, reason=reason)


def _highest(folder: Path) -> int:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return 0
    return max(
        (int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit()), default=0
    )
