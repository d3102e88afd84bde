"""What an optimizer is: a direction A for the step W <- W - lr * A - shrink * W.

K trials, P parameters of one buffer laid end to end; for matrix optimizers P is M matrices [O, I] of one
shape, O fan_out and I fan_in.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """What the directions of one buffer need. Columns are [K, 1] and already scaled by the rules.

    `matrix` is the shape of the matrices where the buffer is a stack of them for a matrix optimizer:
    (fan_out, fan_in), but for an embedding, a `lookup`, whose rows are its inputs: (fan_in, fan_out).
    """

    beta1_K1: Tensor
    beta2_K1: Tensor
    epsilon_K1: Tensor
    momentum_K1: Tensor
    gamma_K1: Tensor
    nesterov: bool
    precondition_every: int
    matrix: tuple[int, int] | None = None
    lookup: bool = False


class Direction(Protocol):
    """The update direction of one buffer, with its own state."""

    def __call__(self, gradient_KP: Tensor, weight_KP: Tensor) -> Tensor:
        """A, [K, P], to be read before the next call; advances the state by one step."""
        ...


def step(weight_KP: Tensor, direction_KP: Tensor, learning_rate_K1: Tensor, shrink_K1: Tensor | None) -> None:
    """W <- (1 - shrink) W - lr A in place; shrink None where it is zero for every trial."""
    if shrink_K1 is not None:
        weight_KP.mul_(1 - shrink_K1)
    weight_KP.addcmul_(direction_KP, learning_rate_K1, value=-1)


def fans(hyperparameters: Hyperparameters) -> tuple[int, int]:
    """(fan_out, fan_in) of the buffer's matrices."""
    assert hyperparameters.matrix is not None, "a matrix optimizer was given something else"
    rows, columns = hyperparameters.matrix
    return (columns, rows) if hyperparameters.lookup else (rows, columns)


def matrices(buffer_KP: Tensor, hyperparameters: Hyperparameters) -> Tensor:
    """The buffer as its matrices, [K, M, O, I]."""
    assert hyperparameters.matrix is not None, "a matrix optimizer was given something else"
    return buffer_KP.view(len(buffer_KP), -1, *hyperparameters.matrix)


def column(values_K1: Tensor) -> Tensor:
    """[K, 1] as [K, 1, 1, 1], to stand beside matrices."""
    return values_K1[:, :, None, None]
