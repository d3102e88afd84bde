"""One run of a sweep from its lease to its end: takes the directory, prepares, drives, lets go."""

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from ...models.files.place import DISK_FULL
from ...sweeps.load import Sweep
from ..backends.backend import BackendError, TaskOf
from ..backends.kind import Opening, gpus_of
from ..backends.registry import BACKENDS, end_left
from ..job.worker import Task
from ..planning.device import PreflightError, must_suit
from ..planning.plan import Device, Job
from ..record.attempt import End, latest_attempt, read_end, record_lost
from ..record.directory import SweepDirectory
from ..record.journal import History, Journal, read_journal, replay
from ..record.lease import Lease, LostLeaseError
from ..record.provenance import invocation
from .driver import CancelledError, Driver, Policy, StoppedError, Watcher
from .options import RunOptions
from .reconcile import end_orphans, prepare


def runner_of(sweep: Sweep) -> Callable[..., dict[str, End]]:
    """Round after round where the sweep decides trials while it runs; else nothing is read back."""
    if sweep.spec.search is None and sweep.spec.refine is None:
        return run_sweep
    from .rounds import run_rounds

    return run_rounds


def run_sweep(
    sweep: Sweep,
    directory: SweepDirectory,
    options: RunOptions,
    watcher: Watcher,
    only: Collection[str] | None = None,
) -> dict[str, End]:
    """Trains what is missing; returns the jobs that were given up, with the end of their last attempt.

    `only` these trials, and those that share their jobs, where it is given.

    Raises DirectoryError, OwnedError, PreflightError and BackendError before anything runs, and what
    `Driver.run` raises. However it ends, what is finished is kept and the same call goes on from there.
    """
    directory.check(sweep.spec.name)
    kind = BACKENDS[options.backend]
    if options.jobs_per_gpu > 1 and options.gpus_per_job > 1:
        raise PreflightError(
            "--jobs-per-gpu, --gpus-per-job: a job has a share of one GPU, or several; give one"
        )
    if options.jobs_per_gpu > 1 and not kind.shares_gpus:
        others = " or ".join(name for name, other in BACKENDS.items() if other.shares_gpus)
        raise PreflightError(f"--jobs-per-gpu: {kind.told} gives whole GPUs to jobs; use it with {others}")
    with (
        _disk_full_named(directory),
        Lease(directory.path) as lease,
        Journal(directory.journal, lease.number) as journal,
    ):
        directory.cancel_request.unlink(missing_ok=True)
        history = _absorbed(directory, journal)
        left = history.left()
        if gone := {job: held for job, held in left.items() if held.backend != options.backend}:
            end_left(gone)
            journal.returned(sorted(gone))
        ours = {job: held for job, held in left.items() if job not in gone}
        stage = kind.open(
            Opening(sweep, directory, journal, options, ours, partial(_task_of, sweep, directory, options))
        )
        journal.run(backend=options.backend, pid=os.getpid())
        # A scheduler's jobs go on for the next driver, unless it was decided that they shall not.
        cancel, why = False, "the run stopped"
        try:
            must_suit(sweep, stage.device)
            work, notes = prepare(sweep, directory, stage.device, stage.at_once)
            if only is not None:
                work = work.only(only)
            directory.write_options(options.record())
            directory.add_provenance(invocation(stage.device, options.backend))
            orphans = end_orphans(directory, work.remaining, stage.backend.in_flight())
            notes += [f"job {end.job}: an earlier driver left it unfinished ({end.where})" for end in orphans]
            for end in orphans:
                journal.ended(end, "retry")
            for note in notes:
                watcher.note(note)
            policy = Policy(options.fail_fast, options.hang_seconds)
            failed = Driver(work, directory, stage.backend, journal, lease, watcher, policy).run()
            cancel = only is None  # what is left is of no use: a failed-fast run, trials no longer asked for
            return failed
        except (CancelledError, StoppedError, BackendError):
            cancel = True
            raise
        except KeyboardInterrupt:
            why = "interrupted"
            raise
        except LostLeaseError:
            why = ""  # nothing of the sweep is ours to write any more
            raise
        finally:
            ended = stage.backend.close(cancel)
            if why:
                _record_stopped(directory, journal, ended, why)


def _task_of(sweep: Sweep, directory: SweepDirectory, options: RunOptions, device: Device) -> TaskOf:
    path = str(directory.path.resolve())

    def task_of(job: Job) -> Task:
        return Task(
            directory=path,
            job=job.id,
            backend=options.backend,
            device=device.kind,
            gpus=gpus_of(job.trials[0], device, options),
            checkpoint_seconds=options.checkpoint_seconds,
            hang_seconds=options.hang_seconds,
            pruning=sweep.spec.pruning,
            keep_weights=options.keep_weights,
            execution=options.execution,
        )

    return task_of


def _absorbed(directory: SweepDirectory, journal: Journal) -> History:
    """The history, with the ends that came while no driver was there put on record first."""
    history = replay(read_journal(directory.journal))
    names = sorted(os.listdir(directory.ended)) if directory.ended.exists() else []
    ends = [read_end(directory.ended / name) for name in names if not name.startswith(".")]
    unseen = [end for end in ends if end is not None and (end.job, end.attempt) not in history.seen]
    for end in unseen:
        if end.kind == "superseded":
            end = replace(end, requeued=True)  # by a later run of the same job, which is still under way
        journal.ended(end, "done" if end.kind == "finished" else "requeued" if end.requeued else "retry")
    return replay(read_journal(directory.journal)) if unseen else history


def _record_stopped(directory: SweepDirectory, journal: Journal, jobs: set[str], why: str) -> None:
    """Puts on record what ended with the run: attempts cost something even so."""
    with suppress(OSError):  # a full disk, which has been told
        for job in sorted(jobs):
            attempt = latest_attempt(directory, job)
            if attempt is not None and not directory.end(job, attempt.number).exists():
                journal.ended(record_lost(directory, attempt, "cancelled", why), "retry")
        if jobs:
            journal.returned(sorted(jobs))


@contextmanager
def _disk_full_named(directory: SweepDirectory) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        why = f"no space left on the disk ({error.strerror})"
        raise StoppedError(f"{directory.path}: {why}; make room and run the sweep again") from None
