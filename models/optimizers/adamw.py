"""AdamW (arXiv:1711.05101).

K trials, P parameters.
"""

import torch
from torch import Tensor

from .direction import Hyperparameters


class AdamW:
    """A = m_hat / (sqrt(v_hat) + eps), moments and epsilon per trial.

    The moments are kept without their factors (1 - beta): they and both bias corrections move into
    [K, 1] columns, so that each big tensor is passed over once or twice.
    """

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._h = hyperparameters
        self._steps = 0
        self._first_KP: Tensor | None = None
        self._second_KP: Tensor | None = None

    def __call__(self, gradient_KP: Tensor, weight_KP: Tensor) -> Tensor:
        if self._first_KP is None or self._second_KP is None:
            self._first_KP = torch.zeros_like(gradient_KP)
            self._second_KP = torch.zeros_like(gradient_KP)
        h = self._h
        self._steps += 1
        self._first_KP.mul_(h.beta1_K1).add_(gradient_KP)
        self._second_KP.mul_(h.beta2_K1).addcmul_(gradient_KP, gradient_KP)
        mean_K1 = (1 - h.beta1_K1) / (1 - h.beta1_K1**self._steps)
        root_K1 = ((1 - h.beta2_K1) / (1 - h.beta2_K1**self._steps)).sqrt()
        denominator_KP = self._second_KP.sqrt().add_(h.epsilon_K1 / root_K1)
        return torch.div(self._first_KP, denominator_KP, out=denominator_KP).mul_(mean_K1 / root_K1)
