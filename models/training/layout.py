"""Where the stacked parameters of K trials lie, and what each buffer of them trains with.

Parameters of one role live in one buffer [K, P] (those of a matrix optimizer, in one buffer per shape),
so that learning rate, weight decay and epsilon are [K, 1] columns, the optimizer needs a handful of
operations whatever the depth, and a trial's gradient norm is one reduction. The model sees differentiable
views [K, *shape].

K trials, P parameters of one buffer, laid end to end.
"""

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..architectures.registry import architecture_of
from ..optimizers.optimizer import Hyperparameters, Optimizer
from ..optimizers.registry import OPTIMIZERS
from ..parametrization.rules import ParameterRule, is_frozen, is_norm_scaled, parameter_rules
from ..recipe.budget import betas
from ..recipe.recipe import Recipe
from ..recipe.role import Parameter, Role
from .ranks import Ranks, Span

QKV = ("query", "key", "value")
"""What mixers call the modules that may be one matrix to an optimizer."""


@dataclass(frozen=True, slots=True)
class Key:
    """What the parameters of one buffer share. `matrix` is their shape where a matrix optimizer needs it,
    `apart` is for those whose learning rate is not that of their role."""

    optimizer: str
    role: Role
    decayed: bool
    matrix: tuple[int, int] | None
    apart: bool


@dataclass(frozen=True, slots=True)
class Block:
    """One buffer: its parameters in their order, their optimizer and what that is given.

    `shrink_K1` is what a step takes off the weights, as a fraction, at the schedule's peak; None where it is
    zero for every trial. `clipped`: whether it counts in the gradient norm and is clipped by it.
    """

    members: tuple[Parameter, ...]
    optimizer: Optimizer
    hyperparameters: Hyperparameters
    rate_K1: Tensor
    shrink_K1: Tensor | None
    clipped: bool

    def views(self, buffer_KP: Tensor) -> dict[str, Tensor]:
        """Every parameter by name, [K, *shape]. Splitting makes its gradient one concatenation."""
        parts = buffer_KP.split([member.size for member in self.members], dim=1)
        pairs = zip(self.members, parts, strict=True)
        return {member.name: part.view(-1, *member.shape) for member, part in pairs}

    @property
    def size(self) -> int:
        """P."""
        return sum(member.size for member in self.members)

    @property
    def unit(self) -> int:
        """Parameters that an optimizer has to see together: those of a matrix."""
        return math.prod(self.hyperparameters.matrix or (1,))

    def part(self, ranks: Ranks) -> Span:
        """What a rank updates, as columns of the buffer."""
        begin, end = ranks.span(self.size // self.unit)
        return begin * self.unit, end * self.unit

    def step(self, weight_KP: Tensor, direction_KP: Tensor, factor_K1: Tensor) -> None:
        """W <- (1 - shrink) W - lr A, in place, both times the factor."""
        if self.shrink_K1 is not None:
            weight_KP.mul_(1 - self.shrink_K1 * factor_K1)
        weight_KP.addcmul_(direction_KP, self.rate_K1 * factor_K1, value=-1)

    def only(self, index: Tensor) -> Self:
        """The block of the trials at these places."""
        return replace(
            self,
            hyperparameters=self.hyperparameters.only(index),
            rate_K1=self.rate_K1[index],
            shrink_K1=None if self.shrink_K1 is None else self.shrink_K1[index],
        )


class Layout:
    """The buffers of a group, in an order that its recipes decide."""

    def __init__(self, recipes: Sequence[Recipe], device: torch.device) -> None:
        self._recipes, self._device = recipes, device
        rules = [parameter_rules(recipe) for recipe in recipes]
        members: dict[Key, list[Parameter]] = {}
        fused = _fused([rule.parameter for rule in rules[0]]) if recipes[0].fused_qkv else {}
        for rule in rules[0]:
            members.setdefault(_key(rule, recipes, fused), []).append(rule.parameter)
        self._rules = [{rule.parameter.name: rule for rule in trial} for trial in rules]
        self.blocks = [self._block(key, held) for key, held in members.items()]

    def views(self, buffers_KP: Sequence[Tensor]) -> dict[str, Tensor]:
        """Every parameter by name, [K, *shape]."""
        found: dict[str, Tensor] = {}
        for block, buffer_KP in zip(self.blocks, buffers_KP, strict=True):
            found |= block.views(buffer_KP)
        return found

    def first_values(self) -> list[Tensor]:
        """The buffers before the first step, as leaves [K, P]."""
        return [self._drawn(block.members).requires_grad_() for block in self.blocks]

    def only(self, places: Sequence[int]) -> Self:
        """The same buffers of the trials at these places."""
        index = torch.tensor(places, device=self._device)
        fewer = copy.copy(self)
        fewer._recipes = [self._recipes[place] for place in places]
        fewer._rules = [self._rules[place] for place in places]
        fewer.blocks = [block.only(index) for block in self.blocks]
        return fewer

    def _drawn(self, members: Sequence[Parameter]) -> Tensor:
        """Each seed's draws go to the device once, and are scaled there for every trial."""
        sizes = [member.size for member in members]
        buffer_KP = torch.empty(len(self._recipes), sum(sizes), device=self._device)
        if self._device.type == "meta":
            return buffer_KP  # it holds no numbers
        shape = self._recipes[0].shape
        architecture = architecture_of(shape)
        by_seed: dict[int, list[int]] = {}
        for trial, recipe in enumerate(self._recipes):
            by_seed.setdefault(recipe.seed, []).append(trial)
        for member, part_KP in zip(members, buffer_KP.split(sizes, dim=1), strict=True):
            for seed, trials in by_seed.items():
                drawn_P = torch.from_numpy(architecture.start(shape, member, seed)).to(self._device)
                for trial in trials:
                    std = self._rules[trial][member.name].init_std
                    part_KP[trial] = drawn_P if std is None else drawn_P * std
        return buffer_KP

    def _block(self, key: Key, members: Sequence[Parameter]) -> Block:
        first = [rules[members[0].name] for rules in self._rules]
        return Block(
            members=tuple(members),
            optimizer=OPTIMIZERS[key.optimizer],
            hyperparameters=self._hyperparameters(first, key),
            rate_K1=self._column([rule.learning_rate for rule in first]),
            shrink_K1=self._shrink_column(first),
            clipped=key.role is not Role.MULTIPLIER or self._recipes[0].clip_multipliers,
        )

    def _hyperparameters(self, first: Sequence[ParameterRule], key: Key) -> Hyperparameters:
        beta1, beta2 = zip(*(betas(recipe) for recipe in self._recipes), strict=True)
        return Hyperparameters(
            beta1_K1=self._column(beta1),
            beta2_K1=self._column(beta2),
            epsilon_K1=self._column([rule.epsilon or 0.0 for rule in first]),
            momentum_K1=self._column([recipe.momentum for recipe in self._recipes]),
            gamma_K1=self._column([rule.gamma or 0.0 for rule in first]),
            nesterov=self._recipes[0].nesterov,
            precondition_every=self._recipes[0].precondition_every,
            polynomial=self._recipes[0].polynomial,
            rank_ratio=self._recipes[0].rank_ratio,
            matrix=key.matrix,
            lookup=key.role is Role.INPUT,
        )

    def _shrink_column(self, first: Sequence[ParameterRule]) -> Tensor | None:
        values = [
            rule.weight_decay * (rule.learning_rate if recipe.decay == "coupled" else 1.0)
            for recipe, rule in zip(self._recipes, first, strict=True)
        ]
        return self._column(values) if any(values) else None

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device)[:, None]


def _fused(parameters: Sequence[Parameter]) -> dict[str, int]:
    """The rows of queries, keys and values together, by the name of each: they follow one another in their
    buffer, so that a matrix of all their rows is a view."""
    mixers, rows = {}, Counter[str]()
    for parameter in parameters:
        mixer, _, module = parameter.name.removesuffix(".weight").rpartition(".")
        if module in QKV:
            mixers[parameter.name] = mixer
            rows[mixer] += parameter.shape[0]
    return {name: rows[mixer] for name, mixer in mixers.items()}


def _key(rule: ParameterRule, recipes: Sequence[Recipe], fused: Mapping[str, int]) -> Key:
    """Routing is by role; only a buffer that holds matrices for a matrix optimizer knows their shape."""
    parameter, matrix = rule.parameter, None
    if OPTIMIZERS[rule.optimizer].matrices:
        rows, columns = parameter.shape
        matrix = fused.get(parameter.name, rows // parameter.matrices), columns
    apart = is_frozen(parameter, recipes[0]) or any(is_norm_scaled(parameter, recipe) for recipe in recipes)
    return Key(rule.optimizer, parameter.role, parameter.decayed, matrix, apart)
