"""Linear maps, one weight per trial.

K trials, B batch, T time, I fan_in, O fan_out.
"""

from torch import Tensor


def linear(x_KBTI: Tensor, w_KOI: Tensor) -> Tensor:
    """x W^T for every trial, [K, B, T, O]: one batched matrix product."""
    k, b, t, i = x_KBTI.shape
    return (x_KBTI.reshape(k, b * t, i) @ w_KOI.transpose(1, 2)).view(k, b, t, -1)
