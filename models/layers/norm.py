"""Normalisation over the last dimension, gains and biases per trial.

K trials, D features.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor


def norm(x: Tensor, parameters: Mapping[str, Tensor], name: str, eps: float) -> Tensor:
    """Of x [K, ..., D]: LayerNorm where `name` has a bias, RMSNorm (arXiv:1910.07467) where it has a gain
    alone, else x itself."""
    gain_KD, bias_KD = parameters.get(f"{name}.gain"), parameters.get(f"{name}.bias")
    if gain_KD is None:
        return x
    features, beside = (x.shape[-1],), (len(x), *(1,) * (x.dim() - 2), -1)
    if bias_KD is None:
        return F.rms_norm(x, features, eps=eps) * gain_KD.view(beside)
    return F.layer_norm(x, features, eps=eps) * gain_KD.view(beside) + bias_KD.view(beside)
