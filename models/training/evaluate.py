"""Validation of a group.

K trials, B batch, T time, L blocks, E experts.
"""

import torch
from torch import Tensor

from ..architectures.proxy import Regime
from ..layers.experts import busiest
from .group import Group
from .readout_loss import measured

EVAL_TOKENS = 65_536
"""Tokens of all trials together in one validation batch: bounds the memory of the activations."""


@torch.no_grad()
def evaluate(group: Group, views: dict[str, Tensor], inputs: Tensor, labels_BT: Tensor) -> Tensor:
    """Validation loss, accuracy and load of the busiest expert of each trial, [3, K]; NaN where none is.
    The sequences are the same for all trials."""
    trials = len(group.recipes)
    size = sequences_at_once(trials, group.one.shape.sequence_length, group.micro_batches)
    count, parts, shares = len(inputs), [], []
    together = count >= group.ranks.world > 1
    if together:
        first, last = group.ranks.span(count)
        inputs, labels_BT = inputs[first:last], labels_BT[first:last]
    for part, part_labels_BT in zip(inputs.split(size), labels_BT.split(size), strict=True):
        regime = Regime()
        out = group.outputs(part.expand(trials, *part.shape), views, regime=regime)
        both_2K = torch.stack(measured(out, part_labels_BT.expand(trials, -1, -1), group.dtype))
        weight = len(part) / count
        parts.append(both_2K * weight)
        if regime.loads:
            shares.append(torch.stack([load.share_KE for load in regime.loads], 1) * weight)
    both_2K = torch.stack(parts).sum(0)
    shares_KLE = torch.stack(shares).sum(0) if shares else None
    if together:
        group.ranks.summed([both_2K, *([] if shares_KLE is None else [shares_KLE])])
    load_K = torch.full_like(both_2K[0], torch.nan) if shares_KLE is None else busiest(shares_KLE)
    return torch.cat([both_2K, load_K[None]])


def sequences_at_once(trials: int, sequence_length: int, micro_batches: int = 1) -> int:
    """Of one validation batch."""
    return max(1, EVAL_TOKENS // micro_batches // (trials * sequence_length))
