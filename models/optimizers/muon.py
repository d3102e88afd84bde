"""Muon (kellerjordan.github.io/posts/muon) and Muon-Kimi (arXiv:2502.16982): momentum, orthogonalised.

K trials, P parameters: M matrices [O, I]; all of one shape in a trial, and all trials, go through one
Newton-Schulz iteration together.
"""

import math
from typing import TYPE_CHECKING

from . import sgd
from .optimizer import Hyperparameters, Optimizer, State, fans, iteration_flops, matrices

if TYPE_CHECKING:
    from torch import Tensor

    from ..recipe.recipe import Recipe


def muon(state: State, gradient_KP: "Tensor", weight_KP: "Tensor", h: Hyperparameters, step: int) -> "Tensor":
    """A = sqrt(fan_out/fan_in) U V^T: an update of RMS operator norm 1 for any shape.

    `torch.optim.Muon` takes sqrt(max(1, fan_out/fan_in)), which is the same for square and tall matrices.
    """
    fan_out, fan_in = fans(h)
    return _orthogonal(sgd.update(state, gradient_KP, weight_KP, h, step), h, math.sqrt(fan_out / fan_in))


def muon_kimi(
    state: State, gradient_KP: "Tensor", weight_KP: "Tensor", h: Hyperparameters, step: int
) -> "Tensor":
    """A = 0.2 sqrt(max(fan_in, fan_out)) U V^T: entries as large as AdamW's.

    `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`.
    """
    factor = 0.2 * math.sqrt(max(fans(h)))
    return _orthogonal(sgd.update(state, gradient_KP, weight_KP, h, step), h, factor)


def _orthogonal(momentum_KP: "Tensor", h: Hyperparameters, factor: float) -> "Tensor":
    """factor * U V^T of the momentum's matrices."""
    from .orthogonal import QUINTIC, orthogonalised

    return orthogonalised(matrices(momentum_KP, h), QUINTIC).mul(factor).flatten(1)


def _flops(recipe: "Recipe", rows: int, columns: int) -> float:
    return 5 * iteration_flops(rows, columns)


MUON = Optimizer(
    reads=frozenset({"momentum", "nesterov"}),
    matrices=True,
    init=sgd.init,
    update=muon,
    convention="sqrt(fan_out/fan_in) * U V^T",
    exported_as={"megatron": "muon"},
    matrix_flops=_flops,
)
MUON_KIMI = Optimizer(
    reads=frozenset({"momentum", "nesterov"}),
    matrices=True,
    init=sgd.init,
    update=muon_kimi,
    convention="0.2 * sqrt(max(fan_in, fan_out)) * U V^T",
    matrix_flops=_flops,
)
