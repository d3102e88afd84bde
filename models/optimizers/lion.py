"""Lion (arXiv:2302.06675).

K trials, P parameters.
"""

import torch
from torch import Tensor

from .direction import Hyperparameters


class Lion:
    """A = sign(beta1 m + (1 - beta1) g), then m <- beta2 m + (1 - beta2) g."""

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._h = hyperparameters
        self._momentum_KP: Tensor | None = None

    def __call__(self, gradient_KP: Tensor, weight_KP: Tensor) -> Tensor:
        if self._momentum_KP is None:
            self._momentum_KP = torch.zeros_like(gradient_KP)
        direction_KP = gradient_KP.lerp(self._momentum_KP, self._h.beta1_K1).sign_()
        self._momentum_KP.lerp_(gradient_KP, 1 - self._h.beta2_K1)
        return direction_KP
