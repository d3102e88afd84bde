"""Labels drawn from the model's own prediction, which Sophia's curvature estimate needs.

K trials, B batch, T time, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

STREAM = 1  # apart from the draws of batches, which depend on (seed, step) too


def own_labels(logits_KBTV: Tensor, labels_KBT: Tensor, seeds: Sequence[int], step: int) -> Tensor:
    """A label drawn for every position that has one, [K, B, T]: from softmax(logits), or from a Gaussian of
    unit width about the output where labels are numbers.

    The random numbers depend on (seed, step) alone and are drawn on the CPU: trials that differ in
    anything else are paired.
    """
    if labels_KBT.is_floating_point():
        return logits_KBTV[..., 0].float() + _drawn(logits_KBTV, seeds, step, "standard_normal")
    uniform_KBT = _drawn(logits_KBTV, seeds, step, "random")
    below_KBTV = logits_KBTV.float().softmax(-1).cumsum(-1) < uniform_KBT[..., None]
    drawn_KBT = below_KBTV.sum(-1).clamp(max=logits_KBTV.shape[-1] - 1)
    return torch.where(labels_KBT >= 0, drawn_KBT, labels_KBT)


def _drawn(like_KBTV: Tensor, seeds: Sequence[int], step: int, kind: str) -> Tensor:
    shape = like_KBTV.shape[1:3]
    draws = {
        seed: getattr(np.random.default_rng([seed, step, STREAM]), kind)(shape, np.float32)
        for seed in {*seeds}
    }
    return torch.from_numpy(np.stack([draws[seed] for seed in seeds])).to(like_KBTV.device)
