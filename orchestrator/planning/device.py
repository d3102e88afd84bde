"""Which devices this machine offers, asked for only where one may be a GPU."""

import glob
import os
from typing import TYPE_CHECKING, Literal

from ...models.recipe.fault import PREFLIGHT, Fault
from .plan import Device

if TYPE_CHECKING:
    from ...sweeps.load import Sweep

Choice = Literal["auto", "cpu", "cuda"]


class PreflightError(Fault):
    """What a run needs is not there; the message says what and what to do."""

    exit_code = PREFLIGHT


def find_device(choice: Choice) -> Device:
    """The device to plan for. Importing torch takes seconds, so without a GPU's files it is not asked."""
    if choice == "cpu" or (choice == "auto" and not glob.glob("/dev/nvidia*")):
        return Device("cpu", cores())
    import torch

    count = torch.cuda.device_count()
    if count:
        return Device("cuda", count, int(torch.cuda.get_device_properties(0).total_memory))
    if choice == "cuda":
        raise PreflightError("--device cuda: torch sees no GPU here; check the driver, or use --device cpu")
    return Device("cpu", cores())


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def must_suit(sweep: "Sweep", device: Device) -> None:
    """Raises PreflightError for trials that cannot be what they say on such a device."""
    rounded = [t.id for t in sweep.expansion.trials if t.program.point().get("precision") == "tf32"]
    if rounded and device.kind == "cpu":
        raise PreflightError(
            f"precision: {len(rounded)} trials are in tf32, which is how GPUs multiply; give float32, or run "
            "it with --device cuda"
        )
