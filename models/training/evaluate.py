"""Validation of a group.

K trials, B batch, T time.
"""

import torch
from torch import Tensor

from .group import Group
from .loss import accuracy, loss

EVAL_TOKENS = 65_536
"""Tokens of all trials together in one validation batch: bounds the memory of the logits."""


@torch.no_grad()
def evaluate(group: Group, views: dict[str, Tensor], inputs: Tensor, labels_BT: Tensor) -> Tensor:
    """Validation loss and accuracy of every trial, [2, K]. The sequences are the same for all trials."""
    trials = len(group.recipes)
    tokens = EVAL_TOKENS // group.micro_batches
    size = max(1, tokens // (trials * group.one.shape.sequence_length))
    parts = []
    for part, part_labels_BT in zip(inputs.split(size), labels_BT.split(size), strict=True):
        out_KBTV = group.logits(part.expand(trials, *part.shape), views)
        labels_KBT = part_labels_BT.expand(trials, -1, -1)
        both_2K = torch.stack([loss(out_KBTV, labels_KBT), accuracy(out_KBTV, labels_KBT)])
        parts.append(both_2K * (len(part) / len(inputs)))
    return torch.stack(parts).sum(0)
