"""Dion (arXiv:2504.05295, algorithm 1): momentum, orthogonalised in a subspace of low rank, which a step of
power iteration follows.

K trials, M matrices, O fan_out, I fan_in, R rank.
"""

import math
from typing import TYPE_CHECKING

from .optimizer import Hyperparameters, Optimizer, State, column, fans, matrices, zeros

if TYPE_CHECKING:
    from torch import Tensor

    from ..recipe.recipe import Recipe

SMALLEST_SHARE = 1e-7
"""Of the momentum's norm that a column of the basis must catch; one that catches less stays as it was."""


def rank(rows: int, columns: int, ratio: float) -> int:
    """Of the subspace: a share of the shorter side, so that it grows with the width."""
    return max(1, round(ratio * min(rows, columns)))


def init(weight_KP: "Tensor", h: Hyperparameters) -> State:
    """The basis is drawn alike for all trials, as Gaussian columns of norm 1."""
    import torch

    w_KMOI = matrices(weight_KP.detach(), h)
    k, m, o, i = w_KMOI.shape
    generator = torch.Generator().manual_seed(0)
    drawn_MIR = torch.randn(m, i, rank(o, i, h.rank_ratio), generator=generator, dtype=torch.float64)
    basis_MIR = drawn_MIR / drawn_MIR.norm(dim=1, keepdim=True)
    basis_KMIR = basis_MIR.to(w_KMOI.device, w_KMOI.dtype).expand(k, *basis_MIR.shape).clone()
    return {"momentum_KP": zeros(weight_KP), "basis_KMIR": basis_KMIR}


def update(
    state: State, gradient_KP: "Tensor", weight_KP: "Tensor", h: Hyperparameters, step: "int | Tensor"
) -> "Tensor":
    """A = sqrt(fan_out/fan_in) P Q^T. With B = m + g: P is an orthonormal basis of B Q, R = B^T P, Q its
    columns at norm 1, and m <- B - (1 - mu) P R^T, so that what the subspace missed stays in the momentum."""
    import torch

    b_KMOI = matrices(state["momentum_KP"].add_(gradient_KP), h)
    whole_KM11 = b_KMOI.norm(dim=(2, 3), keepdim=True)
    p_KMOR, _ = torch.linalg.qr(b_KMOI @ state["basis_KMIR"])
    r_KMIR = b_KMOI.mT @ p_KMOR
    b_KMOI.sub_((1 - column(h.momentum_K1)) * (p_KMOR @ r_KMIR.mT))
    # A column that catches nothing has no direction, and takes no part in the step either.
    norm_KM1R = r_KMIR.norm(dim=2, keepdim=True)
    caught_KM1R = norm_KM1R > SMALLEST_SHARE * whole_KM11
    fresh_KMIR = r_KMIR / torch.where(caught_KM1R, norm_KM1R, 1.0)
    state["basis_KMIR"].copy_(torch.where(caught_KM1R, fresh_KMIR, state["basis_KMIR"]))
    fan_out, fan_in = fans(h)
    direction_KP: Tensor = ((p_KMOR * caught_KM1R) @ state["basis_KMIR"].mT).flatten(1)
    return direction_KP.mul_(math.sqrt(fan_out / fan_in))


def _flops(recipe: "Recipe", rows: int, columns: int) -> float:
    """Four products with a matrix of the rank's columns, and a decomposition."""
    r = rank(rows, columns, recipe.rank_ratio)
    return 8.0 * rows * columns * r + 4.0 * rows * r**2


DION = Optimizer(
    reads=frozenset({"momentum", "rank_ratio"}),
    matrices=True,
    repeats=False,
    init=init,
    update=update,
    convention="sqrt(fan_out/fan_in) * P Q^T",
    defaults={"momentum": 0.95},
    matrix_flops=_flops,
    matrix_numbers=lambda rows, columns: float(columns * min(rows, columns)),
)
