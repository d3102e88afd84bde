"""How a sweep stands, from its directory alone: any process on any host may ask, at any time."""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...results.store.store import published_jobs, unsound
from ..record.attempt import End, latest_attempt
from ..record.directory import IMPORTED, SweepDirectory
from ..record.journal import History, has_nothing, read_journal, replay
from ..record.lease import Held, drives, holder

State = Literal["running", "done", "failed", "incomplete"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Trials. `extra`: planned by an earlier sweep file, not asked for now."""

    wanted: int
    finished: int
    diverged: int
    running: int
    waiting: int
    failed: int
    extra: int


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that some process is at. `quiet_seconds` since its last heartbeat."""

    job: str
    trials: int
    attempt: int
    step: int
    steps: int
    where: str
    quiet_seconds: float


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job that was given up, and why."""

    job: str
    trials: tuple[str, ...]
    kind: str
    reason: str
    log: str


@dataclass(frozen=True, slots=True)
class Cost:
    """Attempts so far; `lost` is what attempts without a result took."""

    attempts: int
    failures: dict[str, int]
    seconds: float
    gpu_seconds: float
    lost_seconds: float
    lost_gpu_seconds: float


@dataclass(frozen=True, slots=True)
class Status:
    """A sweep at one moment."""

    name: str
    state: State
    backend: str
    driver: str | None
    counts: Counts
    running: tuple[RunningJob, ...]
    failed: tuple[FailedJob, ...]
    cost: Cost
    problems: tuple[str, ...]
    """What of the directory cannot be read or is not there."""


@dataclass(slots=True)
class _Jobs:
    """The jobs of a plan by what becomes of them."""

    finished: list[str] = field(default_factory=list)
    running: list[RunningJob] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


def sweep_status(directory: SweepDirectory) -> Status:
    """Raises DirectoryError for no sweep."""
    name = directory.must_exist()
    planned, wanted = directory.planned(), directory.wanted_trials()
    history = replay(read_journal(directory.journal))
    held = holder(directory.path)
    driven = held is not None and drives(directory.path, held)
    broken = unsound(directory.path)
    published = published_jobs(directory.path)
    jobs = _sorted(directory, planned, history, driven, published - {Path(item.path).stem for item in broken})
    # A trial that was stopped early and is wanted whole is in two jobs: the later one is to train it.
    last = {trial: job for job, trials in planned.items() for trial in trials}
    ids = {
        job: [trial for trial in trials if trial in wanted and last[trial] == job]
        for job, trials in planned.items()
    }
    counts = Counts(
        wanted=len(wanted),
        finished=_trials(ids, jobs.finished),
        diverged=sum(history.diverged.get(job, 0) for job in jobs.finished),
        running=_trials(ids, [running.job for running in jobs.running]),
        waiting=_trials(ids, jobs.waiting),
        failed=_trials(ids, jobs.failed),
        extra=len(last) - sum(map(len, ids.values())),
    )
    failed = tuple(_failed(directory, history.given_up[job], ids[job]) for job in jobs.failed)
    problems = [item.told for item in broken]
    if has_nothing(directory.journal):
        problems.append(
            f"{directory.journal}: nothing in it can be read; attempts and their cost are not known"
        )
    lacks_plan = not planned and not driven and published != {IMPORTED}
    if lacks_plan:
        problems.append(f"{directory.path}: has no plan; run the sweep again")
    state = "incomplete" if lacks_plan else _state(counts, driven)
    return Status(
        name, state, history.backend, _driver(held, driven), counts,
        tuple(jobs.running), failed, _cost(history), tuple(problems),
    )  # fmt: skip


def failed_trials(directory: SweepDirectory) -> set[str]:
    """Trials of the jobs that the last run gave up."""
    return {trial for job in sweep_status(directory).failed for trial in job.trials}


def status_object(status: Status) -> dict[str, Any]:
    return {"schema": 1, **asdict(status)}


def _sorted(
    directory: SweepDirectory,
    planned: dict[str, list[str]],
    history: History,
    driven: bool,
    published: set[str],
) -> _Jobs:
    alive = history.in_flight if driven else history.left()
    jobs = _Jobs()
    for job in planned:
        if job in published:
            jobs.finished.append(job)
        elif job in alive and (running := _running(directory, job)) is not None:
            jobs.running.append(running)
        elif job in history.given_up and job not in alive:
            jobs.failed.append(job)
        else:
            jobs.waiting.append(job)
    return jobs


def _running(directory: SweepDirectory, job: str) -> RunningJob | None:
    attempt = latest_attempt(directory, job)
    if attempt is None or directory.end(job, attempt.number).exists():
        return None
    trials, _ = directory.read_job(job)
    return RunningJob(
        job, len(trials), attempt.number, attempt.step, trials[0].program.steps,
        f"{attempt.backend}, {attempt.where}", max(0.0, round(time.time() - attempt.beaten, 1)),
    )  # fmt: skip


def _failed(directory: SweepDirectory, end: End, trials: list[str]) -> FailedJob:
    return FailedJob(end.job, tuple(trials), end.kind, end.reason, str(directory.written_log(end.job)))


def _trials(ids: dict[str, list[str]], jobs: list[str]) -> int:
    return sum(len(ids[job]) for job in jobs)


def _state(counts: Counts, driven: bool) -> State:
    if driven:
        return "running"
    if counts.finished == counts.wanted:
        return "done"
    return "failed" if counts.failed else "incomplete"


def _driver(held: Held | None, driven: bool) -> str | None:
    return str(held) if held is not None and driven else None


def _cost(history: History) -> Cost:
    return Cost(
        attempts=history.attempts,
        failures=dict(sorted(history.failures.items())),
        seconds=round(history.seconds, 3),
        gpu_seconds=round(history.gpu_seconds, 3),
        lost_seconds=round(history.lost_seconds, 3),
        lost_gpu_seconds=round(history.lost_gpu_seconds, 3),
    )
