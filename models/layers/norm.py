"""Normalisation over the last dimension, gains and biases per trial.

K trials, B batch, T time, D features.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

NORM_EPS = 1e-6


def norm(x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str) -> Tensor:
    """LayerNorm where `name` has a bias, RMSNorm (arXiv:1910.07467) where it has a gain alone, else x."""
    gain_KD = parameters.get(f"{name}.gain")
    if gain_KD is None:
        return x_KBTD
    features = (x_KBTD.shape[-1],)
    bias_KD = parameters.get(f"{name}.bias")
    if bias_KD is None:
        return F.rms_norm(x_KBTD, features, eps=NORM_EPS) * gain_KD[:, None, None]
    return F.layer_norm(x_KBTD, features, eps=NORM_EPS) * gain_KD[:, None, None] + bias_KD[:, None, None]
