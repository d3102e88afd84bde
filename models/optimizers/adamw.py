"""AdamW (arXiv:1711.05101).

K trials, P parameters.
"""

import torch
from torch import Tensor

from .direction import Hyperparameters


class AdamW:
    """A = m_hat / (sqrt(v_hat) + eps), moments and epsilon per trial."""

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._h = hyperparameters
        self._steps = 0
        self._first_KP: Tensor | None = None
        self._second_KP: Tensor | None = None

    def __call__(self, gradient_KP: Tensor) -> Tensor:
        if self._first_KP is None or self._second_KP is None:
            self._first_KP = torch.zeros_like(gradient_KP)
            self._second_KP = torch.zeros_like(gradient_KP)
        h = self._h
        self._steps += 1
        self._first_KP.lerp_(gradient_KP, 1 - h.beta1_K1)
        self._second_KP.lerp_(gradient_KP.square(), 1 - h.beta2_K1)
        # Both bias corrections move into [K, 1] factors, so that each big tensor is touched once.
        first_K1 = 1 - h.beta1_K1**self._steps
        second_K1 = (1 - h.beta2_K1**self._steps).sqrt()
        denominator_KP = self._second_KP.sqrt().add_(h.epsilon_K1 * second_K1)
        return torch.div(self._first_KP, denominator_KP, out=denominator_KP).mul_(second_K1 / first_K1)
