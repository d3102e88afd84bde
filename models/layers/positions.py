"""Rotary positions (arXiv:2104.09864).

N any batch, T time, H heads, D head size, E half of what is turned, F what is not.
"""

import functools

import torch
from torch import Tensor


def rotate(x_NHTD: Tensor, base: float, turned: int) -> Tensor:
    """Rotates pairs (i, i + turned/2) of the first `turned` coordinates of each head by an angle that grows
    with the position."""
    time, half = x_NHTD.shape[-2], turned // 2
    cos_TE, sin_TE = _angles(time, half, base, x_NHTD.device, x_NHTD.dtype)
    first_NHTE, second_NHTE, kept_NHTF = x_NHTD.split((half, half, x_NHTD.shape[-1] - turned), dim=-1)
    turned_NHTE = first_NHTE * cos_TE - second_NHTE * sin_TE, first_NHTE * sin_TE + second_NHTE * cos_TE
    return torch.cat((*turned_NHTE, kept_NHTF), dim=-1)


@functools.lru_cache(maxsize=64)
def _angles(
    time: int, half: int, base: float, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    frequency_E = base ** (-torch.arange(half, dtype=torch.float64) / half)
    angle_TE = torch.outer(torch.arange(time, dtype=torch.float64), frequency_E)
    return angle_TE.cos().to(device, dtype), angle_TE.sin().to(device, dtype)
