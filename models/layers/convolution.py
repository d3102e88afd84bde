"""Short causal depthwise convolution, one kernel per trial and channel.

K trials, B batch, T time, C channels, S kernel size.
"""

from typing import Any

import torch
from torch import Tensor


def causal_convolution(x_KBTC: Tensor, kernel_KCS: Tensor) -> Tensor:
    """y_t = sum_s kernel_s x_{t - (S-1) + s}, [K, B, T, C]."""
    out_KBTC: Tensor = _Convolution.apply(x_KBTC, kernel_KCS)  # type: ignore[no-untyped-call]
    return out_KBTC


class _Convolution(torch.autograd.Function):
    """A sum of shifted copies, accumulated in place.

    With four taps this is faster than a grouped convolution, and the trial axis stays a batch axis.
    Left to autograd, every shift would pad, copy and zero whole tensors.
    """

    @staticmethod
    def forward(ctx: Any, x_KBTC: Tensor, kernel_KCS: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        kernel_KCS = kernel_KCS.to(x_KBTC.dtype)
        ctx.save_for_backward(x_KBTC, kernel_KCS)
        time, size = x_KBTC.shape[2], kernel_KCS.shape[2]
        out_KBTC = x_KBTC * kernel_KCS[:, None, None, :, -1]
        for shift in range(1, min(size, time)):
            tap_KC = kernel_KCS[:, None, None, :, size - 1 - shift]
            out_KBTC[:, :, shift:].addcmul_(x_KBTC[:, :, : time - shift], tap_KC)
        return out_KBTC

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - torch's own
        x_KBTC, kernel_KCS = ctx.saved_tensors
        (d_out_KBTC,) = upstream
        time, size = x_KBTC.shape[2], kernel_KCS.shape[2]
        d_x_KBTC = d_out_KBTC * kernel_KCS[:, None, None, :, -1]
        d_kernel_KCS = torch.zeros_like(kernel_KCS)
        d_kernel_KCS[:, :, -1] = (x_KBTC * d_out_KBTC).sum((1, 2))
        for shift in range(1, min(size, time)):
            later_KBTC, earlier_KBTC = d_out_KBTC[:, :, shift:], x_KBTC[:, :, : time - shift]
            tap_KC = kernel_KCS[:, None, None, :, size - 1 - shift]
            d_x_KBTC[:, :, : time - shift].addcmul_(later_KBTC, tap_KC)
            d_kernel_KCS[:, :, size - 1 - shift] = (earlier_KBTC * later_KBTC).sum((1, 2))
        return d_x_KBTC, d_kernel_KCS
