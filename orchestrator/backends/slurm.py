"""Jobs on Slurm, through submitit: arrays within the cluster's limits, followed by files, not by questions.

Jobs say how they are and how they ended in the sweep directory. Slurm itself is asked once in 30 s, for all
jobs together, and only an answer that nothing contradicts is believed: a job that is gone from the queue,
that left no record, and that the accounting calls ended.
"""

import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...results.store import published_jobs
from ..attempt import (
    End,
    Running,
    latest_attempt,
    lost,
    never_started,
    read_attempt,
    read_end,
    record_end,
)
from ..directory import SweepDirectory
from ..failures import EndKind
from ..journal import Journal, Submission
from ..plan import Job
from . import slurm_commands as slurm
from .backend import BackendError, Event, TaskOf
from .slurm_submission import FullError, Resources, UnclearError, parameters_of, resources_of, submit_array
from .slurm_task import SlurmTask

ASK_SECONDS = 30.0
LOOK_SECONDS = 1.0
PROGRESS_LOOKS = 50
"""Heartbeats read in one look; with more jobs running each is read less often."""

LONGEST_PAUSE = 30.0
END_SECONDS = 60.0

_ENDS: dict[str, EndKind] = {
    "CANCELLED": "cancelled",
    "TIMEOUT": "time-out",
    "DEADLINE": "time-out",
    "PREEMPTED": "pre-empted",
    "NODE_FAIL": "node-failure",
    "BOOT_FAIL": "node-failure",
    "OUT_OF_MEMORY": "out-of-memory",
    "FAILED": "killed",
    "COMPLETED": "no-result",
}
_TWICE = ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "")
"""States that may be a job's that is about to be requeued: believed when they are still there 30 s later."""


@dataclass(slots=True)
class _Flight:
    """A job in Slurm's hands. `id` is None while it is not known whether Slurm has it.

    `attempt` is the highest whose end is known. `held` is an end that waits until those of the attempts
    before it, which Slurm requeued without a word, are explained.
    """

    job: str
    name: str
    id: str | None
    attempt: int
    running: bool = False
    missed: int = 0
    held: End | None = None


class SlurmBackend:
    """Raises BackendError where Slurm is not there or refuses for good."""

    def __init__(
        self,
        directory: SweepDirectory,
        journal: Journal,
        task_of: TaskOf,
        options: Mapping[str, Any],
        at_once: int | None,
        prefix: str,
    ) -> None:
        self._directory, self._journal, self._task_of = directory, journal, task_of
        self._options, self._at_once, self._prefix = options, at_once, prefix
        try:
            self._limits = slurm.limits()
        except slurm.SlurmSilentError as error:
            raise BackendError(f"--backend slurm: {error}; see mutransfer doctor") from None
        self._flights: dict[str, _Flight] = {}
        self._seen: set[str] = set()
        self._unclear: list[Submission] = []
        self._count = 0
        self._ceiling, self._pause, self._resume = self._limits.jobs, 0.0, 0.0
        self._asked, self._looked, self._turn = -math.inf, 0.0, 0
        self._longer: dict[str, int] = {}
        self._larger: dict[str, int] = {}
        self._excluded: dict[str, str] = {}

    def adopt(self, left: Mapping[str, Submission]) -> None:
        """Takes over what earlier drivers submitted; what has no answer on record is looked up by name."""
        self._seen = set(os.listdir(self._directory.ended)) if self._directory.ended.exists() else set()
        for job, submission in left.items():
            self._flights[job] = self._flight(job, submission)
            if submission.handle is None and submission not in self._unclear:
                self._unclear.append(submission)
        self._resolve()

    def in_flight(self) -> set[str]:
        return set(self._flights)

    def running(self) -> set[str]:
        return {flight.job for flight in self._flights.values() if flight.running}

    def room(self) -> int:
        if self._unclear or time.monotonic() < self._resume:
            return 0
        room = min(self._ceiling, self._at_once or self._ceiling) - len(self._flights)
        # Not one by one as single jobs end: every submission is a call that the whole cluster waits for.
        return 0 if self._flights and room < min(self._ceiling, self._at_once or self._ceiling) // 4 else room

    def submit(self, jobs: Sequence[Job]) -> list[str]:
        """One array of the first jobs that ask for the same; what is refused for want of room comes again."""
        first = self._resources(jobs[0])
        alike = [job for job in jobs if self._resources(job) == first][: self._limits.array]
        size = len(alike)
        while size:
            if self._submit_array(alike[:size], first):
                if size < len(alike):
                    self._ceiling = len(self._flights)
                self._pause = 0.0
                return [job.id for job in alike[:size]]
            size //= 2
        self._ceiling = max(1, len(self._flights))
        self._pause = min(LONGEST_PAUSE, max(1.0, 2 * self._pause))
        self._resume = time.monotonic() + self._pause
        return []

    def poll(self, seconds: float) -> list[Event]:
        time.sleep(seconds)
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return []
        self._looked = time.monotonic()
        events = [*self._ends(), *self._progress()]
        if time.monotonic() - self._asked >= ASK_SECONDS:
            self._asked = time.monotonic()
            try:
                events += self._resolve()
                events += self._ask()
            except slurm.SlurmSilentError:
                pass  # jobs go on without the controller; so do we
            if self._ceiling < self._limits.jobs:
                self._ceiling = min(self._limits.jobs, 2 * self._ceiling)  # others may have left
        return events

    def kill(self, job: str) -> None:
        """Ends it in Slurm; the attempt is called hung."""
        flight = self._flights.get(job)
        if flight is None or flight.id is None:
            return
        attempt = latest_attempt(self._directory, job)
        if attempt is not None and not self._directory.end(job, attempt.number).exists():
            reason = f"its heartbeat stood still on {attempt.where}"
            record_end(self._directory, lost(attempt, "hung", reason))
        slurm.cancel([flight.id])

    def close(self, cancel: bool) -> set[str]:
        if not cancel or not self._flights:
            return set()
        names = {flight.name for flight in self._flights.values()}
        for name in names:
            slurm.cancel_named(name)
        deadline = time.monotonic() + END_SECONDS
        while time.monotonic() < deadline and any(slurm.queued_as(name) for name in names):
            time.sleep(LOOK_SECONDS)
        return self.in_flight()

    def _resources(self, job: Job) -> Resources:
        gpus = self._task_of(job.id).gpus
        longer, larger = self._longer.get(job.id, 0), self._larger.get(job.id, 0)
        return resources_of(job, gpus, longer, larger, self._excluded.get(job.id, ""))

    def _submit_array(self, jobs: Sequence[Job], resources: Resources) -> bool:
        """Whether Slurm took the array, as far as anybody knows."""
        self._count += 1
        name, ids = f"{self._prefix}.{self._count}", [job.id for job in jobs]
        self._journal.submitting("slurm", name, ids)
        parameters = parameters_of(name, resources, self._options, self._limits.array)
        limit = 60.0 * parameters["time"]
        tasks = [SlurmTask(self._task_of(job_id).text(), limit) for job_id in ids]
        submission = Submission("slurm", name, ids)
        try:
            handle = submit_array(self._directory.path / "slurm", tasks, parameters)
        except UnclearError:
            self._unclear.append(submission)
        except (FullError, BackendError) as error:
            self._journal.refused(name)
            if isinstance(error, BackendError):
                raise
            return False
        else:
            submission.handle = handle
            self._journal.submitted("slurm", name, handle, ids)
        self._flights |= {job_id: self._flight(job_id, submission) for job_id in ids}
        return True

    def _resolve(self) -> list[Event]:
        """Submissions of which nobody knows whether Slurm took them.

        Their tasks wait for submitit's files, which were not put in place, or run already where only the
        answer was lost. Found under the name and whole: adopted. Otherwise cancelled, and returned.
        """
        returned: list[Event] = []
        for submission in list(self._unclear):
            try:
                ids = {key.partition("_")[0] for key in slurm.queued_as(submission.name)}
                ids = ids or slurm.accounted_as(submission.name)
                adopted = len(ids) == 1 and self._adopted(submission, *ids)
                if ids and not adopted:
                    slurm.cancel_named(submission.name)
                    if slurm.queued_as(submission.name):
                        break  # until they are gone
            except slurm.SlurmSilentError:
                break
            self._unclear.remove(submission)
            if not adopted:
                self._journal.refused(submission.name)
                held = [job for job in submission.jobs if self._flights.pop(job, None) is not None]
                returned += [Event(job, returned=True) for job in held]
        return returned

    def _adopted(self, submission: Submission, handle: str) -> bool:
        known = replace(submission, handle=handle)
        ids = {job: _task_id(known, job) for job in submission.jobs}
        files = self._directory.path / "slurm"
        if not all((files / f"{task}_submitted.pkl").exists() for task in ids.values()):
            return False
        for job in self._flights.keys() & ids:
            self._flights[job].id = ids[job]
        self._journal.submitted("slurm", submission.name, handle, submission.jobs)
        return True

    def _ends(self) -> Iterator[Event]:
        """Attempts that ended since the last look, by their own records."""
        try:
            names = set(os.listdir(self._directory.ended))
        except FileNotFoundError:
            return
        for name in sorted(names - self._seen):
            if name.startswith("."):
                continue
            end = read_end(self._directory.ended / name)
            if end is None:
                continue  # cut off by a crash; Slurm will say that the job is gone
            self._seen.add(name)
            flight = self._flights.get(end.job)
            if flight is None:
                continue
            if end.kind == "superseded":
                yield Event(end.job, end=replace(end, requeued=True))  # by a later run of the same job
            elif self._unexplained(flight, end.attempt):
                flight.held = end
            else:
                yield self._ended(end)

    def _progress(self) -> Iterator[Event]:
        running = sorted(self.running())
        chosen = running[self._turn : self._turn + PROGRESS_LOOKS]
        self._turn = self._turn + PROGRESS_LOOKS if chosen else 0
        for job in chosen:
            attempt = latest_attempt(self._directory, job)
            if attempt is not None:
                yield Event(job, attempt.step, attempt.diverged)

    def _ask(self) -> list[Event]:
        """One look at the queue, and at the accounting for what is gone from it without a record."""
        queued = slurm.queue()
        missing = []
        for flight in self._flights.values():
            if flight.id is None:
                continue
            state = queued.get(flight.id)
            flight.running = state is not None and state.state == "RUNNING"
            flight.missed = 0 if state is not None else flight.missed + 1
            if flight.missed:
                missing.append(flight)
        published = published_jobs(self._directory.path) if missing else set()
        missing = [flight for flight in missing if flight.job not in published or flight.missed > 1]
        requeued = {job: lost for job in self._flights if (lost := self._requeued(job))}
        asked = {flight.id for flight in missing} | {self._flights[job].id for job in requeued}
        if not asked:
            return []
        known = slurm.accounting({job_id.partition("_")[0] for job_id in asked if job_id})
        events = []
        for job, attempts in requeued.items():
            events += self._explained(
                self._flights[job], attempts, known.get(self._flights[job].id or "", [])
            )
        for flight in missing:
            told = known.get(flight.id or "", [slurm.Accounted("", "")])[-1]
            if flight.job in self._flights and (flight.missed > 1 or told.state not in _TWICE):
                events += self._gone(flight, told)
        return events

    def _requeued(self, job: str) -> list[Running]:
        """Attempts that a later one of the same job follows, and that did not say how they ended."""
        flight = self._flights[job]
        attempt = latest_attempt(self._directory, job)
        if attempt is None or attempt.number <= flight.attempt + 1:
            return []
        return self._unexplained(flight, attempt.number)

    def _unexplained(self, flight: _Flight, before: int) -> list[Running]:
        numbers = range(flight.attempt + 1, before)
        open_ = [n for n in numbers if not self._directory.end(flight.job, n).exists()]
        attempts = (read_attempt(self._directory, flight.job, n) for n in open_)
        return [attempt for attempt in attempts if attempt is not None]

    def _explained(
        self, flight: _Flight, attempts: Sequence[Running], runs: Sequence[slurm.Accounted]
    ) -> list[Event]:
        """Ends of attempts that Slurm requeued without their knowing: a dead node, mostly."""
        failed = any(run.state in ("NODE_FAIL", "BOOT_FAIL") for run in runs)
        kind: EndKind = "node-failure" if failed else "pre-empted"
        events = []
        for attempt in attempts:
            end = lost(attempt, kind, f"Slurm requeued job {flight.id}")
            record_end(self._directory, end)
            self._seen.add(self._directory.end(flight.job, attempt.number).name)
            events.append(Event(flight.job, end=replace(end, requeued=True)))
            flight.attempt = attempt.number
        if flight.held is not None:
            events.append(self._ended(flight.held))
        return events

    def _flight(self, job: str, submission: Submission) -> _Flight:
        """A job newly in Slurm's hands; attempts that have ended already are not looked at again."""
        attempt = latest_attempt(self._directory, job)
        ended = attempt is not None and self._directory.end(job, attempt.number).exists()
        number = 0 if attempt is None else attempt.number - (not ended)
        return _Flight(job, submission.name, _task_id(submission, job), number)

    def _gone(self, flight: _Flight, told: slurm.Accounted) -> list[Event]:
        """The end of a job that Slurm has no longer and that did not say how it ended."""
        if told.state not in _ENDS and told.state:
            return []  # pending or running after all
        job, kind = flight.job, _ENDS.get(told.state, "killed")
        reason = f"Slurm job {flight.id}: {told.state or 'gone without a word in the accounting'}"
        reason += f" on {told.nodes}" if told.nodes not in ("", "None assigned") else ""
        attempt = latest_attempt(self._directory, job)
        if attempt is None:
            reason += f"; see {self._directory.path / 'slurm' / f'{flight.id}_0_log.err'}"
            return [self._ended(never_started(job, kind, reason), told.nodes)]
        recorded = read_end(self._directory.end(job, attempt.number))
        # One that said it would be requeued, or was taken for superseded: Slurm knows better.
        end = replace(recorded, requeued=False) if recorded else lost(attempt, kind, reason)
        return [self._ended(end, told.nodes)]

    def _ended(self, end: End, node: str = "") -> Event:
        self._flights[end.job].attempt = max(self._flights[end.job].attempt, end.attempt)
        if not end.requeued:
            del self._flights[end.job]
            self._pause, self._resume = 0.0, min(self._resume, time.monotonic() + 1.0)
        if end.kind == "time-out":
            self._longer[end.job] = self._longer.get(end.job, 0) + 1
        if end.kind == "out-of-memory":
            self._larger[end.job] = self._larger.get(end.job, 0) + 1
        if end.kind == "node-failure" and re.fullmatch(r"[\w.-]+", node):
            self._excluded[end.job] = node
        return Event(end.job, diverged=end.diverged, end=end)


def _task_id(submission: Submission, job: str) -> str | None:
    """How Slurm names a job of a submission: one that was submitted alone is no array."""
    if submission.handle is None or len(submission.jobs) == 1:
        return submission.handle
    return f"{submission.handle}_{submission.jobs.index(job)}"
