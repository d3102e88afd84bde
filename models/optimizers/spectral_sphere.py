"""Spectral sphere optimizer (arXiv:2601.08393): steepest descent on the sphere of fixed spectral norm.

K trials, P parameters: M matrices [O, I].
"""

import math
from typing import TYPE_CHECKING

from . import sgd
from .optimizer import Hyperparameters, Optimizer, State, fans, iteration_flops, matrices

if TYPE_CHECKING:
    from torch import Tensor

    from ..recipe.recipe import Recipe

POWER_ITERATIONS = 10  # from the last step's singular vector, which has hardly moved
BISECTIONS = 20


def init(weight_KP: "Tensor", h: Hyperparameters) -> State:
    import torch

    _, values, right = torch.linalg.svd(matrices(weight_KP.detach(), h), full_matrices=False)
    state = {"radius_KM11": values[..., :1, None].clone(), "right_KMI1": right[..., :1, :].mT.clone()}
    return state | sgd.init(weight_KP, h)


def update(
    state: State, gradient_KP: "Tensor", weight_KP: "Tensor", h: Hyperparameters, step: "int | Tensor"
) -> "Tensor":
    """A = sqrt(fan_out/fan_in) msign(M + lambda u v^T), with lambda such that <u v^T, A> = 0.

    M is the momentum over its Frobenius norm, u and v the weight's leading singular vectors. Before the
    step the weight is brought back to its sphere, W <- W R / sigma, by this function itself. R is the
    spectral norm that the weight was initialised with, so that the table's init row decides it (the paper
    sets R = sqrt(fan_out/fan_in), the same power of the width). On a sphere weight decay cannot shrink:
    each step's is taken back by the next.
    """
    from .orthogonal import SMALLEST_NORM

    fan_out, fan_in = fans(h)
    weight_KMOI = matrices(weight_KP, h)
    top_KMOI, norm_KM11 = _leading(state, weight_KMOI)
    weight_KMOI.mul_(state["radius_KM11"] / norm_KM11)
    momentum_KMOI = matrices(sgd.update(state, gradient_KP, weight_KP, h, step), h)
    size_KM11 = momentum_KMOI.norm(dim=(-2, -1), keepdim=True).clamp(min=SMALLEST_NORM)
    tangent_KMOI = _tangent(momentum_KMOI / size_KM11, top_KMOI)
    return tangent_KMOI.mul(math.sqrt(fan_out / fan_in)).flatten(1)


def _leading(state: State, weight_KMOI: "Tensor") -> "tuple[Tensor, Tensor]":
    """u v^T, [K, M, O, I], and the spectral norm, [K, M, 1, 1]."""
    import torch.nn.functional as F

    right_KMI1 = state["right_KMI1"]
    for _ in range(POWER_ITERATIONS):
        right_KMI1.copy_(F.normalize(weight_KMOI.mT @ (weight_KMOI @ right_KMI1), dim=-2))
    image_KMO1 = weight_KMOI @ right_KMI1
    norm_KM11 = image_KMO1.norm(dim=-2, keepdim=True)
    return (image_KMO1 / norm_KM11) @ right_KMI1.mT, norm_KM11


def _tangent(momentum_KMOI: "Tensor", top_KMOI: "Tensor") -> "Tensor":
    """msign(M + lambda u v^T) with the lambda of no radial part.

    Its radial part is the derivative of the convex ||M + lambda u v^T||_* and so grows with lambda;
    the root is within 2 ||M||_* <= 2 sqrt(rank) of zero: bisection cannot miss it.
    """
    from .orthogonal import POLAR, orthogonalised

    high_KM11 = momentum_KMOI.new_full(
        (*momentum_KMOI.shape[:2], 1, 1), 2 * math.sqrt(min(momentum_KMOI.shape[-2:]))
    )
    low_KM11 = -high_KM11
    for _ in range(BISECTIONS):
        middle_KM11 = (low_KM11 + high_KM11) / 2
        sign_KMOI = orthogonalised(momentum_KMOI + middle_KM11 * top_KMOI, POLAR)
        outward_KM11 = (sign_KMOI * top_KMOI).sum((-2, -1), keepdim=True) > 0
        high_KM11 = middle_KM11.where(outward_KM11, high_KM11)
        low_KM11 = low_KM11.where(outward_KM11, middle_KM11)
    return orthogonalised(momentum_KMOI + (low_KM11 + high_KM11) / 2 * top_KMOI, POLAR)


def _flops(recipe: "Recipe", rows: int, columns: int) -> float:
    return 21 * 8 * iteration_flops(rows, columns)


SPECTRAL_SPHERE = Optimizer(
    reads=frozenset({"momentum", "nesterov"}),
    matrices=True,
    init=init,
    update=update,
    convention="sqrt(fan_out/fan_in) * msign(M + lambda u v^T), tangent to the spectral sphere",
    matrix_flops=_flops,
)
