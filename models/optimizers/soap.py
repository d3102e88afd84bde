"""SOAP (arXiv:2409.11321): Adam in the eigenbasis of Shampoo's statistics.

K trials, P parameters: M matrices [O, I]; S is O or I.
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
        "first_KMOI": zeros(w_KMOI),
        "second_KMOI": zeros(w_KMOI),
        "left_KMOO": square_KMOO,
        "right_KMII": square_KMII,
        "left_basis_KMOO": zeros(square_KMOO),
        "right_basis_KMII": zeros(square_KMII),
    }


def update(
    state: State, gradient_KP: "Tensor", weight_KP: "Tensor", h: Hyperparameters, step: "int | Tensor"
) -> "Tensor":
    """A = Q_L (m' / (sqrt(v') + eps)) Q_R^T, m' and v' Adam's moments in the basis Q_L, Q_R.

    As in the authors' code the first step only fills the statistics (A = 0), and every
    `precondition_every` steps the basis follows them by one power iteration and a QR decomposition.
    """
    g_KMOI = matrices(gradient_KP, h)
    if step == 0:
        _gather(state, g_KMOI, h)
        _begin(state)
        return zeros(gradient_KP)
    direction_KMOI = _adam(state, g_KMOI, h, step)
    _gather(state, g_KMOI, h)
    if step % h.precondition_every == 0:
        _turn(state, "left_KMOO", "left_basis_KMOO", -2)
        _turn(state, "right_KMII", "right_basis_KMII", -1)
    return direction_KMOI.flatten(1)


def _gather(state: State, g_KMOI: "Tensor", h: Hyperparameters) -> None:
    new = 1 - column(h.beta2_K1)
    state["left_KMOO"].lerp_(g_KMOI @ g_KMOI.mT, new)
    state["right_KMII"].lerp_(g_KMOI.mT @ g_KMOI, new)


def _begin(state: State) -> None:
    """The bases of the first statistics, the largest eigenvalue first."""
    from .eigen import eigen

    state["left_basis_KMOO"].copy_(eigen(state["left_KMOO"])[1].flip(-1))
    state["right_basis_KMII"].copy_(eigen(state["right_KMII"])[1].flip(-1))


def _adam(state: State, g_KMOI: "Tensor", h: Hyperparameters, steps: "int | Tensor") -> "Tensor":
    beta1, beta2 = column(h.beta1_K1), column(h.beta2_K1)
    left_KMOO, right_KMII = state["left_basis_KMOO"], state["right_basis_KMII"]
    rotated_KMOI = left_KMOO.mT @ g_KMOI @ right_KMII
    first_KMOI = state["first_KMOI"].lerp_(g_KMOI, 1 - beta1)
    second_KMOI = state["second_KMOI"].lerp_(rotated_KMOI.square(), 1 - beta2)
    ratio_KMOI = left_KMOO.mT @ first_KMOI @ right_KMII
    ratio_KMOI /= second_KMOI.sqrt().add_(column(h.epsilon_K1))
    correction = (1 - beta2**steps).sqrt() / (1 - beta1**steps)
    return left_KMOO @ (ratio_KMOI * correction) @ right_KMII.mT


def _turn(state: State, statistic: str, basis: str, dim: int) -> None:
    """One power iteration of a basis, sorted by eigenvalue; the second moment follows the order."""
    import torch

    moved_KMSS = state[statistic] @ state[basis]
    order_KMS = (state[basis] * moved_KMSS).sum(-2).argsort(dim=-1, descending=True)
    index = order_KMS[..., :, None] if dim == -2 else order_KMS[..., None, :]
    second_KMOI = state["second_KMOI"]
    second_KMOI.copy_(second_KMOI.gather(dim, index.expand_as(second_KMOI)))
    sorted_KMSS = moved_KMSS.gather(-1, order_KMS[..., None, :].expand_as(moved_KMSS))
    state[basis].copy_(torch.linalg.qr(sorted_KMSS).Q)


def _flops(recipe: "Recipe", rows: int, columns: int) -> float:
    """A QR decomposition counts as 4 n^3."""
    cubes = (rows**3 + columns**3) / recipe.precondition_every
    return 4 * both_sides_flops(rows, columns) + 6 * cubes


SOAP = Optimizer(
    reads=frozenset({"precondition_every"}),
    matrices=True,
    repeats=False,
    init=init,
    update=update,
    convention="Adam in the eigenbasis of Shampoo's statistics",
    matrix_flops=_flops,
    matrix_numbers=both_statistics,
)
