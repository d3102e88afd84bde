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
    from ...planning.device import find_device, split_over

    device = find_device(options.device)
    device = split_over(device, options.gpus_per_job)
    if device.kind == "cpu":
        return device
    memory = options.gpu_memory_gb * 2**30 if options.gpu_memory_gb else device.memory_bytes
    places = device.count // device.per_job
    sharing = max(options.jobs_per_gpu, -(-(options.max_concurrent or 1) // places))
    return replace(device, memory_bytes=int(memory / sharing))


def _open(opening: Opening) -> Stage:
    from .pool import LocalBackend

    device = local_device(opening.options)
    at_once = _at_once(opening.sweep, opening.options, device)
    task_of = opening.task_of(device)
    return Stage(LocalBackend(opening.directory, opening.journal, task_of, at_once, device), device, at_once)


def _planned_for(sweep: "Sweep", options: "RunOptions") -> "tuple[Device, int]":
    device = local_device(options)
    return device, _at_once(sweep, options, device)


def _at_once(sweep: "Sweep", options: "RunOptions", device: "Device") -> int:
    """As many as a program's own demand of GPUs allows. Raises PreflightError where it can never be met, and
    for a program that is not here."""
    from ....sweeps.command.command import Command
    from ...planning.device import PreflightError

    programs = [trial.program for trial in sweep.expansion.trials]
    each = {one.executable: one for one in programs if isinstance(one, Command)}
    if fault := next(filter(None, (one.not_here() for one in each.values())), None):
        raise PreflightError(f"program.{'function' if each.keys() == {None} else 'command'}: {fault}")
    asked = [program.gpus or 0.0 for program in programs]
    there = device.count if device.kind == "cuda" else 0
    if max(asked) > there:
        raise PreflightError(f"program.gpus: a trial asks for {max(asked):g}, and this machine has {there}")
    if min(asked) > 0:
        return options.max_concurrent or max(1, int(there / min(asked)))
    return jobs_at_once(options, device)


def _examine(address: str | None) -> "Iterator[Finding]":
    """`doctor` looks at this machine anyway."""
    yield from ()


LOCAL = BackendKind(told="this machine", open=_open, planned_for=_planned_for, examine=_examine)
