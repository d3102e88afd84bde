"""SGD with momentum, Nesterov's or heavy-ball, as `torch.optim.SGD` defines them.

K trials, P parameters.
"""

import torch
from torch import Tensor

from .direction import Hyperparameters


class SGD:
    """m <- mu m + g; A = g + mu m with Nesterov momentum, else A = m. Momentum per trial."""

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._momentum_K1, self._nesterov = hyperparameters.momentum_K1, hyperparameters.nesterov
        self._buffer_KP: Tensor | None = None

    def __call__(self, gradient_KP: Tensor, weight_KP: Tensor) -> Tensor:
        if self._buffer_KP is None:
            self._buffer_KP = torch.zeros_like(gradient_KP)
        self._buffer_KP.mul_(self._momentum_K1).add_(gradient_KP)
        if not self._nesterov:
            return self._buffer_KP
        return torch.addcmul(gradient_KP, self._buffer_KP, self._momentum_K1)
