"""Lion (arXiv:2302.06675).

K trials, P parameters.
"""

from typing import TYPE_CHECKING

from .optimizer import Hyperparameters, Optimizer, State, zeros

if TYPE_CHECKING:
    from torch import Tensor


def init(weight_KP: "Tensor", h: Hyperparameters) -> State:
    return {"momentum_KP": zeros(weight_KP)}


def update(
    state: State, gradient_KP: "Tensor", weight_KP: "Tensor", h: Hyperparameters, step: "int | Tensor"
) -> "Tensor":
    """A = sign(beta1 m + (1 - beta1) g), then m <- beta2 m + (1 - beta2) g."""
    direction_KP = gradient_KP.lerp(state["momentum_KP"], h.beta1_K1).sign_()
    state["momentum_KP"].lerp_(gradient_KP, 1 - h.beta2_K1)
    return direction_KP


LION = Optimizer(
    reads=frozenset({"beta1", "beta2"}),
    init=init,
    update=update,
)
