"""Labels drawn from the model's own prediction, which Sophia's curvature estimate needs.

K trials, B batch, T time, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

STREAM = 1  # apart from the draws of batches, which depend on (seed, step) too


def own_labels(logits_KBTV: Tensor, seeds: Sequence[int], step: int) -> Tensor:
    """One label per position from softmax(logits), [K, B, T].

    The uniform numbers depend on (seed, step) alone and are drawn on the CPU: trials that differ in
    anything else are paired.
    """
    shape = logits_KBTV.shape[1:3]
    draws = {seed: np.random.default_rng([seed, step, STREAM]).random(shape, np.float32) for seed in {*seeds}}
    uniform_KBT = torch.from_numpy(np.stack([draws[seed] for seed in seeds])).to(logits_KBTV.device)
    below_KBTV = logits_KBTV.float().softmax(-1).cumsum(-1) < uniform_KBT[..., None]
    return below_KBTV.sum(-1).clamp(max=logits_KBTV.shape[-1] - 1)
