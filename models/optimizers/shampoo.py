"""Shampoo (arXiv:1802.09568) with decaying statistics, as in arXiv:2309.06497 without grafting.

K trials, P parameters: M matrices [O, I].
"""

from typing import TYPE_CHECKING

from .optimizer import (
    Hyperparameters,
    Optimizer,
    State,
    both_sides_flops,
    both_statistics,
    column,
    matrices,
    square_zeros,
    zeros,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ..recipe.recipe import Recipe


def init(weight_KP: "Tensor", h: Hyperparameters) -> State:
    w_KMOI = matrices(weight_KP.detach(), h)
    square_KMOO, square_KMII = square_zeros(weight_KP, h)
    return {
        "average_KMOI": zeros(w_KMOI),
        "left_KMOO": square_KMOO,
        "right_KMII": square_KMII,
        "left_root_KMOO": zeros(square_KMOO),
        "right_root_KMII": zeros(square_KMII),
    }


def update(
    state: State, gradient_KP: "Tensor", weight_KP: "Tensor", h: Hyperparameters, step: "int | Tensor"
) -> "Tensor":
    """A = average of (L + eps)^-1/4 G (R + eps)^-1/4, L and R averages of G G^T and G^T G.

    The roots are taken anew every `precondition_every` steps.
    """
    g_KMOI, new = matrices(gradient_KP, h), 1 - column(h.beta2_K1)
    left_KMOO = state["left_KMOO"].lerp_(g_KMOI @ g_KMOI.mT, new)
    right_KMII = state["right_KMII"].lerp_(g_KMOI.mT @ g_KMOI, new)
    if step % h.precondition_every == 0:
        state["left_root_KMOO"].copy_(_inverse_fourth_root(left_KMOO, h.epsilon_K1))
        state["right_root_KMII"].copy_(_inverse_fourth_root(right_KMII, h.epsilon_K1))
    preconditioned_KMOI = state["left_root_KMOO"] @ g_KMOI @ state["right_root_KMII"]
    return state["average_KMOI"].lerp_(preconditioned_KMOI, 1 - column(h.beta1_K1)).flatten(1)


def _inverse_fourth_root(x_KMSS: "Tensor", epsilon_K1: "Tensor") -> "Tensor":
    """(x + eps)^-1/4 of symmetric matrices.

    Eigenvalues that rounding cannot tell from zero count as that bound: raised to -1/4, their noise
    would be the largest part of the update.
    """
    import torch

    from .eigen import eigen

    value_KMS, basis_KMSS = eigen(x_KMSS)
    smallest = value_KMS.amax(-1, keepdim=True) * x_KMSS.shape[-1] * torch.finfo(x_KMSS.dtype).eps
    root_KMS: Tensor = (value_KMS.maximum(smallest) + epsilon_K1[:, :, None]).pow(-0.25)
    return (basis_KMSS * root_KMS[:, :, None]).matmul(basis_KMSS.mT)


def _flops(recipe: "Recipe", rows: int, columns: int) -> float:
    """A symmetric eigenproblem counts as 25 n^3."""
    cubes = (rows**3 + columns**3) / recipe.precondition_every
    return 2 * both_sides_flops(rows, columns) + 27 * cubes


SHAMPOO = Optimizer(
    reads=frozenset({"precondition_every"}),
    matrices=True,
    repeats=False,
    init=init,
    update=update,
    convention="(L + eps)^(-1/4) G (R + eps)^(-1/4), statistics averaged with beta2, result with beta1",
    matrix_flops=_flops,
    matrix_numbers=both_statistics,
)
