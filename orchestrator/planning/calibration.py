"""Estimates against this machine: a few timed steps of each architecture and optimizer."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...sweeps.load import Sweep
from ...sweeps.proxy import recipe_of
from .plan import Device, Job, job_seconds, plan_jobs

WARM_UP_STEPS, TIMED_STEPS = 4, 3
NO_EVALUATION = {"eval_every": 0, "eval_sequences": 1}

Factors = dict[tuple[str, str], float]
"""Measured over estimated seconds of a step, by architecture and optimizer."""


def measure(sweep: Sweep, device: Device) -> Factors:
    """Trains a few steps of the costliest job of each architecture and optimizer on one core, or one GPU."""
    import torch

    from ...models.training.loop import GroupTraining

    torch.set_num_threads(1)  # as workers have
    factors: Factors = {}
    with tempfile.TemporaryDirectory() as scratch:
        source = sweep.materialised(Path(scratch))
        for timed, job in _costliest(plan_jobs(sweep.expansion.trials, device)).items():
            recipes = [recipe_of(trial) for trial in job.trials]
            batches = source.batches(recipes[0].shape.sequence_length)
            training = GroupTraining(recipes, batches, torch.device(device.kind))
            for step in range(WARM_UP_STEPS):  # the first ones allocate, and record
                loss_K, _ = training.step(step)
            loss_K.tolist()  # waits for the device
            begin = time.perf_counter()
            for step in range(WARM_UP_STEPS, WARM_UP_STEPS + TIMED_STEPS):
                loss_K, _ = training.step(step)
            loss_K.tolist()
            seconds = (time.perf_counter() - begin) / TIMED_STEPS
            factors[timed] = seconds / _step_seconds(job, device)
    return factors


def _step_seconds(job: Job, device: Device) -> float:
    """As estimated: without evaluations, which are not timed."""
    alone = [replace(trial, program=trial.program.at(NO_EVALUATION)) for trial in job.trials]
    return job_seconds(alone, device) / job.trials[0].program.steps


def calibrated_seconds(jobs: Sequence[Job], device: Device, factors: Factors) -> list[float]:
    """The jobs' estimates on a device, as measured where their like was."""
    estimates = [job_seconds(job.trials, device) for job in jobs]
    if not factors:
        return estimates
    return [seconds * factors.get(_timed_as(job), 1.0) for seconds, job in zip(estimates, jobs, strict=True)]


def _costliest(jobs: Sequence[Job]) -> dict[tuple[str, str], Job]:
    """Jobs come longest first."""
    found: dict[tuple[str, str], Job] = {}
    for job in jobs:
        found.setdefault(_timed_as(job), job)
    return found


def _timed_as(job: Job) -> tuple[str, str]:
    recipe = recipe_of(job.trials[0])
    return recipe.shape.architecture, recipe.optimizer
