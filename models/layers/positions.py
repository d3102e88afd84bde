"""Rotary positions (arXiv:2104.09864).

N any batch, T time, H heads, E half of the head size.
"""

import functools

import torch
from torch import Tensor

ROTARY_BASE = 10_000.0


def rotate(x_NHTD: Tensor) -> Tensor:
    """Rotates pairs (i, i + D/2) of each head by an angle that grows with the position."""
    time, size = x_NHTD.shape[-2:]
    cos_TE, sin_TE = _angles(time, size // 2, x_NHTD.device, x_NHTD.dtype)
    first_NHTE, second_NHTE = x_NHTD.chunk(2, dim=-1)
    return torch.cat(
        (first_NHTE * cos_TE - second_NHTE * sin_TE, first_NHTE * sin_TE + second_NHTE * cos_TE), dim=-1
    )


@functools.lru_cache(maxsize=64)
def _angles(time: int, half: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    frequency_E = ROTARY_BASE ** (-torch.arange(half, dtype=torch.float64) / half)
    angle_TE = torch.outer(torch.arange(time, dtype=torch.float64), frequency_E)
    return angle_TE.cos().to(device, dtype), angle_TE.sin().to(device, dtype)
