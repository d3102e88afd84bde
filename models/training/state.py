"""What changes while a group trains. Every tensor is made once and then changed in place.

K trials, P parameters of one buffer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from ..optimizers.optimizer import State
from .group import Group
from .layout import Block
from .ranks import Ranks

FIRST_SCALE = 2.0**16
"""Of a loss in fp16; see `overflow`."""

Tree = Any
"""Tensors in lists and dicts, as checkpoints hold them."""


@dataclass(slots=True)
class GroupState:
    """Weights, what the optimizers remember of each buffer, and how each trial stands.

    `alive_K`: whether a trial's losses and gradients were finite so far; `broke_K` the step at which they
    were not, -1 before. `scale_K` is what each loss is multiplied by before its gradient is taken, and
    `served_K` the steps since that changed (`overflow`).
    """

    buffers_KP: list[Tensor]
    optimizers: list[State]
    alive_K: Tensor
    broke_K: Tensor
    scale_K: Tensor
    served_K: Tensor

    @classmethod
    def first(cls, group: Group) -> Self:
        """The state before the first step."""
        trials, device = len(group.recipes), group.device
        buffers_KP = group.layout.first_values()
        return cls(
            buffers_KP,
            [
                {
                    name: _part(x, block, group.ranks)
                    for name, x in block.optimizer.init(buffer_KP, block.hyperparameters).items()
                }
                for block, buffer_KP in zip(group.layout.blocks, buffers_KP, strict=True)
            ],
            torch.ones(trials, dtype=torch.bool, device=device),
            torch.full((trials,), -1, device=device),
            torch.full((trials,), FIRST_SCALE if group.scales_loss else 1.0, device=device),
            torch.zeros(trials, device=device),
        )

    def held(self, group: Group) -> Tree:
        """All of it, for a checkpoint, whatever the number of ranks; all of them have to ask for it."""
        found = {field.name: _detached(getattr(self, field.name)) for field in fields(self)}
        if group.ranks.world > 1:
            found["optimizers"] = [
                {name: _whole(x, block, group.ranks) for name, x in memory.items()}
                for block, memory in zip(group.layout.blocks, found["optimizers"], strict=True)
            ]
        return found

    @torch.no_grad()
    def put_back(self, held: Tree, group: Group) -> None:
        """What `held` took. Raises KeyError or ValueError for the state of another group."""
        own = [
            {name: _part(x, block, group.ranks) for name, x in memory.items()}
            for block, memory in zip(group.layout.blocks, held["optimizers"], strict=True)
        ]
        for field in fields(self):
            _copy(getattr(self, field.name), own if field.name == "optimizers" else held[field.name])

    def only(self, places: Sequence[int]) -> Self:
        """The state of the trials at these places of the group."""
        index = torch.tensor(places, device=self.alive_K.device)
        taken = {field.name: _taken(getattr(self, field.name), index) for field in fields(self)}
        for buffer_KP in taken["buffers_KP"]:
            buffer_KP.requires_grad_()
        return type(self)(**taken)


def _part(whole: Tensor, block: Block, ranks: Ranks) -> Tensor:
    """What a rank remembers of a buffer: of its parameters [K, P, ...], or of its matrices [K, M, ...]."""
    if ranks.world == 1:
        return whole
    begin, end = (bound * whole.shape[1] // block.size for bound in block.part(ranks))
    return whole[:, begin:end].clone()


def _whole(part: Tensor, block: Block, ranks: Ranks) -> Tensor:
    """The same of all ranks."""
    matrices = block.size // block.unit
    begin, end = ranks.span(matrices)
    times = 1 if part.dim() > 2 else block.unit  # of parameters, not of matrices
    whole = part.new_zeros(len(part), matrices * times, *part.shape[2:])
    whole[:, begin * times : end * times] = part
    ranks.shared(whole.flatten(1), whole[0].numel() // matrices)
    return whole


def _taken(tree: Tree, index: Tensor) -> Tree:
    if isinstance(tree, dict):
        return {name: _taken(part, index) for name, part in tree.items()}
    if isinstance(tree, list):
        return [_taken(part, index) for part in tree]
    return tree.detach().index_select(0, index)


def _detached(tree: Tree) -> Tree:
    if isinstance(tree, dict):
        return {name: _detached(part) for name, part in tree.items()}
    return [_detached(part) for part in tree] if isinstance(tree, list) else tree.detach()


def _copy(own: Tree, held: Tree) -> None:
    if isinstance(own, dict):
        for name, part in own.items():
            _copy(part, held[name])
    elif isinstance(own, list):
        for part, other in zip(own, held, strict=True):
            _copy(part, other)
    elif own.shape != held.shape:
        raise ValueError(f"a tensor of {list(held.shape)} is not one of {list(own.shape)}")
    else:
        own.copy_(held)
