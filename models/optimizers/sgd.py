"""SGD with momentum, Nesterov's or heavy-ball, as `torch.optim.SGD` defines them.

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
    """m <- mu m + g; A = g + mu m with Nesterov momentum, else A = m. Momentum per trial."""
    momentum_KP = state["momentum_KP"].mul_(h.momentum_K1).add_(gradient_KP)
    return gradient_KP.addcmul(momentum_KP, h.momentum_K1) if h.nesterov else momentum_KP


SGD = Optimizer(
    reads=frozenset({"momentum", "nesterov"}),
    init=init,
    update=update,
    exported_as={"torch": "SGD", "megatron": "sgd"},
)
