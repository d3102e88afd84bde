"""SGD with Nesterov momentum, as `torch.optim.SGD(nesterov=True)` defines it.

K trials, P parameters.
"""

import torch
from torch import Tensor

from .direction import Hyperparameters


class SGD:
    """m <- mu m + g and A = g + mu m, momentum per trial."""

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._momentum_K1 = hyperparameters.momentum_K1
        self._buffer_KP: Tensor | None = None

    def __call__(self, gradient_KP: Tensor) -> Tensor:
        if self._buffer_KP is None:
            self._buffer_KP = torch.zeros_like(gradient_KP)
        self._buffer_KP.mul_(self._momentum_K1).add_(gradient_KP)
        return torch.addcmul(gradient_KP, self._buffer_KP, self._momentum_K1)
