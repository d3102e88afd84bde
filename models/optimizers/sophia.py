"""Sophia (arXiv:2305.14342) with the Gauss-Newton-Bartlett estimate of the curvature (Sophia-G).

K trials, P parameters.
"""

from typing import TYPE_CHECKING

from .optimizer import Hyperparameters, Optimizer, State, zeros

if TYPE_CHECKING:
    from torch import Tensor

    from ..recipe.recipe import Recipe


def init(weight_KP: "Tensor", h: Hyperparameters) -> State:
    return {"momentum_KP": zeros(weight_KP), "curvature_KP": zeros(weight_KP)}


def observe(state: State, curvature_KP: "Tensor", h: Hyperparameters) -> None:
    """h <- beta2 h + (1 - beta2) estimate."""
    state["curvature_KP"].lerp_(curvature_KP, 1 - h.beta2_K1)


def update(
    state: State, gradient_KP: "Tensor", weight_KP: "Tensor", h: Hyperparameters, step: "int | Tensor"
) -> "Tensor":
    """A = clip(m / max(gamma h, eps), 1): m the gradient's average, h that of the estimated curvature."""
    import torch

    momentum_KP = state["momentum_KP"].lerp_(gradient_KP, 1 - h.beta1_K1)
    denominator_KP = (state["curvature_KP"] * h.gamma_K1).maximum(h.epsilon_K1)
    return torch.div(momentum_KP, denominator_KP, out=denominator_KP).clamp_(-1.0, 1.0)


def _flops(recipe: "Recipe", one_pass: float) -> float:
    """The estimate takes gradients of its own."""
    return one_pass / recipe.curvature_every


SOPHIA = Optimizer(
    reads=frozenset({"beta1", "beta2", "epsilon", "gamma", "curvature_every"}),
    repeats=False,
    init=init,
    update=update,
    observe=observe,
    convention="clip(m / max(gamma * h, eps), 1)",
    batch_flops=_flops,
)
