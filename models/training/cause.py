"""Where a training left: which activation or gradient grew first, and which was first not finite.

The trial is trained again, alone, and looked at before every step.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..data.batches import Batches
from ..recipe.recipe import Recipe
from .loop import GroupTraining
from .loss import loss
from .step import Placed

GROWN = 100.0
"""So many times its size at the first step is far out: in a training that goes well, activations and
gradients change by a few times."""

Quantity = Literal["activation", "gradient"]


@dataclass(frozen=True, slots=True)
class Departure:
    """A quantity of a module, its root mean square at a step, and at the first one."""

    step: int
    quantity: Quantity
    module: str
    size: float
    begun: float

    @property
    def told(self) -> str:
        times = self.size / self.begun if self.begun else math.inf
        size = f"{times:,.3g} times its size at the first step" if math.isfinite(times) else "not finite"
        return f"{self.quantity} of {self.module} at step {self.step}, {size}"


@dataclass(frozen=True, slots=True)
class Cause:
    """`grown` left first, in the order of the forward pass and then of the backward pass; `broken` was the
    first that was not finite. None where there is no such thing."""

    grown: Departure | None
    broken: Departure | None


def cause(recipe: Recipe, batches: Batches, device: torch.device, steps: int) -> Cause:
    """Of a training's first `steps` steps."""
    training = GroupTraining([recipe], batches, device)
    begun: dict[tuple[Quantity, str], float] = {}
    grown: Departure | None = None
    for step in range(steps):
        for key, size in _sizes(training, training.placed(step)).items():
            found = Departure(step, *key, size, begun.setdefault(key, size))
            if not math.isfinite(size):
                return Cause(grown, found)
            if grown is None and size > GROWN * found.begun > 0:
                grown = found
        training.step(step)
    return Cause(grown, None)


def _sizes(training: GroupTraining, batch: Placed) -> Mapping[tuple[Quantity, str], float]:
    """Of what every module makes, then of the gradients, from the end backwards."""
    found: dict[tuple[Quantity, str], float] = {}

    def trace(name: str, given: Tensor, made: Tensor) -> None:
        found["activation", name] = _size(made)

    views = training.views()
    loss_K = loss(training.logits(batch.inputs, views, trace), batch.labels_KBT)
    found["activation", "the loss"] = _size(loss_K)
    gradients = torch.autograd.grad(loss_K.sum(), list(views.values()))
    for name, gradient in reversed([*zip(views, gradients, strict=True)]):
        found["gradient", name.removesuffix(".weight")] = _size(gradient)
    return found


def _size(x: Tensor) -> float:
    return float(x.detach().double().square().mean().sqrt())
