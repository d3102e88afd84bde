"""One run of a sweep from its lease to its end: takes the directory, prepares, drives, lets go."""

import errno
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from ..sweeps.load import Sweep
from .backends.backend import Backend, BackendError, TaskOf
from .device import PreflightError, find_device
from .driver import CancelledError, Driver, Policy, StoppedError, Watcher
from .options import RunOptions
from .plan import Device
from .provenance import invocation
from .reconcile import end_orphans, prepare
from .record.attempt import End, latest_attempt, read_end, record_lost
from .record.directory import SweepDirectory
from .record.journal import History, Journal, read_journal, replay
from .record.lease import Lease, LostLeaseError
from .worker import Task

ASSUMED_GPU_GB = 80.0
"""A cluster's GPUs cannot be asked from here; --gpu-memory says it better, and what does not fit is split."""

CLUSTER_JOBS = 64
"""Jobs that a scheduler is taken to run at once, where nobody said: for estimates and the cut of the plan."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A backend made ready: the device that jobs are planned for, and how many run at once."""

    backend: Backend
    device: Device
    at_once: int


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
    if options.jobs_per_gpu > 1 and options.backend == "slurm":
        raise PreflightError("--jobs-per-gpu: Slurm gives whole GPUs to jobs; use it with local or ray")
    with (
        _disk_full_named(directory),
        Lease(directory.path) as lease,
        Journal(directory.journal, lease.number) as journal,
    ):
        directory.cancel_request.unlink(missing_ok=True)
        history = _absorbed(directory, journal)
        if options.backend != "slurm" and (left := history.left_in_slurm()):
            from .backends.slurm import end_named

            end_named({submission.name for submission in left.values()})
            journal.returned(sorted(left))
        stage = open_stage(sweep, directory, journal, history, options)
        journal.run(backend=options.backend, pid=os.getpid())
        # A scheduler's jobs go on for the next driver, unless it was decided that they shall not.
        cancel, why = False, "the run stopped"
        try:
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


def open_stage(
    sweep: Sweep, directory: SweepDirectory, journal: Journal, history: History, options: RunOptions
) -> Stage:
    """The backend that the options name. Its library is loaded only now. Raises BackendError."""
    match options.backend:
        case "local":
            from .backends.local import LocalBackend

            device = local_device(options)
            at_once = _at_once(options, device)
            task_of = _task_of(directory, options, device)
            return Stage(LocalBackend(directory, journal, task_of, at_once, device), device, at_once)
        case "ray":
            from .backends.ray import Cluster, RayBackend

            cluster = Cluster(options.ray_address)
            device = ray_device(options, *cluster.devices())
            task_of = _task_of(directory, options, device)
            backend = RayBackend(cluster, directory, journal, task_of, options.max_concurrent)
            return Stage(backend, device, _at_once(options, device))
        case "slurm":
            from .backends.slurm import SlurmBackend

            asked = sweep.spec.slurm.model_dump(exclude_none=True)
            device = slurm_device(options, asked)
            task_of = _task_of(directory, options, device)
            prefix = f"mutransfer-{sweep.spec.name}-{os.urandom(4).hex()}"
            left = history.left_in_slurm()
            slurm = SlurmBackend(directory, journal, task_of, asked, options.max_concurrent, prefix, left)
            return Stage(slurm, device, device.count)


def planned_for(sweep: Sweep, options: RunOptions) -> tuple[Device, int]:
    """The device that a run with these options would plan for, and how many jobs it would run at once."""
    match options.backend:
        case "local":
            device = local_device(options)
        case "ray":
            from .backends.ray import Cluster, shut_down

            device = ray_device(options, *Cluster(options.ray_address).devices())
            shut_down()
        case "slurm":
            device = slurm_device(options, sweep.spec.slurm.model_dump(exclude_none=True))
            return device, device.count
    return device, _at_once(options, device)


def local_device(options: RunOptions) -> Device:
    """This machine's device, its memory shared among the jobs of one GPU."""
    device = find_device(options.device)
    if device.kind == "cpu":
        return device
    memory = options.gpu_memory_gb * 2**30 if options.gpu_memory_gb else device.memory_bytes
    sharing = max(options.jobs_per_gpu, -(-(options.max_concurrent or 1) // device.count))
    return replace(device, memory_bytes=int(memory / sharing))


def ray_device(options: RunOptions, cpus: int, gpus: int) -> Device:
    if options.device == "cuda" and not gpus:
        raise PreflightError("--device cuda: the Ray cluster has no GPUs; add GPU nodes, or use --device cpu")
    if options.device == "cpu" or not gpus:
        return Device("cpu", max(1, cpus))
    return Device("cuda", gpus, _cluster_memory(options))


def slurm_device(options: RunOptions, asked: Mapping[str, object]) -> Device:
    """GPUs where the sweep file's `slurm:` asks for some, or the user does."""
    asks = any(name in asked for name in ("gres", "gpus_per_node", "gpus_per_task"))
    kind = options.device if options.device != "auto" else ("cuda" if asks else "cpu")
    count = options.max_concurrent or CLUSTER_JOBS
    return Device("cuda", count, _cluster_memory(options)) if kind == "cuda" else Device("cpu", count)


def _at_once(options: RunOptions, device: Device) -> int:
    return options.max_concurrent or device.count * (options.jobs_per_gpu if device.kind == "cuda" else 1)


def _cluster_memory(options: RunOptions) -> int:
    return int((options.gpu_memory_gb or ASSUMED_GPU_GB) * 2**30 / options.jobs_per_gpu)


def _task_of(directory: SweepDirectory, options: RunOptions, device: Device) -> TaskOf:
    path = str(directory.path.resolve())
    gpus = 1 / options.jobs_per_gpu if device.kind == "cuda" else 0.0

    def task_of(job: str) -> Task:
        return Task(
            directory=path,
            job=job,
            backend=options.backend,
            device=device.kind,
            gpus=gpus,
            checkpoint_seconds=options.checkpoint_seconds,
            hang_seconds=options.hang_seconds,
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
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StoppedError(
            f"{directory.path}: no space left on the disk; free some and run the sweep again"
        ) from None
