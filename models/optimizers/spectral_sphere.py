"""Spectral sphere optimizer (arXiv:2601.08393): steepest descent on the sphere of fixed spectral norm.

K trials, P parameters: M matrices [O, I].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .direction import Hyperparameters, fans, matrices
from .orthogonal import POLAR, SMALLEST_NORM, orthogonalised
from .sgd import SGD

POWER_ITERATIONS = 10  # from the last step's singular vector, which has hardly moved
BISECTIONS = 20


class SpectralSphere:
    """A = sqrt(fan_out/fan_in) msign(M + lambda u v^T), with lambda such that <u v^T, A> = 0.

    M is the momentum over its Frobenius norm, u and v the weight's leading singular vectors. Before the
    step the weight is brought back to its sphere, W <- W R / sigma, by this class itself. R is the
    spectral norm that the weight was initialised with, so that the table's init row decides it (the paper
    sets R = sqrt(fan_out/fan_in), the same power of the width). On a sphere weight decay cannot shrink:
    each step's is taken back by the next.
    """

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        fan_out, fan_in = fans(hyperparameters)
        self._h, self._factor = hyperparameters, math.sqrt(fan_out / fan_in)
        self._widest = 2 * math.sqrt(min(fan_out, fan_in))
        self._momentum = SGD(hyperparameters)
        self._radius_KM11 = self._right_KMI1 = torch.empty(0)

    def __call__(self, gradient_KP: Tensor, weight_KP: Tensor) -> Tensor:
        weight_KMOI = matrices(weight_KP, self._h)
        if not self._right_KMI1.numel():
            _, values, right = torch.linalg.svd(weight_KMOI, full_matrices=False)
            self._radius_KM11, self._right_KMI1 = values[..., :1, None], right[..., :1, :].mT
        top_KMOI, norm_KM11 = self._leading(weight_KMOI)
        weight_KMOI.mul_(self._radius_KM11 / norm_KM11)
        momentum_KMOI = matrices(self._momentum(gradient_KP, weight_KP), self._h)
        size_KM11 = momentum_KMOI.norm(dim=(-2, -1), keepdim=True).clamp(min=SMALLEST_NORM)
        tangent_KMOI = self._tangent(momentum_KMOI / size_KM11, top_KMOI)
        return tangent_KMOI.mul(self._factor).flatten(1)

    def _leading(self, weight_KMOI: Tensor) -> tuple[Tensor, Tensor]:
        """u v^T, [K, M, O, I], and the spectral norm, [K, M, 1, 1]."""
        for _ in range(POWER_ITERATIONS):
            self._right_KMI1 = F.normalize(weight_KMOI.mT @ (weight_KMOI @ self._right_KMI1), dim=-2)
        image_KMO1 = weight_KMOI @ self._right_KMI1
        norm_KM11 = image_KMO1.norm(dim=-2, keepdim=True)
        return (image_KMO1 / norm_KM11) @ self._right_KMI1.mT, norm_KM11

    def _tangent(self, momentum_KMOI: Tensor, top_KMOI: Tensor) -> Tensor:
        """msign(M + lambda u v^T) with the lambda of no radial part.

        Its radial part is the derivative of the convex ||M + lambda u v^T||_* and so grows with lambda;
        the root is within 2 ||M||_* <= 2 sqrt(rank) of zero: bisection cannot miss it.
        """
        low_KM11 = torch.full_like(momentum_KMOI[..., :1, :1], -self._widest)
        high_KM11 = -low_KM11
        for _ in range(BISECTIONS):
            middle_KM11 = (low_KM11 + high_KM11) / 2
            sign_KMOI = orthogonalised(momentum_KMOI + middle_KM11 * top_KMOI, POLAR)
            outward_KM11 = (sign_KMOI * top_KMOI).sum((-2, -1), keepdim=True) > 0
            high_KM11 = torch.where(outward_KM11, middle_KM11, high_KM11)
            low_KM11 = torch.where(outward_KM11, low_KM11, middle_KM11)
        return orthogonalised(momentum_KMOI + (low_KM11 + high_KM11) / 2 * top_KMOI, POLAR)
