"""The training loss, per trial.

K trials, B batch, T time, V vocabulary, N = K * B * T.
"""

from typing import Any

import torch
from torch import Tensor


def cross_entropy(logits_KBTV: Tensor, targets_KBT: Tensor) -> Tensor:
    """Mean loss of each trial in nats per token, [K], in float32 at least."""
    wide = logits_KBTV if logits_KBTV.dtype == torch.float64 else logits_KBTV.float()
    losses_N: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        wide.flatten(0, 2), targets_KBT.flatten()
    )
    return losses_N.view(targets_KBT.shape[0], -1).mean(1)


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
