"""Slurm as a backend, declared."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..kind import BackendKind, Opening, Stage, cluster_memory, gpus_of

if TYPE_CHECKING:
    from ....sweeps.load import Sweep
    from ...planning.plan import Device
    from ...run.options import RunOptions
    from ...upkeep.finding import Finding

GPU_NAMES = ("gpus_per_node", "gpus_per_task", "gres", "additional_parameters")
"""Where `slurm:` may ask for GPUs."""
CLUSTER_JOBS = 64
"""Jobs that it is taken to run at once, where nobody said: for estimates and the cut of the plan."""


def slurm_device(options: "RunOptions", asked: Mapping[str, object]) -> "Device":
    """GPUs where the sweep file's `slurm:` asks for some, or the user does."""
    from ....sweeps.slurm import asks_gpus
    from ...planning.device import PreflightError
    from ...planning.plan import Device

    kind = options.device if options.device != "auto" else ("cuda" if asks_gpus(asked) else "cpu")
    count = options.max_concurrent or CLUSTER_JOBS
    device = Device("cuda", count, cluster_memory(options)) if kind == "cuda" else Device("cpu", count)
    if options.gpus_per_job == 1:
        return device
    named = {name: asked[name] for name in (*GPU_NAMES, "nodes") if name in asked}
    if device.kind == "cpu" or named not in ({}, {"gpus_per_node": options.gpus_per_job}):
        told = ", ".join(f"{name}: {value}" for name, value in named.items()) or "no GPUs"
        raise PreflightError(
            f"--gpus-per-job {options.gpus_per_job}: slurm: asks for {told}; give --device cuda and leave "
            f"that out, or gpus_per_node: {options.gpus_per_job} alone"
        )
    return replace(device, per_job=options.gpus_per_job)  # of a queue nobody knows how many there are


def _asked(sweep: "Sweep") -> dict[str, object]:
    """What the sweep file's section asks for."""
    found: dict[str, object] = sweep.spec.slurm.model_dump(exclude_none=True)
    return found


def _open(opening: Opening) -> Stage:
    from .backend import SlurmBackend

    asked = _asked(opening.sweep)
    device = slurm_device(opening.options, asked)
    prefix = f"mutransfer-{opening.sweep.spec.name}-{os.urandom(4).hex()}"
    backend = SlurmBackend(
        opening.directory, opening.journal, opening.task_of(device), asked, opening.options.max_concurrent,
        prefix, opening.left,
    )  # fmt: skip
    return Stage(backend, device, device.count)


def _planned_for(sweep: "Sweep", options: "RunOptions") -> "tuple[Device, int]":
    device = slurm_device(options, _asked(sweep))
    return device, device.count


def _submission(sweep: "Sweep", options: "RunOptions") -> str:
    from ...planning.plan import plan_jobs
    from .submission import parameters_of, resources_of, submission_text

    asked = _asked(sweep)
    device = slurm_device(options, asked)
    job = max(plan_jobs(sweep.expansion.trials, device, device.count), key=lambda one: one.seconds)
    resources = resources_of(job, gpus_of(job.trials[0], device, options), 0, 0, "")
    return submission_text(parameters_of(f"mutransfer-{sweep.spec.name}", resources, asked, device.count))


def _end_named(names: Iterable[str]) -> None:
    from .backend import end_named

    end_named(names)


def _examine(address: str | None) -> "Iterator[Finding]":
    from .examination import examine

    return examine()


SLURM = BackendKind(
    told="Slurm",
    open=_open,
    planned_for=_planned_for,
    examine=_examine,
    submission=_submission,
    outlives=True,
    end_named=_end_named,
    shares_gpus=False,
    leftovers="slurm/*.pkl",
)
