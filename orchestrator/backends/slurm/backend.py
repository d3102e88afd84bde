"""Jobs on Slurm: asked for in arrays within the cluster's limits, followed by files, not by questions."""

import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ...planning.plan import Job
from ...record.directory import SweepDirectory
from ...record.journal import Journal, Submission
from ..backend import BackendError, Event, TaskOf
from ..heartbeats import Heartbeats
from . import commands as slurm
from .flights import Flights
from .submission import (
    FullError,
    Resources,
    UnclearError,
    launcher_of,
    parameters_of,
    resources_of,
    submit_array,
)
from .task import SlurmTask

ASK_SECONDS = float(os.environ.get("MUTRANSFER_SLURM_SECONDS", "30"))
"""Slurm is asked how its jobs are no more often than this, however many they are. Tests ask more often."""

LOOK_SECONDS = 1.0
LONGEST_PAUSE = 30.0
END_SECONDS = 60.0


class SlurmBackend:
    """Takes over `left`, what earlier drivers submitted. Raises BackendError where Slurm is not there."""

    def __init__(
        self,
        directory: SweepDirectory,
        journal: Journal,
        task_of: TaskOf,
        options: Mapping[str, Any],
        at_once: int | None,
        prefix: str,
        left: Mapping[str, Submission],
    ) -> None:
        self._directory, self._journal, self._task_of = directory, journal, task_of
        self._options, self._prefix, self._count = options, prefix, 0
        try:
            self._limits = slurm.limits()
        except slurm.SlurmSilentError as error:
            raise BackendError(f"--backend slurm: {error}; see mutransfer doctor") from None
        self._most = min(at_once or self._limits.jobs, self._limits.jobs)
        self._ceiling, self._pause, self._resume = self._most, 0.0, 0.0
        self._asked, self._looked = -math.inf, 0.0
        self._longer: dict[str, int] = {}
        self._larger: dict[str, int] = {}
        self._heartbeats = Heartbeats(directory)
        self._flights = Flights(directory, journal)
        self._flights.adopt(left)

    def in_flight(self) -> set[str]:
        return self._flights.jobs()

    def running(self) -> set[str]:
        return self._flights.running()

    def room(self) -> int:
        if self._flights.unclear or time.monotonic() < self._resume:
            return 0
        room = self._ceiling - len(self._flights)
        # Not one by one as single jobs end: every submission is a call that the whole cluster waits for.
        return 0 if len(self._flights) and room < self._ceiling // 4 else room

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
        events = [*self._flights.ends(), *self._heartbeats.news(self.running())]
        if time.monotonic() - self._asked >= ASK_SECONDS:
            self._asked = time.monotonic()
            with suppress(slurm.SlurmSilentError):  # jobs go on without the controller; so do we
                events += self._flights.resolve()
                events += self._flights.ask()
            self._ceiling = min(self._most, 2 * self._ceiling)  # others may have left
        self._learn(events)
        return events

    def kill(self, job: str) -> None:
        """Ends it in Slurm; when it is gone, its attempt is called hung."""
        job_id = self._flights.id(job)
        if job_id is not None:
            with suppress(slurm.SlurmSilentError):  # it is found standing still again
                slurm.cancel([job_id])
                self._flights.hung.add(job)

    def close(self, cancel: bool) -> set[str]:
        """Raises BackendError where jobs cannot be ended."""
        if not cancel or not len(self._flights):
            return set()
        end_named(self._flights.names())
        return self.in_flight()

    def _resources(self, job: Job) -> Resources:
        gpus = self._task_of(job).gpus
        longer, larger = self._longer.get(job.id, 0), self._larger.get(job.id, 0)
        return resources_of(job, gpus, longer, larger, self._flights.failed_on.get(job.id, ""))

    def _submit_array(self, jobs: Sequence[Job], resources: Resources) -> bool:
        """Whether Slurm took the array, as far as anybody knows.

        What a retried job asks for beyond the first time may be more than there is: then it asks for that.
        """
        try:
            return self._ask_for(jobs, resources)
        except BackendError:
            first = resources_of(jobs[0], self._task_of(jobs[0]).gpus, 0, 0, "")
            if first == resources:
                raise
            for job in jobs:
                for more in (self._longer, self._larger, self._flights.failed_on):
                    more.pop(job.id, None)
            return self._ask_for(jobs, first)

    def _ask_for(self, jobs: Sequence[Job], resources: Resources) -> bool:
        self._count += 1
        submission = Submission("slurm", f"{self._prefix}.{self._count}", [job.id for job in jobs])
        self._journal.submitting("slurm", submission.name, submission.jobs)
        parameters = parameters_of(submission.name, resources, self._options, self._limits.array)
        limit = 60.0 * parameters["time"]
        launcher = launcher_of(self._options)
        tasks = [SlurmTask(replace(self._task_of(job), launcher=launcher).text(), limit) for job in jobs]
        try:
            submission.handle = submit_array(self._directory.path / "slurm", tasks, parameters)
            self._journal.submitted("slurm", submission.name, submission.handle, submission.jobs)
        except UnclearError:
            pass  # without a handle: found by its name
        except FullError:
            self._journal.refused(submission.name)
            return False
        except BackendError:
            self._journal.refused(submission.name)
            raise
        self._flights.add(submission, submission.jobs)
        return True

    def _learn(self, events: Iterable[Event]) -> None:
        """What ended makes room, and what was too little is asked for twice the next time."""
        for event in events:
            if event.end is None:
                continue
            if not event.end.requeued:
                self._pause, self._resume = 0.0, min(self._resume, time.monotonic() + 1.0)
            if event.end.kind == "time-out" and not event.end.requeued:
                self._longer[event.job] = self._longer.get(event.job, 0) + 1
            if event.end.kind == "out-of-memory" and event.end.reason.startswith("Slurm"):
                self._larger[event.job] = self._larger.get(event.job, 0) + 1  # of the host, not the GPU


def end_named(names: Iterable[str]) -> None:
    """Ends the jobs of these submissions and waits until they are gone. Raises BackendError."""
    waiting = sorted(names)
    deadline = time.monotonic() + END_SECONDS
    try:
        for name in waiting:
            slurm.cancel_named(name)
        while any(slurm.queued_as(name) for name in waiting):
            if time.monotonic() > deadline:
                raise BackendError("Slurm has not ended all jobs yet; cancel again later")
            time.sleep(LOOK_SECONDS)
    except slurm.SlurmSilentError as error:
        raise BackendError(
            f"Slurm's jobs could not be ended ({error}); cancel the sweep again later"
        ) from None
