"""This machine as a backend, declared."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..kind import BackendKind, Opening, Stage, jobs_at_once

if TYPE_CHECKING:
    from ....sweeps.load import Sweep
    from ...planning.plan import Device
    from ...run.options import RunOptions
    from ...upkeep.finding import Finding


def local_device(options: "RunOptions") -> "Device":
    """This machine's device, its memory shared among the jobs of one GPU."""
    from ...planning.device import find_device

    device = find_device(options.device)
    if device.kind == "cpu":
        return device
    memory = options.gpu_memory_gb * 2**30 if options.gpu_memory_gb else device.memory_bytes
    sharing = max(options.jobs_per_gpu, -(-(options.max_concurrent or 1) // device.count))
    return replace(device, memory_bytes=int(memory / sharing))


def _open(opening: Opening) -> Stage:
    from .pool import LocalBackend

    device = local_device(opening.options)
    at_once = jobs_at_once(opening.options, device)
    task_of = opening.task_of(device)
    return Stage(LocalBackend(opening.directory, opening.journal, task_of, at_once, device), device, at_once)


def _planned_for(sweep: "Sweep", options: "RunOptions") -> "tuple[Device, int]":
    device = local_device(options)
    return device, jobs_at_once(options, device)


def _examine(address: str | None) -> "Iterator[Finding]":
    """`doctor` looks at this machine anyway."""
    yield from ()


LOCAL = BackendKind(told="this machine", open=_open, planned_for=_planned_for, examine=_examine)
