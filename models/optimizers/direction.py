"""What an optimizer is: a direction A for the step W <- W - lr * (A + weight_decay * W).

K trials, P parameters of one table row, laid end to end.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """What the directions of one buffer need, each [K, 1]: already scaled by the rules."""

    beta1_K1: Tensor
    beta2_K1: Tensor
    epsilon_K1: Tensor
    momentum_K1: Tensor


class Direction(Protocol):
    """The update direction of one buffer, with its own state."""

    def __call__(self, gradient_KP: Tensor) -> Tensor:
        """A, [K, P], a tensor that the caller may overwrite; advances the state by one step."""
        ...


def step(
    weight_KP: Tensor, direction_KP: Tensor, learning_rate_K1: Tensor, weight_decay_K1: Tensor | None
) -> None:
    """W <- W - lr * (A + weight_decay * W) in place; decay None where it is zero for every trial."""
    if weight_decay_K1 is not None:
        weight_KP.mul_(1 - learning_rate_K1 * weight_decay_K1)
    weight_KP.addcmul_(direction_KP, learning_rate_K1, value=-1)
