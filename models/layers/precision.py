"""Autocast: matrix products in a short type, everything else as it is; and back from it."""

from contextlib import AbstractContextManager, nullcontext

import torch


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Autocast to `dtype` inside; None: none, also inside of another one. A device that knows none (meta)
    has none to switch off. Raises RuntimeError where there is none to switch on."""
    if dtype is None and not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def wide(x: torch.Tensor) -> torch.Tensor:
    """At least float32, for what autocast's short types would lose: small decays, sums of exponentials."""
    return x if x.dtype == torch.float64 else x.float()
