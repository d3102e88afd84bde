"""Sophia (arXiv:2305.14342) with the Gauss-Newton-Bartlett estimate of the curvature (Sophia-G).

K trials, P parameters.
"""

import torch
from torch import Tensor

from .direction import Hyperparameters


class Sophia:
    """A = clip(m / max(gamma h, eps), 1): m the gradient's average, h that of the estimated curvature.

    The estimate needs gradients of its own; whoever trains takes them every few steps (`observe`).
    """

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._h = hyperparameters
        self._momentum_KP: Tensor | None = None
        self._curvature_KP: Tensor | None = None

    def observe(self, curvature_KP: Tensor) -> None:
        """h <- beta2 h + (1 - beta2) estimate."""
        if self._curvature_KP is None:
            self._curvature_KP = torch.zeros_like(curvature_KP)
        self._curvature_KP.lerp_(curvature_KP, 1 - self._h.beta2_K1)

    def __call__(self, gradient_KP: Tensor, weight_KP: Tensor) -> Tensor:
        if self._momentum_KP is None:
            self._momentum_KP = torch.zeros_like(gradient_KP)
        if self._curvature_KP is None:
            self._curvature_KP = torch.zeros_like(gradient_KP)
        self._momentum_KP.lerp_(gradient_KP, 1 - self._h.beta1_K1)
        denominator_KP = torch.maximum(self._curvature_KP * self._h.gamma_K1, self._h.epsilon_K1)
        return torch.div(self._momentum_KP, denominator_KP, out=denominator_KP).clamp_(-1.0, 1.0)
