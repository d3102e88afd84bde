"""The cross-entropy of a readout without all of its logits at once.

Rows are read out part by part; each part's logits become its losses and then, in place, its gradient. So the
largest tensor of a step is one part's, and it is passed over a few times while it is near.

K trials, R rows (positions of the batch), C rows of a part, D width, V outputs.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..layers.outputs import Outputs
from ..layers.precision import autocast, wide
from .loss import accuracy, loss, z_penalty

PART_BYTES: Mapping[str, int] = {"cpu": 1 << 22, "cuda": 1 << 29}
"""Of the logits of one part in float32: what a core keeps near, and what fills a GPU."""

ROWS_AT_LEAST = 16


def losses(
    out: Outputs,
    labels_KBT: Tensor,
    z_K: Tensor | None,
    dtype: torch.dtype | None,
    scale_K: Tensor | None = None,
    compiled: bool = False,
) -> tuple[Tensor, Tensor]:
    """Mean loss of each trial (`loss.loss`), and what is minimised: that, plus `z_K` times the z-penalty,
    each [K]. What is minimised has a gradient. Products are taken in `dtype`, None for that of the stream.
    `scale_K` is what the gradient is going to be multiplied by, 1 where it is not said: it is formed at that
    size, in which a short type neither overflows nor loses it. `compiled`: with fewer passes over the logits.
    """
    if out.readout_KVD is None or labels_KBT.is_floating_point():
        with autocast(labels_KBT.device, dtype):
            logits_KBTV = out.logits()
        loss_K = loss(logits_KBTV, labels_KBT)
        return loss_K, loss_K if z_K is None else loss_K + z_K * z_penalty(logits_KBTV, labels_KBT)
    with autocast(labels_KBT.device, None):
        x_KRD, w_KVD = (x.to(dtype or x.dtype) for x in (out.last.flatten(1, 2), out.readout_KVD))
        loss_K, minimised_K = _ReadoutLoss.apply(  # type: ignore[no-untyped-call]
            x_KRD, w_KVD, labels_KBT.flatten(1), z_K, scale_K, compiled
        )
    return loss_K, minimised_K


@torch.no_grad()
def measured(out: Outputs, labels_KBT: Tensor, dtype: torch.dtype | None) -> tuple[Tensor, Tensor]:
    """Loss and accuracy of each trial (`loss`), each [K]."""
    if out.readout_KVD is None or labels_KBT.is_floating_point():
        with autocast(labels_KBT.device, dtype):
            logits_KBTV = out.logits()
        return loss(logits_KBTV, labels_KBT), accuracy(logits_KBTV, labels_KBT)
    labels_KR, sums = labels_KBT.flatten(1), []
    with autocast(labels_KBT.device, None):
        x_KRD, w_KVD = (x.to(dtype or x.dtype) for x in (out.last.flatten(1, 2), out.readout_KVD))
        for begin, end in _parts(x_KRD, w_KVD):
            z_KCV, labels_KC = x_KRD[:, begin:end] @ w_KVD.mT, labels_KR[:, begin:end]
            log_p_KCV = z_KCV.log_softmax(-1, dtype=_wide(z_KCV.dtype))
            losses_KC = -log_p_KCV.gather(2, labels_KC.clamp(min=0)[..., None])[..., 0]
            right_KC = z_KCV.argmax(-1) == labels_KC
            labelled_KC = labels_KC >= 0
            sums.append(torch.stack([(x_KC * labelled_KC).sum(1) for x_KC in (losses_KC, right_KC)]))
    both_2K = torch.stack(sums).sum(0) / (labels_KR >= 0).sum(1)
    return both_2K[0], both_2K[1]


class _ReadoutLoss(torch.autograd.Function):
    """(loss_K, minimised_K) of x W^T, with the gradient, at the size that it is going to have."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's own
        x_KRD: Tensor,
        w_KVD: Tensor,
        labels_KR: Tensor,
        z_K: Tensor | None,
        scale_K: Tensor | None,
        compiled: bool,
    ) -> tuple[Tensor, Tensor]:
        part = _compiled_part() if compiled else _part
        labelled_KR = labels_KR >= 0
        count_K = labelled_KR.sum(1)
        scale_K = torch.ones_like(count_K, dtype=_wide(x_KRD.dtype)) if scale_K is None else scale_K
        share_K11 = (scale_K / count_K)[:, None, None]
        d_x_KRD = torch.empty_like(x_KRD)
        d_w_KVD = wide(torch.zeros_like(w_KVD))
        sums_2K = []
        for begin, end in _parts(x_KRD, w_KVD):
            x_KCD, counts_KC = x_KRD[:, begin:end], labelled_KR[:, begin:end]
            d_z_KCV = x_KCD @ w_KVD.mT
            sums_2K.append(part(d_z_KCV, labels_KR[:, begin:end], counts_KC, share_K11, z_K))
            d_x_KRD[:, begin:end] = d_z_KCV @ w_KVD
            d_w_KVD += d_z_KCV.mT @ x_KCD
        ctx.d_x_KRD, ctx.d_w_KVD, ctx.dtype, ctx.scale_K = d_x_KRD, d_w_KVD, w_KVD.dtype, scale_K
        loss_K, penalty_K = torch.stack(sums_2K).sum(0) / count_K
        ctx.mark_non_differentiable(loss_K)
        if z_K is None:
            return loss_K, loss_K.clone()
        return loss_K, loss_K + z_K * penalty_K

    @staticmethod
    def backward(ctx: Any, *upstream_K: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        factor_K11 = (upstream_K[1] / ctx.scale_K)[:, None, None]
        d_w_KVD = ctx.d_w_KVD.mul_(factor_K11).to(ctx.dtype)
        return ctx.d_x_KRD.mul_(factor_K11), d_w_KVD, None, None, None, None


def _part(
    z_KCV: Tensor, labels_KC: Tensor, counts_KC: Tensor, share_K11: Tensor, z_K: Tensor | None
) -> Tensor:
    """Sums of the losses and, where they are asked for, of the z-penalties over the rows that count, [2, K];
    the logits become their gradient, in place."""
    at_KC1 = labels_KC.clamp(min=0)[..., None]
    log_p_KCV = z_KCV.log_softmax(-1, dtype=_wide(z_KCV.dtype))
    log_p_KC1 = log_p_KCV.gather(2, at_KC1)
    loss_K = -(log_p_KC1[..., 0] * counts_KC).sum(1)
    penalty_K = torch.zeros_like(loss_K)
    factor_KC1 = counts_KC[..., None] * share_K11.to(log_p_KCV.dtype)
    d_label_KC1 = log_p_KC1.exp() - 1
    if z_K is not None:
        normaliser_KC1 = z_KCV.gather(2, at_KC1) - log_p_KC1
        penalty_K = (normaliser_KC1.square() * counts_KC[..., None]).sum((1, 2))
        pull_KC1 = 2 * z_K[:, None, None] * normaliser_KC1
        d_label_KC1 = d_label_KC1 + pull_KC1 * log_p_KC1.exp()
        factor_KC1 = factor_KC1 * (1 + pull_KC1)
    d_z_KCV = torch.exp(log_p_KCV, out=z_KCV).mul_(factor_KC1)
    d_label_KC1 = torch.where(counts_KC[..., None], d_label_KC1 * share_K11, 0.0)
    d_z_KCV.scatter_(2, at_KC1, d_label_KC1.to(d_z_KCV.dtype))
    return torch.stack((loss_K, penalty_K))


@cache
def _compiled_part() -> Callable[..., Tensor]:
    return torch.compile(_part, fullgraph=True)


def _parts(x_KRD: Tensor, w_KVD: Tensor) -> Iterator[tuple[int, int]]:
    """Where the parts of the rows begin and end."""
    trials, outputs, _ = w_KVD.shape
    rows = x_KRD.shape[1]
    most = PART_BYTES["cpu" if x_KRD.device.type == "cpu" else "cuda"]
    parts = -(-rows // max(ROWS_AT_LEAST, most // (4 * trials * outputs)))
    for part in range(parts):
        yield rows * part // parts, rows * (part + 1) // parts


def _wide(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype == torch.float64 else torch.float32
