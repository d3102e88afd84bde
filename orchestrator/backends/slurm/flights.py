"""Jobs in Slurm's hands: what became of them, by their own records first and by Slurm's word last.

Jobs say how they are and how they ended in the sweep directory. Slurm itself is asked for all jobs
together, and only an answer that nothing contradicts is believed: a job that is gone from the queue, that
left no record, and that the accounting calls ended.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ....results.store.store import published_jobs
from ...record.attempt import End, Running, latest_attempt, never_started, read_attempt, read_end, record_lost
from ...record.directory import SweepDirectory
from ...record.failures import EndKind
from ...record.journal import Journal, Submission
from ..backend import BackendError, Event
from . import commands as slurm

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
"""States that may be a job's that is about to be requeued: believed when it is gone the next time too."""

RUNAWAY_LOOKS = 10
"""Looks after which a job that is gone from the queue is dead, though the accounting calls it alive."""

ABSENT_LOOKS = 2
"""Looks after which a name that neither queue nor accounting knows was never taken."""

SILENT_LOOKS = 3
"""Looks after which a job that is gone is believed to be dead though the accounting does not answer."""

NEVER = {
    "PartitionTimeLimit", "PartitionNodeLimit", "PartitionConfig", "BadConstraints", "InvalidAccount",
    "InvalidQOS", "AccountNotAllowed", "QOSNotAllowed", "QOSMaxWallDurationPerJobLimit",
    "AssocMaxWallDurationPerJobLimit", "QOSMaxMemoryPerJob", "QOSMaxCpuPerJobLimit", "QOSMaxGRESPerJob",
    "AssocMaxCpuPerJobLimit", "AssocMaxMemPerJob", "AssocMaxGRESPerJob",
}  # fmt: skip
"""Reasons for which Slurm lets a job wait that it will never start."""


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


class Flights:
    """Keeps an eye on the jobs that were submitted. Its events are what the driver hears of them."""

    def __init__(self, directory: SweepDirectory, journal: Journal) -> None:
        self._directory, self._journal = directory, journal
        self._flights: dict[str, _Flight] = {}
        self._seen: set[str] = set()
        self.unclear: list[Submission] = []
        self._absent: dict[str, int] = {}
        self.failed_on: dict[str, str] = {}
        self.hung: set[str] = set()

    def __len__(self) -> int:
        return len(self._flights)

    def jobs(self) -> set[str]:
        return set(self._flights)

    def running(self) -> set[str]:
        return {flight.job for flight in self._flights.values() if flight.running}

    def names(self) -> set[str]:
        """Of the submissions that they belong to."""
        return {flight.name for flight in self._flights.values()}

    def id(self, job: str) -> str | None:
        """Slurm's name for a job, where it is known."""
        return self._flights[job].id if job in self._flights else None

    def adopt(self, left: Mapping[str, Submission]) -> None:
        """Takes over what earlier drivers submitted; what has no answer on record is looked up by name."""
        self._seen = set(os.listdir(self._directory.ended)) if self._directory.ended.exists() else set()
        for job, submission in left.items():
            self.add(submission, [job])
        with suppress(slurm.SlurmSilentError):
            self.resolve()

    def add(self, submission: Submission, jobs: Sequence[str]) -> None:
        """Jobs of a submission; one without a handle is unclear. Ends on record by now are old ones."""
        if submission.handle is None and submission not in self.unclear:
            self.unclear.append(submission)
        for job in jobs:
            attempt = latest_attempt(self._directory, job)
            ended = attempt is not None and self._directory.end(job, attempt.number).exists()
            number = 0 if attempt is None else attempt.number - (not ended)
            self._flights[job] = _Flight(job, submission.name, _task_id(submission, job), number)

    def resolve(self) -> list[Event]:
        """Submissions of which nobody knows whether Slurm took them. Raises SlurmSilentError.

        Their tasks wait for submitit's files, which were not put in place, or run already where only the
        answer was lost. Found under the name and whole: adopted. Otherwise cancelled, and returned.
        """
        returned: list[Event] = []
        for submission in list(self.unclear):
            ids = self._known_as(submission.name)
            if ids is None:
                continue  # nobody knows yet
            adopted = len(ids) == 1 and self._adopted(submission, *ids)
            if ids and not adopted:
                slurm.cancel_named(submission.name)
                if slurm.queued_as(submission.name):
                    continue  # until they are gone
            self.unclear.remove(submission)
            if not adopted:
                self._journal.refused(submission.name)
                held = [job for job in submission.jobs if self._flights.pop(job, None) is not None]
                returned += [Event(job, returned=True) for job in held]
        return returned

    def _known_as(self, name: str) -> set[str] | None:
        """Slurm's ids of what was submitted under a name; None while it may still turn up.

        A controller that was busy may take a submission after its client gave up, so one look is not
        enough; and without accounting the queue's word must do.
        """
        ids = {key.partition("_")[0] for key in slurm.queued_as(name)}
        looks = ABSENT_LOOKS
        if not ids:
            try:
                ids = slurm.accounted_as(name)
            except slurm.SlurmSilentError:
                looks = SILENT_LOOKS
        self._absent[name] = 0 if ids else self._absent.get(name, 0) + 1
        return ids if ids or self._absent[name] >= looks else None

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

    def ends(self) -> Iterator[Event]:
        """Attempts that ended since the last look, by their own records."""
        try:
            names = set(os.listdir(self._directory.ended))
        except OSError:
            return  # not there yet, or the file system hiccups: the next look tells
        for name in sorted(names - self._seen):
            if name.startswith("."):
                continue
            end = read_end(self._directory.ended / name)
            if end is None:
                continue  # cut off by a crash; Slurm will say that the job is gone
            self._seen.add(name)
            flight = self._flights.get(end.job)
            if flight is None or end.attempt <= flight.attempt:
                continue  # of a job, or an attempt, that is over
            if end.kind == "superseded":
                yield Event(end.job, end=replace(end, requeued=True))  # by a later run of the same job
            elif self._unexplained(flight, end.attempt):
                flight.held = end
            else:
                yield self._ended(end)

    def ask(self) -> list[Event]:
        """One look at the queue, and at the accounting for what is gone from it without a record.

        Raises SlurmSilentError where the queue cannot be seen, and BackendError for jobs that would wait for
        ever.
        """
        missing = self._missing(slurm.queue())
        requeued = {job: lost for job in self._flights if (lost := self._requeued(job))}
        ids = {flight.id for flight in missing} | {self._flights[job].id for job in requeued}
        if not ids:
            return []
        known: dict[str, list[slurm.Accounted]] = {}
        looks = 1
        try:
            known = slurm.accounting({job_id.partition("_")[0] for job_id in ids if job_id})
        except slurm.SlurmSilentError:
            looks = SILENT_LOOKS
        events = []
        for job, attempts in requeued.items():
            flight = self._flights[job]
            events += self._explained(flight, attempts, known.get(flight.id or "", []))
        for flight in missing:
            told = known.get(flight.id or "", [slurm.Accounted("", "")])[-1]
            if flight.job in self._flights and (flight.missed > looks or told.state not in _TWICE):
                events += self._gone(flight, told)
        return events

    def _missing(self, queued: Mapping[str, slurm.Queued]) -> list[_Flight]:
        """Those that are not in the queue and whose result is not just coming."""
        missing = []
        for flight in self._flights.values():
            if flight.id is None:
                continue
            state = queued.get(flight.id)
            flight.running = state is not None and state.state == "RUNNING"
            flight.missed = 0 if state is not None else flight.missed + 1
            if flight.missed:
                missing.append(flight)
            elif state is not None and state.reason in NEVER:
                raise BackendError(
                    f"Slurm will never start job {flight.id}: {state.reason}; see slurm: in the sweep file"
                )
        published = published_jobs(self._directory.path) if missing else set()
        return [flight for flight in missing if flight.job not in published or flight.missed > 1]

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
            end = record_lost(self._directory, attempt, kind, f"Slurm requeued job {flight.id}")
            self._seen.add(self._directory.end(flight.job, attempt.number).name)
            events.append(Event(flight.job, end=replace(end, requeued=True)))
            flight.attempt = attempt.number
        if flight.held is not None:
            held, flight.held = flight.held, None
            events.append(self._ended(held))
        return events

    def _gone(self, flight: _Flight, told: slurm.Accounted) -> list[Event]:
        """The end of a job that Slurm has no longer and that did not say how it ended."""
        if told.state not in _ENDS and told.state and flight.missed < RUNAWAY_LOOKS:
            return []  # pending or running after all
        job, kind = flight.job, _ENDS.get(told.state, "killed")
        if kind == "cancelled" and job in self.hung:
            kind = "hung"
        if kind == "node-failure" and re.fullmatch(r"[\w.-]+", told.nodes):
            self.failed_on[job] = told.nodes
        reason = f"Slurm job {flight.id}: {told.state or 'gone without a word in the accounting'}"
        reason += f" on {told.nodes}" if told.nodes not in ("", "None assigned") else ""
        attempt = latest_attempt(self._directory, job)
        if attempt is None or attempt.number <= flight.attempt:
            reason += f"; see {self._directory.path / 'slurm' / f'{flight.id}_0_log.err'}"
            return [self._ended(never_started(job, kind, reason))]
        end = read_end(self._directory.end(job, attempt.number))
        if end is None:
            end = record_lost(self._directory, attempt, kind, reason)
            self._seen.add(self._directory.end(job, attempt.number).name)
        return [self._ended(end)]

    def _ended(self, end: End) -> Event:
        self._flights[end.job].attempt = max(self._flights[end.job].attempt, end.attempt)
        if not end.requeued:
            del self._flights[end.job]
            self.hung.discard(end.job)
        return Event(end.job, diverged=end.diverged, end=end)


def _task_id(submission: Submission, job: str) -> str | None:
    """How Slurm names a job of a submission: one that was submitted alone is no array."""
    if submission.handle is None or len(submission.jobs) == 1:
        return submission.handle
    return f"{submission.handle}_{submission.jobs.index(job)}"
