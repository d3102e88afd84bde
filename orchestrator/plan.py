"""The plan: trials grouped by shape into jobs. Pure; `--dry-run` prints the plan that would run."""

import hashlib
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..models.recipe import Recipe
from ..sweeps.cost import cpu_seconds, gpu_seconds, trial_bytes
from ..sweeps.trial import Trial

CPU_GROUP = 8
"""Trials per CPU job: beyond this the activations leave the cache and batching stops paying."""

GPU_GROUP = 64
GPU_MEMORY_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Device:
    """What jobs are planned for: its kind, how many there are, and the memory of one in bytes."""

    kind: Literal["cpu", "cuda"]
    count: int
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """A group of trials that one worker trains as one program. `seconds` is an estimate."""

    id: str
    trials: tuple[Trial, ...]
    seconds: float


def group_key(recipe: Recipe) -> tuple[Any, ...]:
    """What the trials of one group share; everything else may differ between them."""
    return (
        recipe.shape,
        recipe.optimizer,
        recipe.nesterov,
        recipe.matrices,
        recipe.curvature_every,
        recipe.precondition_every,
        recipe.steps,
        recipe.batch_size,
        recipe.precision,
        recipe.eval_sequences,
        recipe.eval_every,
        recipe.data,
    )


def plan_jobs(trials: Sequence[Trial], device: Device, planned: Collection[str] = ()) -> list[Job]:
    """Jobs for the trials that no earlier plan holds, longest first."""
    groups: dict[tuple[Any, ...], list[Trial]] = {}
    for trial in trials:
        if trial.id not in planned:
            groups.setdefault(group_key(trial.recipe), []).append(trial)
    jobs = [
        _job(part, device)
        for members in groups.values()
        for part in _even_parts(members, group_size(members[0].recipe, device))
    ]
    return sorted(jobs, key=lambda job: -job.seconds)


def group_size(recipe: Recipe, device: Device) -> int:
    """The most trials of this shape that one job takes."""
    if device.kind == "cpu":
        return CPU_GROUP
    fitting = int(device.memory_bytes * GPU_MEMORY_SHARE) // trial_bytes(recipe)
    return max(1, min(GPU_GROUP, fitting))


def job_seconds(trials: Sequence[Trial], device: Device) -> float:
    if device.kind == "cpu":
        return sum(cpu_seconds(trial.recipe) for trial in trials)
    return sum(gpu_seconds(trial.recipe, len(trials)) for trial in trials)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Wall time when each worker takes the next job as it becomes free, in the given order."""
    loads = [0.0] * workers
    for job in seconds:
        loads[loads.index(min(loads))] += job
    return max(loads)


def _job(trials: Sequence[Trial], device: Device) -> Job:
    digest = hashlib.sha256(" ".join(sorted(trial.id for trial in trials)).encode()).hexdigest()
    return Job(digest[:16], tuple(trials), job_seconds(trials, device))


def _even_parts(members: Sequence[Trial], most: int) -> list[list[Trial]]:
    """Parts of nearly equal length: 18 trials at 8 a job are 6 + 6 + 6, not 8 + 8 + 2."""
    count = -(-len(members) // most)
    bounds = [round(index * len(members) / count) for index in range(count + 1)]
    return [list(members[low:high]) for low, high in itertools.pairwise(bounds)]
