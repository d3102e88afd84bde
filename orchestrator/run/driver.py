"""The driver: has the remaining jobs run on a backend and decides what follows from each end.

The same on every backend. All state is in the sweep directory; a driver that dies is followed by the next.
"""

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from ...models.recipe.fault import INTERRUPTED, PREFLIGHT, Fault
from ...results.store.store import diverged_trials
from ..backends.backend import Backend, Event
from ..planning.plan import Job, halves
from ..record.attempt import End, latest_attempt
from ..record.directory import SweepDirectory
from ..record.failures import decide
from ..record.journal import Journal
from ..record.lease import Lease
from .reconcile import Work

POLL_SECONDS = 0.2
LOOK_SECONDS = 1.0


class CancelledError(Fault):
    """Somebody asked for the sweep to be stopped, from this host or another."""

    exit_code = INTERRUPTED


class StoppedError(Fault):
    """No job can go on until the user has mended something; the message says what."""

    exit_code = PREFLIGHT


class Watcher(Protocol):
    """Shows how a run goes; the driver only reports."""

    def started(self, work: Work) -> None: ...
    def progressed(self, event: Event) -> None: ...
    def ended(self, end: End, job: Job, action: str) -> None: ...
    def split(self, job: Job, parts: Sequence[Job]) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user decides about failures."""

    fail_fast: bool
    hang_seconds: float


class Driver:
    """Drives one run. `run` raises LostLeaseError, CancelledError, StoppedError or BackendError."""

    def __init__(
        self,
        work: Work,
        directory: SweepDirectory,
        backend: Backend,
        journal: Journal,
        lease: Lease,
        watcher: Watcher,
        policy: Policy,
    ) -> None:
        self._directory, self._backend, self._journal = directory, backend, journal
        self._lease, self._watcher, self._policy = lease, watcher, policy
        self._work = work
        self._plan = {job.id: job for job in work.jobs}
        adopted = backend.in_flight()
        self._running = {job.id for job in work.remaining if job.id in adopted}
        self._waiting = deque(job.id for job in work.remaining if job.id not in adopted)
        self._failures: dict[str, int] = {}
        self._unbegun: dict[str, int] = {}
        self._checkpoint: dict[str, int] = {}
        self._failed: dict[str, End] = {}
        self._stalled = _Stalled(directory, policy.hang_seconds)
        self._looked = 0.0

    def run(self) -> dict[str, End]:
        """Returns the jobs that were given up, with the end of their last attempt."""
        self._watcher.started(self._work)
        while self._waiting or self._running:
            self._look_around()
            self._submit()
            events = self._backend.poll(POLL_SECONDS)
            if any(event.end is not None for event in events):
                self._lease.check()  # this process may have stood still in between
            for event in events:
                self._apply(event)
            if self._failed and self._policy.fail_fast:
                break
        return self._failed

    def _look_around(self) -> None:
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        self._lease.check()
        if self._directory.cancel_request.exists():
            raise CancelledError(f"{self._directory.path}: cancelled on request; run it again to go on")
        if self._stalled.due():
            for job in self._stalled.among(self._backend.running() & self._running):
                self._backend.kill(job)

    def _submit(self) -> None:
        room = min(self._backend.room(), len(self._waiting))
        if room <= 0:
            return
        offered = [self._plan[self._waiting.popleft()] for _ in range(room)]
        taken = set(self._backend.submit(offered))
        self._waiting.extendleft(job.id for job in reversed(offered) if job.id not in taken)
        self._running |= taken

    def _apply(self, event: Event) -> None:
        if event.job not in self._running:
            return  # of a job that this run does not ask for
        if event.returned:
            self._running.discard(event.job)
            self._waiting.appendleft(event.job)
            return
        if event.end is None:
            self._watcher.progressed(event)
            return
        self._stalled.forget(event.job)
        end, job = self._checked(event.end), self._plan[event.job]
        if end.requeued:
            self._journal.ended(end, "requeued")
            self._watcher.ended(end, job, "requeued")
            return
        self._running.discard(event.job)
        action = "done" if end.kind == "finished" else self._decide(end, job)
        self._journal.ended(end, action)
        self._watcher.ended(end, job, action)
        match action:
            case "retry":
                self._waiting.appendleft(job.id)
            case "split":
                self._split(job)
            case "accumulate":
                _, parts = self._directory.read_job(job.id)
                self._directory.cut_batches(job, 2 * parts)
                self._waiting.appendleft(job.id)
            case "give up":
                self._failed[job.id] = end
            case "stop":
                raise StoppedError(f"{end.reason}; free some space and run the sweep again")

    def _checked(self, end: End) -> End:
        """A job is done when its result is there, whatever its process says."""
        there = self._directory.result(end.job).exists()
        if end.kind == "finished" and not there:
            return replace(end, kind="no-result", reason="the job says it is done, but left no result")
        if end.kind != "finished" and there:
            diverged = None
            with suppress(OSError):  # not readable just now: the next attempt finds it there
                diverged = diverged_trials(self._directory.path, end.job)
            if diverged is not None:
                return replace(end, kind="finished", diverged=diverged, requeued=False)
        return end

    def _decide(self, end: End, job: Job) -> str:
        assert end.kind != "finished"
        step = self._directory.checkpoint_step(job.id)
        progressed = step > self._checkpoint.get(job.id, 0)
        self._checkpoint[job.id] = step
        _, parts = self._directory.read_job(job.id)
        more_parts = 2 * parts <= job.trials[0].program.most_parts
        self._unbegun[job.id] = self._unbegun.get(job.id, 0) + 1 if end.kind == "unbegun" else 0
        failures, unbegun = self._failures.get(job.id, 0), self._unbegun[job.id]
        decision = decide(end.kind, failures, progressed, len(job.trials), more_parts, unbegun)
        self._failures[job.id] = decision.failures
        return decision.action

    def _split(self, job: Job) -> None:
        parts = halves(job)
        self._directory.split(job, parts)
        self._journal.split(job.id, [part.id for part in parts])
        del self._plan[job.id]
        self._plan.update({part.id: part for part in parts})
        self._directory.write_plan(list(self._plan.values()), self._work.wanted)
        self._watcher.split(job, parts)
        self._waiting.extendleft(part.id for part in parts)


class _Stalled:
    """Jobs whose heartbeat has stood still for too long: a stopped process, a machine that hangs.

    A process that runs but makes no step ends itself (`Attempt.beating`).
    """

    def __init__(self, directory: SweepDirectory, seconds: float) -> None:
        self._directory, self._seconds = directory, seconds
        self._seen: dict[str, tuple[object, float]] = {}
        self._looked = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self._looked >= self._seconds / 4

    def among(self, jobs: set[str]) -> list[str]:
        self._looked = now = time.monotonic()
        self._seen = {job: seen for job, seen in self._seen.items() if job in jobs}
        stalled = []
        for job in jobs:
            attempt = latest_attempt(self._directory, job)
            beat = attempt and (attempt.number, attempt.beat)
            known, since = self._seen.get(job, (None, now))
            if job not in self._seen or known != beat:
                self._seen[job] = (beat, now)
            elif now - since > self._seconds:
                stalled.append(job)
        return stalled

    def forget(self, job: str) -> None:
        self._seen.pop(job, None)
