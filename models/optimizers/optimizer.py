"""What an optimizer is: a direction A for the step W <- W - lr * A - shrink * W, over explicit state.

A new optimizer is a file with an `Optimizer`, a line in `registry`, and its rows in the tables of
`models/parametrization`. Declared without torch: tensors come in as arguments, and what needs torch's
functions imports it when it is called.

K trials, P parameters of one buffer laid end to end; for matrix optimizers P is M matrices [O, I] of one
shape, O fan_out and I fan_in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from torch import Tensor

    from ..recipe.recipe import Recipe

State = dict[str, "Tensor"]
"""What an optimizer remembers of one buffer, by name. Made once and then changed in place: no tensor is
added, left out or replaced, so that who holds one sees what becomes of it, and a checkpoint saves all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """What an optimizer needs to know of one buffer. Columns are [K, 1] and already scaled by the rules.

    `matrix` is the shape of the matrices where the buffer is a stack of them for a matrix optimizer:
    (fan_out, fan_in), but for an embedding, a `lookup`, whose rows are its inputs: (fan_in, fan_out).
    """

    beta1_K1: "Tensor"
    beta2_K1: "Tensor"
    epsilon_K1: "Tensor"
    momentum_K1: "Tensor"
    gamma_K1: "Tensor"
    nesterov: bool
    precondition_every: int
    polynomial: str
    rank_ratio: float
    matrix: tuple[int, int] | None = None
    lookup: bool = False

    def only(self, index: "Tensor") -> Self:
        """Those of the trials at these places."""
        columns: dict[str, Any] = {
            field.name: getattr(self, field.name)[index]
            for field in fields(self)
            if field.name.endswith("_K1")
        }
        return replace(self, **columns)


class Init(Protocol):
    def __call__(self, weight_KP: "Tensor", h: Hyperparameters) -> State:
        """The state before the first step."""
        ...


class Update(Protocol):
    def __call__(
        self,
        state: State,
        gradient_KP: "Tensor",
        weight_KP: "Tensor",
        h: Hyperparameters,
        step: "int | Tensor",
    ) -> "Tensor":
        """A, [K, P], to be read before the next call; advances the state by one step, counted from 0. The
        number of the step is an int, or a tensor of one where the optimizer `repeats`."""
        ...


class Observe(Protocol):
    def __call__(self, state: State, curvature_KP: "Tensor", h: Hyperparameters) -> None:
        """Takes in an estimate of the curvature."""
        ...


def _nothing(*of: object) -> float:
    return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """`reads`: the fields that only some optimizers read, this one among them.

    `matrices`: it acts on matrices alone, and AdamW takes everything else. With `observe`, whoever trains
    estimates the curvature every `curvature_every` steps.
    `defaults`: values of fields in a sweep file that does not say them, where the field uses others than the
    recipe's.
    `convention`: what the learning rate multiplies, where libraries of the same name differ.
    `exported_as`: what frameworks call it, by theirs; one that is not there has no such optimizer. torch has
    the same update, but for SGD's decay.

    `repeats`: a step is the same operations whatever its number, so that it can be recorded once.

    Its cost beyond the gradient: `batch_flops` of a step, given those of one pass over the batch, forward and
    backward; `matrix_flops` of the step of one matrix [rows, columns]; `matrix_numbers` that it remembers of
    one, beyond two moments.
    """

    reads: frozenset[str]
    init: Init
    update: Update
    matrices: bool = False
    repeats: bool = True
    observe: Observe | None = None
    convention: str | None = None
    defaults: Mapping[str, float] = field(default_factory=dict)
    exported_as: Mapping[str, str] = field(default_factory=dict)
    batch_flops: "Callable[[Recipe, float], float]" = _nothing
    matrix_flops: "Callable[[Recipe, int, int], float]" = _nothing
    matrix_numbers: Callable[[int, int], float] = _nothing


def fans(h: Hyperparameters) -> tuple[int, int]:
    """(fan_out, fan_in) of the buffer's matrices."""
    assert h.matrix is not None, "a matrix optimizer was given something else"
    rows, columns = h.matrix
    return (columns, rows) if h.lookup else (rows, columns)


def matrices(buffer_KP: "Tensor", h: Hyperparameters) -> "Tensor":
    """The buffer as its matrices, [K, M, O, I]."""
    assert h.matrix is not None, "a matrix optimizer was given something else"
    return buffer_KP.view(len(buffer_KP), -1, *h.matrix)


def column(values_K1: "Tensor") -> "Tensor":
    """[K, 1] as [K, 1, 1, 1], to stand beside matrices."""
    return values_K1[:, :, None, None]


def zeros(like: "Tensor") -> "Tensor":
    """As many, not part of any gradient."""
    return like.detach().new_zeros(like.shape)


def square_zeros(weight_KP: "Tensor", h: Hyperparameters) -> "tuple[Tensor, Tensor]":
    """Zeros for a statistic of either side of the buffer's matrices, [K, M, O, O] and [K, M, I, I]."""
    w_KMOI = matrices(weight_KP.detach(), h)
    k, m, o, i = w_KMOI.shape
    return w_KMOI.new_zeros(k, m, o, o), w_KMOI.new_zeros(k, m, i, i)


def iteration_flops(rows: int, columns: int) -> float:
    """One iteration of an odd polynomial (`orthogonal`) on a matrix."""
    short, long = sorted((rows, columns))
    return 4.0 * short**2 * long + 2 * short**3


def both_sides_flops(rows: int, columns: int) -> float:
    """One product with a square matrix from the left, and one from the right."""
    return 2.0 * (rows**2 * columns + rows * columns**2)


def both_statistics(rows: int, columns: int) -> float:
    """Three square matrices of either side: a statistic, its root or basis, and what it is made with."""
    return 3.0 * (rows**2 + columns**2)
