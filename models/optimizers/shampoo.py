"""Shampoo (arXiv:1802.09568) with decaying statistics, as in arXiv:2309.06497 without grafting.

K trials, P parameters: M matrices [O, I].
"""

import torch
from torch import Tensor

from .direction import Hyperparameters, column, matrices
from .eigen import eigen


class Shampoo:
    """A = average of (L + eps)^-1/4 G (R + eps)^-1/4, L and R averages of G G^T and G^T G.

    The roots are taken anew every `precondition_every` steps.
    """

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._h = hyperparameters
        self._steps = 0
        self._left_KMOO = self._right_KMII = self._average_KMOI = torch.empty(0)
        self._left_root_KMOO = self._right_root_KMII = torch.empty(0)

    def __call__(self, gradient_KP: Tensor, weight_KP: Tensor) -> Tensor:
        g_KMOI = matrices(gradient_KP, self._h)
        h, beta2 = self._h, column(self._h.beta2_K1)
        left_KMOO, right_KMII = g_KMOI @ g_KMOI.mT, g_KMOI.mT @ g_KMOI
        if self._steps == 0:
            self._left_KMOO, self._right_KMII = torch.zeros_like(left_KMOO), torch.zeros_like(right_KMII)
            self._average_KMOI = torch.zeros_like(g_KMOI)
        self._left_KMOO.lerp_(left_KMOO, 1 - beta2)
        self._right_KMII.lerp_(right_KMII, 1 - beta2)
        if self._steps % h.precondition_every == 0:
            self._left_root_KMOO = _inverse_fourth_root(self._left_KMOO, h.epsilon_K1)
            self._right_root_KMII = _inverse_fourth_root(self._right_KMII, h.epsilon_K1)
        self._steps += 1
        preconditioned_KMOI = self._left_root_KMOO @ g_KMOI @ self._right_root_KMII
        self._average_KMOI.lerp_(preconditioned_KMOI, 1 - column(h.beta1_K1))
        return self._average_KMOI.flatten(1)


def _inverse_fourth_root(x_KMSS: Tensor, epsilon_K1: Tensor) -> Tensor:
    """(x + eps)^-1/4 of symmetric matrices.

    Eigenvalues that rounding cannot tell from zero count as that bound: raised to -1/4, their noise
    would be the largest part of the update.
    """
    value_KMS, basis_KMSS = eigen(x_KMSS)
    smallest = value_KMS.amax(-1, keepdim=True) * x_KMSS.shape[-1] * torch.finfo(x_KMSS.dtype).eps
    root_KMS: Tensor = (torch.maximum(value_KMS, smallest) + epsilon_K1[:, :, None]).pow(-0.25)
    return torch.matmul(basis_KMSS * root_KMS[:, :, None], basis_KMSS.mT)
