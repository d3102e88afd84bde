"""What a backend is before it is opened. Light: its library is loaded when it is opened.

A new one is a folder with a `BackendKind` and a line in `registry`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...sweeps.load import Sweep
    from ...sweeps.trial import Trial
    from ..planning.plan import Device
    from ..record.directory import SweepDirectory
    from ..record.journal import Journal, Submission
    from ..run.options import RunOptions
    from ..upkeep.finding import Finding
    from .backend import Backend, TaskOf


@dataclass(frozen=True, slots=True)
class Opening:
    """What a backend is opened with. `left` are jobs that earlier drivers left in its hands."""

    sweep: "Sweep"
    directory: "SweepDirectory"
    journal: "Journal"
    options: "RunOptions"
    left: "dict[str, Submission]"
    task_of: "Callable[[Device], TaskOf]"


@dataclass(frozen=True, slots=True)
class Stage:
    """A backend made ready: the device that jobs are planned for, and how many run at once."""

    backend: "Backend"
    device: "Device"
    at_once: int


def _nothing_left(names: Iterable[str]) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendKind:
    """`told`: its name for people. `open` raises BackendError where it is not there, and PreflightError.

    `planned_for`: the device that a run with these options would plan for, and how many jobs it would run at
    once. `examine`: what `doctor` finds, given the address of a cluster to look at. `submission`: what the
    longest job of a sweep is submitted with, as text, where it is submitted with any.
    `outlives`: its jobs go on when their driver ends, until `end_named` ends those of some submissions.
    `shares_gpus`: several jobs may share a GPU. `leftovers`: files in the sweep directory, a glob, that are
    of no use once all jobs are finished.
    """

    told: str
    open: Callable[[Opening], Stage]
    planned_for: "Callable[[Sweep, RunOptions], tuple[Device, int]]"
    examine: "Callable[[str | None], Iterator[Finding]]"
    submission: "Callable[[Sweep, RunOptions], str] | None" = None
    outlives: bool = False
    end_named: Callable[[Iterable[str]], None] = _nothing_left
    shares_gpus: bool = True
    leftovers: str | None = None


def jobs_at_once(options: "RunOptions", device: "Device") -> int:
    """As many as the user says, or as there are devices or shares of one."""
    shares = options.jobs_per_gpu if device.kind == "cuda" else 1
    return options.max_concurrent or max(1, device.count * shares // device.per_job)


def gpus_of(trial: "Trial", device: "Device", options: "RunOptions") -> float:
    """GPUs, or the share of one, that a job of such trials holds."""
    if trial.program.gpus is not None:
        return trial.program.gpus
    if device.per_job > 1:
        return float(device.per_job)
    return 1 / options.jobs_per_gpu if device.kind == "cuda" else 0.0


ASSUMED_GPU_GB = 80.0
"""A cluster's GPUs cannot be asked from here; --gpu-memory says it better, and what does not fit is split."""


def cluster_memory(options: "RunOptions") -> int:
    """Bytes of a job's share of a GPU."""
    return int((options.gpu_memory_gb or ASSUMED_GPU_GB) * 2**30 / options.jobs_per_gpu)
