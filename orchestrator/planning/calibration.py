"""Estimates against this machine: a few timed steps of each family's costliest job."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ...models.data.corpus import materialise
from ...models.recipe.recipe import Recipe
from ...sweeps.load import Sweep
from ...sweeps.proxy import recipe_of
from .plan import Device, Job, job_seconds, plan_jobs

TIMED_STEPS = 3

Family = tuple[str, str]
"""Architecture and optimizer."""

Factors = dict[Family, float]
"""Measured over estimated seconds of a step, by family."""


def family_of(recipe: Recipe) -> Family:
    return recipe.shape.architecture, recipe.optimizer


def measure(sweep: Sweep, device: Device) -> Factors:
    """Trains a few steps of the costliest job of each family on one core, or one GPU."""
    import torch

    from ...models.training.loop import GroupTraining

    torch.set_num_threads(1)  # as workers have
    factors: Factors = {}
    with tempfile.TemporaryDirectory() as scratch:
        source = materialise(sweep.corpus, Path(scratch))
        for family, job in _costliest(plan_jobs(sweep.expansion.trials, device)).items():
            recipes = [recipe_of(trial) for trial in job.trials]
            batches = source.batches(recipes[0].shape.sequence_length)
            training = GroupTraining(recipes, batches, torch.device(device.kind))
            training.step(0)  # the first one allocates
            begin = time.perf_counter()
            for step in range(1, 1 + TIMED_STEPS):
                loss_K, _ = training.step(step)
            loss_K.tolist()  # waits for the device
            seconds = (time.perf_counter() - begin) / TIMED_STEPS
            factors[family] = seconds / (job.seconds / recipes[0].steps)
    return factors


def calibrated_seconds(jobs: Sequence[Job], device: Device, factors: Factors) -> list[float]:
    """The jobs' estimates on a device, as measured where their family was."""
    return [
        job_seconds(job.trials, device) * factors.get(family_of(recipe_of(job.trials[0])), 1.0)
        for job in jobs
    ]


def _costliest(jobs: Sequence[Job]) -> dict[Family, Job]:
    """Jobs come longest first."""
    found: dict[Family, Job] = {}
    for job in jobs:
        found.setdefault(family_of(recipe_of(job.trials[0])), job)
    return found
