"""The driver: reconciles the sweep directory with the sweep file and has the rest trained.

Running it again is the resume: finished trials are kept, everything else is scheduled.
"""

import io
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ruamel.yaml import YAML

from ..models.data.corpus import materialise
from ..results.store import finished_trials, quarantine
from ..sweeps.cost import training_tokens
from ..sweeps.load import Sweep, resolved
from ..sweeps.trial import Trial
from .backends.local import Event, LocalPool
from .directory import SweepDirectory
from .plan import Device, Job, plan_jobs
from .provenance import invocation

MAX_ATTEMPTS = 3
"""Attempts of a job whose worker keeps dying. An error in the code is not tried again: it would recur."""

POLL_SECONDS = 0.2


class Watcher(Protocol):
    """Shows how a run goes; the driver only reports."""

    def started(self, work: "Work") -> None: ...
    def progressed(self, event: Event) -> None: ...
    def ended(self, event: Event, job: Job) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Work:
    """What a run has to do: the whole plan, and the jobs that still hold unfinished trials."""

    jobs: tuple[Job, ...]
    remaining: tuple[Job, ...]
    trials: int
    done: int


def reconcile(trials: Sequence[Trial], recorded: Sequence[Job], done: set[str], device: Device) -> Work:
    """Pure: jobs as first planned, jobs for new trials, and which of them still have work."""
    wanted = {trial.id for trial in trials}
    planned = {trial.id for job in recorded for trial in job.trials}
    jobs = [*recorded, *plan_jobs(trials, device, planned)]
    remaining = [
        job for job in jobs if any(trial.id in wanted and trial.id not in done for trial in job.trials)
    ]
    remaining.sort(key=lambda job: -job.seconds)
    return Work(tuple(jobs), tuple(remaining), len(wanted), len(wanted & done))


def prepare(sweep: Sweep, directory: SweepDirectory, device: Device, watcher: Watcher) -> Work:
    """Writes what the workers need and returns the work. Raises DirectoryError."""
    directory.write_sweep(sweep.spec.name, _yaml_text(sweep))
    directory.write_data(materialise(sweep.corpus, directory.data))
    done, broken = finished_trials(directory.path)
    for item in broken:
        watcher.note(f"{item.path}: unreadable ({item.reason}); moved aside, its trials run again")
    quarantine(broken)
    work = reconcile(sweep.expansion.trials, directory.read_plan(), done, device)
    directory.write_plan(work.jobs, sweep.expansion.trials)
    directory.add_provenance(invocation(device))
    return work


def run(work: Work, directory: SweepDirectory, pool: LocalPool, watcher: Watcher) -> dict[str, str]:
    """Has the remaining jobs trained; returns the jobs that failed, with the reason of each.

    Failed jobs do not stop the others.
    """
    jobs = {job.id: job for job in work.remaining}
    waiting = deque(jobs)
    running: set[str] = set()
    attempts: dict[str, int] = {}
    failed: dict[str, str] = {}
    watcher.started(work)
    while waiting or running:
        while waiting and pool.has_room():
            job_id = waiting.popleft()
            attempts[job_id] = attempts.get(job_id, 0) + 1
            running.add(job_id)
            pool.submit(job_id)
        event = pool.wait(POLL_SECONDS)
        if event is None:
            continue
        if event.kind == "progress":
            watcher.progressed(event)
            continue
        running.discard(event.job)
        watcher.ended(event, jobs[event.job])
        if event.kind == "finished":
            continue
        directory.add_failure(event.job, {"kind": event.kind, "reason": event.reason, "time": time.time()})
        if event.kind == "lost" and attempts[event.job] < MAX_ATTEMPTS:
            waiting.append(event.job)
        else:
            failed[event.job] = f"{event.reason}; log: {directory.written_log(event.job)}"
    return failed


def job_tokens(job: Job) -> int:
    """Tokens that a job trains on, all its trials together."""
    return sum(training_tokens(trial.recipe) for trial in job.trials)


def _yaml_text(sweep: Sweep) -> str:
    text = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.dump(resolved(sweep.spec), text)
    return text.getvalue()
