"""AdamW (arXiv:1711.05101).

K trials, P parameters.
"""

from typing import TYPE_CHECKING

from .optimizer import Hyperparameters, Optimizer, State, zeros

if TYPE_CHECKING:
    from torch import Tensor


def init(weight_KP: "Tensor", h: Hyperparameters) -> State:
    return {"first_KP": zeros(weight_KP), "second_KP": zeros(weight_KP)}


def update(
    state: State, gradient_KP: "Tensor", weight_KP: "Tensor", h: Hyperparameters, step: "int | Tensor"
) -> "Tensor":
    """A = m_hat / (sqrt(v_hat) + eps), moments and epsilon per trial.

    The moments are kept without their factors (1 - beta): they and both bias corrections move into
    [K, 1] columns, so that each big tensor is passed over once or twice.
    """
    import torch

    steps = step + 1
    first_KP = state["first_KP"].mul_(h.beta1_K1).add_(gradient_KP)
    second_KP = state["second_KP"].mul_(h.beta2_K1).addcmul_(gradient_KP, gradient_KP)
    mean_K1 = (1 - h.beta1_K1) / (1 - h.beta1_K1**steps)
    root_K1 = ((1 - h.beta2_K1) / (1 - h.beta2_K1**steps)).sqrt()
    denominator_KP = second_KP.sqrt().add_(h.epsilon_K1 / root_K1)
    return torch.div(first_KP, denominator_KP, out=denominator_KP).mul_(mean_K1 / root_K1)


ADAMW = Optimizer(
    reads=frozenset({"beta1", "beta2", "epsilon"}),
    init=init,
    update=update,
    exported_as={"torch": "AdamW", "megatron": "adam", "torchtitan": "AdamW"},
)
