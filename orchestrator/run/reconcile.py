"""What is left to do of a sweep: the sweep file against the plan, the results and the jobs in flight.

Running a sweep again is its resume: finished trials are kept, everything else is scheduled.
"""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from ...results.store.store import published_jobs, quarantine, trial_fates
from ...sweeps.load import Sweep, resolved
from ...sweeps.trial import Trial
from ...sweeps.yaml_file import yaml_text
from ..planning.plan import Device, Job, plan_jobs
from ..record.attempt import BEAT_SECONDS, End, latest_attempt, record_lost
from ..record.directory import DirectoryError, SweepDirectory
from ..record.processes import kill

QUIET_SECONDS = 2 * BEAT_SECONDS
LONGEST_SECONDS = 10 * BEAT_SECONDS
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Work:
    """What a run has to do: the whole plan, and the jobs that still hold unfinished trials."""

    jobs: tuple[Job, ...]
    remaining: tuple[Job, ...]
    wanted: tuple[Trial, ...]
    done: int

    def only(self, trials: Collection[str]) -> Self:
        """The work of the jobs that hold one of these trials."""
        kept = tuple(job for job in self.remaining if any(trial.id in trials for trial in job.trials))
        return replace(self, remaining=kept)


def reconcile(
    trials: Sequence[Trial],
    recorded: Sequence[Job],
    done: set[str],
    device: Device,
    at_once: int,
    stopped: Collection[str] = (),
    published: Collection[str] = (),
    spread: bool = False,
) -> Work:
    """Pure: jobs as first planned, jobs for new trials, and which of them still have work.

    `stopped` trials were stopped early and are to be trained whole: the `published` jobs that stopped them do
    not count. `spread` is told `plan_jobs`.
    """
    wanted = {trial.id for trial in trials}
    left = {
        job.id: {trial.id for trial in job.trials if job.id not in published or trial.id not in stopped}
        for job in recorded
    }
    jobs = [*recorded, *plan_jobs(trials, device, at_once, set().union(*left.values()), spread)]
    missing = wanted - done
    remaining = [job for job in jobs if missing & left.get(job.id, {trial.id for trial in job.trials})]
    remaining.sort(key=lambda job: -job.seconds)
    return Work(tuple(jobs), tuple(remaining), tuple(trials), len(wanted & done))


def prepare(sweep: Sweep, directory: SweepDirectory, device: Device, at_once: int) -> tuple[Work, list[str]]:
    """Writes what the workers need; returns the work, and notes for the user. Raises DirectoryError."""
    directory.write_sweep(sweep.spec.name, yaml_text(resolved(sweep.spec)))
    if sweep.corpus is not None:
        directory.write_data(sweep.materialised(directory.data))
    done, stopped, broken = trial_fates(directory.path)
    if unread := [item for item in broken if not item.damaged]:
        told = "\n".join(f"{item.path}: cannot be read ({item.reason})" for item in unread)
        raise DirectoryError(f"{told}; it may be whole: nothing is trained until it can be, or is taken away")
    quarantine(broken)
    notes = [f"{b.path}: damaged ({b.reason}); moved aside, its trials run again" for b in broken]
    held = {job.id: job for job in _unsplit(directory)}
    now = {trial.id: trial for trial in sweep.expansion.trials}
    recorded = [_as_asked(job, now) for job in held.values()]
    whole = {job.id for job in recorded}
    notes += [
        f"{directory.job(job)}: job.json is damaged or gone; its trials are planned again"
        for job, trials in directory.planned().items()
        if job not in whole and not directory.superseded(job) and not done.issuperset(trials)
    ]
    prunes = sweep.spec.prune is not None
    stopped = set() if prunes else stopped
    published = published_jobs(directory.path) if stopped else ()
    work = reconcile(
        sweep.expansion.trials, recorded, done - stopped, device, at_once, stopped, published, prunes
    )
    for job in work.remaining:
        if job.id in held and _shared(job) != _shared(held[job.id]):
            directory.tell_anew(job)
    directory.write_plan(work.jobs, work.wanted, new=work.jobs[len(recorded) :])
    return work, notes


def _as_asked(job: Job, now: Mapping[str, Trial]) -> Job:
    """A program's job as the sweep file says it now: its place, time limit and signals are in no id."""
    if not _shared(job):
        return job
    return replace(job, trials=tuple(now.get(trial.id, trial) for trial in job.trials))


def _shared(job: Job) -> Mapping[str, Any]:
    return job.trials[0].program.definition


def as_recorded(trials: Sequence[Trial], directory: SweepDirectory) -> tuple[Trial, ...]:
    """The trials, each as it was planned before if its values differ from that in their last digits alone.

    Versions up to 0.1 made the values of a range from where it began.
    """
    planned = {trial for ids in directory.planned().values() for trial in ids}
    if not planned or all(trial.id in planned for trial in trials):
        return tuple(trials)
    before = {_rounded(trial): trial for job in directory.read_plan() for trial in job.trials}
    return tuple(trial if trial.id in planned else before.get(_rounded(trial), trial) for trial in trials)


def _rounded(trial: Trial) -> str:
    identity = trial.program.identity()
    rounded = {name: f"{v:.12g}" if isinstance(v, float) else v for name, v in identity.items()}
    return json.dumps(rounded, sort_keys=True, default=str)


def end_orphans(directory: SweepDirectory, jobs: Sequence[Job], adopted: set[str]) -> list[End]:
    """Sees to it that nobody is still at work on the jobs, but for the adopted ones.

    Processes of this machine are ended. One on another machine is waited for until its heartbeat stands
    still; should it wake up later, it finds a newer attempt and ends itself. Returns the ends of all
    attempts that earlier drivers left without one.
    """
    left = []
    for job in jobs:
        attempt = None if job.id in adopted else latest_attempt(directory, job.id)
        if attempt is not None and not directory.end(job.id, attempt.number).exists():
            left.append(attempt)
            if attempt.directory in (None, directory.inode):  # else this is a copy of where it is at work
                kill(attempt.process)
    elsewhere = [attempt for attempt in left if not attempt.process.here]
    _wait_for_quiet(directory, {attempt.job: attempt.beat for attempt in elsewhere})
    ends = []
    for attempt in left:
        if not directory.end(attempt.job, attempt.number).exists():
            ends.append(record_lost(directory, attempt, "killed", "its driver was gone"))
    return ends


def _wait_for_quiet(directory: SweepDirectory, beats: dict[str, int]) -> None:
    """Until nobody's heartbeat has moved for a while; those that go on are superseded by the next attempt."""
    if not beats:
        return
    end = time.monotonic() + LONGEST_SECONDS
    since = time.monotonic()
    while time.monotonic() < min(end, since + QUIET_SECONDS):
        time.sleep(LOOK_SECONDS)
        for job, beat in list(beats.items()):
            attempt = latest_attempt(directory, job)
            if attempt is not None and attempt.beat != beat:
                beats[job], since = attempt.beat, time.monotonic()


def _unsplit(directory: SweepDirectory) -> list[Job]:
    """The recorded plan with split jobs replaced by their parts, whose files were written first."""
    jobs = []
    for job in directory.read_plan():
        parts = [Job(part, directory.read_job(part)[0], 0.0) for part in directory.parts(job.id)]
        jobs += [
            Job(part.id, part.trials, job.seconds * len(part.trials) / len(job.trials)) for part in parts
        ] or [job]
    return jobs
