"""Which devices this machine offers, asked for only where one may be a GPU."""

import glob
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...models.recipe.fault import PREFLIGHT, Fault
from .plan import Device

if TYPE_CHECKING:
    from ...sweeps.load import Sweep
    from ...sweeps.trial import Trial

Choice = Literal["auto", "cpu", "cuda"]
CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files with the bytes that a container may take: of control groups version 2 and 1."""


class PreflightError(Fault):
    """What a run needs is not there; the message says what and what to do."""

    exit_code = PREFLIGHT


def find_device(choice: Choice) -> Device:
    """The device to plan for. Importing torch takes seconds, so without a GPU's files it is not asked."""
    if choice == "cpu" or (choice == "auto" and not glob.glob("/dev/nvidia*")):
        return _processor()
    import torch

    count = torch.cuda.device_count()
    if count:
        held = torch.cuda.get_device_properties(0)
        return Device("cuda", count, int(held.total_memory), held.name)
    if choice == "cuda":
        raise PreflightError("--device cuda: torch sees no GPU here; check the driver, or use --device cpu")
    return _processor()


def _processor() -> Device:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # not there, or `max`
            memory = min(memory, int(Path(limit).read_text()))
    return Device("cpu", cores(), memory)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def must_suit(sweep: "Sweep", device: Device) -> None:
    """Raises PreflightError for trials that such a device cannot train as they say, or at all."""
    if sweep.spec.program is not None:
        return  # it asks for what it needs, and says itself what it cannot do
    rounded = [t.id for t in sweep.expansion.trials if t.program.point().get("precision") == "tf32"]
    if rounded and device.kind == "cpu":
        raise PreflightError(
            f"precision: {len(rounded)} trials are in tf32, which is how GPUs multiply; give float32, or run "
            "it with --device cuda"
        )
    if device.memory_bytes and not device.assumed:
        for trial in {trial.program.group_key(): trial for trial in sweep.expansion.trials}.values():
            _must_split(device, trial)
            _must_hold(device, trial)


def split_over(device: Device, gpus: int) -> Device:
    """The device whose jobs take so many GPUs. Raises PreflightError where there are not as many."""
    if gpus == 1:
        return device
    if device.kind == "cpu" or device.count < gpus:
        there = device.count if device.kind == "cuda" else 0
        raise PreflightError(f"--gpus-per-job {gpus}: there are {there} GPUs; give fewer")
    return replace(device, per_job=gpus)


def _must_split(device: Device, trial: "Trial") -> None:
    point = trial.program.point()
    if device.per_job > 1 and point["experts"] > 1 and point["balance_loss"]:
        raise PreflightError(
            f"--gpus-per-job {device.per_job}: balance_loss is of the whole batch; give 0, or one GPU a job"
        )
    if device.per_job > trial.program.most_parts:
        raise PreflightError(
            f"--gpus-per-job {device.per_job}: batch_size {trial.program.most_parts} are too few sequences; "
            "give fewer GPUs"
        )


def _must_hold(device: Device, trial: "Trial") -> None:
    """Its parts, if need be."""
    program, memory = trial.program, device.memory_bytes
    if device.kind == "cpu" and program.memory_bytes() <= memory:
        return  # by the formula, which is quick and seldom too low
    if program.memory_bytes(1, counted=True) <= memory:
        return
    least = program.memory_bytes(1, counted=True, parts=program.most_parts)
    if least > memory:
        point = program.point()
        told = ", ".join(
            f"{name} {point[name]}" for name in ("architecture", "width", "depth") if name in point
        )
        holder = "the GPU" if device.kind == "cuda" else "this machine"
        raise PreflightError(
            f"{told}: a trial needs {least / 2**30:.0f} GB with one sequence at a time, and {holder} has "
            f"{memory / 2**30:.0f}; give activation_checkpointing: true, or smaller sizes"
        )
