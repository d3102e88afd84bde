"""The losses, per trial, and the accuracy beside them. Positions with a label below zero do not count.

K trials, B batch, T time, V outputs, N = K * B * T.
"""

from typing import Any

import torch
from torch import Tensor

from ..layers.precision import wide


def loss(out_KBTV: Tensor, labels_KBT: Tensor) -> Tensor:
    """Mean loss of each trial over the labelled positions, [K], in nats and in float32 at least.

    Of class labels the cross-entropy; of numbers half the squared error, which is the negative
    log-likelihood of a Gaussian of unit width, up to its constant.
    """
    out_KBTV = wide(out_KBTV)
    if labels_KBT.is_floating_point():
        return (out_KBTV[..., 0] - labels_KBT).square().div(2).flatten(1).mean(1)
    losses_N: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        out_KBTV.flatten(0, 2), labels_KBT.flatten().clamp(min=0)
    )
    return _over_labelled(losses_N.view_as(labels_KBT), labels_KBT)


def z_penalty(out_KBTV: Tensor, labels_KBT: Tensor) -> Tensor:
    """Mean squared log of the softmax's normaliser over the labelled positions, [K] (arXiv:2204.02311)."""
    return _over_labelled(torch.logsumexp(wide(out_KBTV), dim=-1).square(), labels_KBT)


def accuracy(out_KBTV: Tensor, labels_KBT: Tensor) -> Tensor:
    """Share of the labelled positions whose largest logit is the label's, [K]; NaN for numbers."""
    if labels_KBT.is_floating_point():
        return torch.full((len(labels_KBT),), torch.nan, device=labels_KBT.device)
    return _over_labelled((out_KBTV.argmax(-1) == labels_KBT).float(), labels_KBT)


def _over_labelled(values_KBT: Tensor, labels_KBT: Tensor) -> Tensor:
    labelled_KBT = labels_KBT >= 0
    return (values_KBT * labelled_KBT).flatten(1).sum(1) / labelled_KBT.flatten(1).sum(1)


class _CrossEntropy(torch.autograd.Function):
    """-log softmax(logits)[target] whose gradient is formed in place of the probabilities.

    The logits are the largest tensor of a small proxy; the stock operators pass over three copies of
    them, a third of the step at width 32.
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, targets_N: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        scratch_NV = torch.log_softmax(logits_NV, dim=-1)
        losses_N = -scratch_NV.gather(1, targets_N[:, None])[:, 0]
        gradient_NV = scratch_NV.exp_()
        gradient_NV[torch.arange(len(targets_N), device=targets_N.device), targets_N] -= 1
        ctx.gradient_NV = gradient_NV
        return losses_N

    @staticmethod
    def backward(ctx: Any, *upstream_N: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's own
        return ctx.gradient_NV.mul_(upstream_N[0][:, None]), None
