"""The plan: trials grouped by shape into jobs. Pure; `--dry-run` prints the plan that would run."""

import hashlib
import itertools
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

from ...sweeps.card import Card, card_named
from ...sweeps.program import DeviceKind, Program
from ...sweeps.trial import Trial

CPU_GROUP = 8
"""Trials per CPU job: beyond this the activations leave the cache and batching stops paying."""

GPU_GROUP = 64
GPU_MEMORY_SHARE = 0.85
"""Of a GPU's memory that a job's tensors may take: beside them are the driver's own, and gaps."""
ASSUMED_SHARE = 0.7
"""The same where what a job takes is estimated by a formula."""

SHORTEST_SECONDS = 20.0
"""Jobs shorter than this are not cut further: starting a process would take the gain."""


@dataclass(frozen=True, slots=True)
class Device:
    """What jobs are planned for: its kind, how many there are, and the memory of one in bytes. `name` is a
    GPU's; one that is `assumed` is not there, and what jobs take on it is told by formulas, which are quick.
    A job is split over `per_job` of them.
    """

    kind: DeviceKind
    count: int
    memory_bytes: int = 0
    name: str = ""
    assumed: bool = False
    per_job: int = 1

    @property
    def room(self) -> int:
        """Bytes that a job may take."""
        return int(self.memory_bytes * (ASSUMED_SHARE if self.assumed else GPU_MEMORY_SHARE))

    @property
    def card(self) -> Card | None:
        """What it can do, where jobs are counted."""
        return None if self.kind == "cpu" or self.assumed else card_named(self.name)


@dataclass(frozen=True, slots=True)
class Job:
    """A group of trials that one worker trains as one program. `seconds` is an estimate."""

    id: str
    trials: tuple[Trial, ...]
    seconds: float


def plan_jobs(
    trials: Sequence[Trial],
    device: Device,
    at_once: int = 1,
    planned: Collection[str] = (),
    spread: bool = False,
) -> list[Job]:
    """Jobs for the trials that no earlier plan holds, longest first; `at_once` of them can run together.

    `spread`: each job of a shape has trials from all over its grid, not those that follow each other, so that
    what is compared within a job (`prune:`) is worth comparing.
    """
    groups: dict[Hashable, list[Trial]] = {}
    for trial in trials:
        if trial.id not in planned:
            groups.setdefault(_group(trial), []).append(trial)
    fitting = {key: -(-len(held) // group_size(held[0].program, device)) for key, held in groups.items()}
    total = sum(
        job_seconds(part, device) for key, held in groups.items() for part in _parts(held, fitting[key])
    )
    jobs = [
        _job(part, device)
        for key, held in groups.items()
        for part in (_spread if spread else _parts)(
            held, _balanced(held, fitting[key], device, total / at_once)
        )
    ]
    return sorted(jobs, key=lambda job: -job.seconds)


def halves(job: Job) -> list[Job]:
    """The job as two, for a device whose memory it does not fit."""
    return [
        Job(_job_id(part), tuple(part), job.seconds * len(part) / len(job.trials))
        for part in _parts(job.trials, 2)
    ]


def group_size(program: Program, device: Device) -> int:
    """The most trials of this shape that one job takes."""
    if device.kind == "cpu":
        return CPU_GROUP
    low, high = 1, GPU_GROUP + 1  # the largest that fits is at least low, and below high
    trying = GPU_GROUP  # which most do
    while high - low > 1:
        if program.memory_bytes(trying, counted=not device.assumed, parts=device.per_job) <= device.room:
            low = trying
        else:
            high = trying
        trying = (low + high) // 2
    return low


def job_seconds(trials: Sequence[Trial], device: Device) -> float:
    card = device.card
    whole = sum(trial.program.seconds(device.kind, len(trials), card) for trial in trials)
    return whole / device.per_job


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Wall time when each worker takes the next job as it becomes free, in the given order."""
    loads = [0.0] * workers
    for job in seconds:
        loads[loads.index(min(loads))] += job
    return max(loads)


def _group(trial: Trial) -> Hashable:
    return trial.program.kind, trial.program.group_key()


def _balanced(members: Sequence[Trial], count: int, device: Device, fair_share: float) -> int:
    """More parts where one would take longer than a worker's fair share, as long as cutting helps.

    A group that is bound by launching kernels takes as long with half of its trials: it stays whole. So
    does one that is over before another process has started.
    """
    longest = max(fair_share, SHORTEST_SECONDS)
    while count < len(members):
        whole = job_seconds(members[: -(-len(members) // count)], device)
        finer = min(2 * count, len(members))
        if whole <= longest or job_seconds(members[: -(-len(members) // finer)], device) > 0.75 * whole:
            break
        count = finer
    return count


def _job(trials: Sequence[Trial], device: Device) -> Job:
    return Job(_job_id(trials), tuple(trials), job_seconds(trials, device))


def _job_id(trials: Sequence[Trial]) -> str:
    """Of the trials in their order, which a checkpoint relies on."""
    return hashlib.sha256(" ".join(trial.id for trial in trials).encode()).hexdigest()[:16]


def _spread(members: Sequence[Trial], count: int) -> list[list[Trial]]:
    return [list(members[first::count]) for first in range(count)]


def _parts(members: Sequence[Trial], count: int) -> list[list[Trial]]:
    """Parts of nearly equal length: 18 trials as three are 6 + 6 + 6."""
    bounds = [round(index * len(members) / count) for index in range(count + 1)]
    return [list(members[low:high]) for low, high in itertools.pairwise(bounds)]
