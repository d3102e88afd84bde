"""Muon (kellerjordan.github.io/posts/muon) and Muon-Kimi (arXiv:2502.16982): momentum, orthogonalised.

K trials, P parameters: M matrices [O, I]; all of one shape in a trial, and all trials, go through one
Newton-Schulz iteration together.
"""

import math

from torch import Tensor

from .direction import Hyperparameters, fans, matrices
from .orthogonal import QUINTIC, orthogonalised
from .sgd import SGD


class _Orthogonal:
    """A = factor * U V^T of the momentum."""

    def __init__(self, hyperparameters: Hyperparameters, factor: float) -> None:
        self._h, self._factor = hyperparameters, factor
        self._momentum = SGD(hyperparameters)

    def __call__(self, gradient_KP: Tensor, weight_KP: Tensor) -> Tensor:
        momentum_KMOI = matrices(self._momentum(gradient_KP, weight_KP), self._h)
        return orthogonalised(momentum_KMOI, QUINTIC).mul(self._factor).flatten(1)


class Muon(_Orthogonal):
    """A = sqrt(fan_out/fan_in) U V^T: an update of RMS operator norm 1 for any shape.

    `torch.optim.Muon` takes sqrt(max(1, fan_out/fan_in)), which is the same for square and tall matrices.
    """

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        fan_out, fan_in = fans(hyperparameters)
        super().__init__(hyperparameters, math.sqrt(fan_out / fan_in))


class MuonKimi(_Orthogonal):
    """A = 0.2 sqrt(max(fan_in, fan_out)) U V^T: entries as large as AdamW's.

    `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`.
    """

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        super().__init__(hyperparameters, 0.2 * math.sqrt(max(fans(hyperparameters))))
