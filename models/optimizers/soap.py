"""SOAP (arXiv:2409.11321): Adam in the eigenbasis of Shampoo's statistics.

K trials, P parameters: M matrices [O, I]; S is O or I.
"""

import torch
from torch import Tensor

from .direction import Hyperparameters, column, matrices
from .eigen import eigen


class SOAP:
    """A = Q_L (m' / (sqrt(v') + eps)) Q_R^T, m' and v' Adam's moments in the basis Q_L, Q_R.

    As in the authors' code the first step only fills the statistics (A = 0), and every
    `precondition_every` steps the basis follows them by one power iteration and a QR decomposition.
    """

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._h = hyperparameters
        self._steps = 0
        self._statistics: list[Tensor] = []  # [K, M, O, O] and [K, M, I, I]
        self._bases: list[Tensor] = []
        self._first_KMOI = self._second_KMOI = torch.empty(0)

    def __call__(self, gradient_KP: Tensor, weight_KP: Tensor) -> Tensor:
        g_KMOI = matrices(gradient_KP, self._h)
        if not self._bases:
            self._start(g_KMOI)
            return torch.zeros_like(gradient_KP)
        self._steps += 1
        direction_KMOI = self._adam(g_KMOI)
        self._gather(g_KMOI)
        if self._steps % self._h.precondition_every == 0:
            self._turn()
        return direction_KMOI.flatten(1)

    def _start(self, g_KMOI: Tensor) -> None:
        self._first_KMOI, self._second_KMOI = torch.zeros_like(g_KMOI), torch.zeros_like(g_KMOI)
        self._statistics = [torch.zeros_like(x) for x in (g_KMOI @ g_KMOI.mT, g_KMOI.mT @ g_KMOI)]
        self._gather(g_KMOI)
        self._bases = [eigen(x_KMSS)[1].flip(-1) for x_KMSS in self._statistics]

    def _gather(self, g_KMOI: Tensor) -> None:
        weight = 1 - column(self._h.beta2_K1)
        for held, new in zip(self._statistics, (g_KMOI @ g_KMOI.mT, g_KMOI.mT @ g_KMOI), strict=True):
            held.lerp_(new, weight)

    def _adam(self, g_KMOI: Tensor) -> Tensor:
        h = self._h
        beta1, beta2 = column(h.beta1_K1), column(h.beta2_K1)
        left_KMOO, right_KMII = self._bases
        rotated_KMOI = left_KMOO.mT @ g_KMOI @ right_KMII
        self._first_KMOI.lerp_(g_KMOI, 1 - beta1)
        self._second_KMOI.lerp_(rotated_KMOI.square(), 1 - beta2)
        ratio_KMOI = left_KMOO.mT @ self._first_KMOI @ right_KMII
        ratio_KMOI /= self._second_KMOI.sqrt().add_(column(h.epsilon_K1))
        correction = (1 - beta2**self._steps).sqrt() / (1 - beta1**self._steps)
        return left_KMOO @ (ratio_KMOI * correction) @ right_KMII.mT

    def _turn(self) -> None:
        """One power iteration of both bases, sorted by eigenvalue; the second moment follows the order."""
        for side, dim in ((0, -2), (1, -1)):
            basis_KMSS = self._bases[side]
            moved_KMSS = self._statistics[side] @ basis_KMSS
            order_KMS = (basis_KMSS * moved_KMSS).sum(-2).argsort(dim=-1, descending=True)
            index = order_KMS[..., :, None] if dim == -2 else order_KMS[..., None, :]
            self._second_KMOI = self._second_KMOI.gather(dim, index.expand_as(self._second_KMOI))
            sorted_KMSS = moved_KMSS.gather(-1, order_KMS[..., None, :].expand_as(moved_KMSS))
            self._bases[side] = torch.linalg.qr(sorted_KMSS).Q
