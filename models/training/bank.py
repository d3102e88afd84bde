"""The stacked parameters of K trials and their optimizer.

Parameters of one role live in one buffer [K, P] (those of a matrix optimizer, in one buffer per shape),
so that learning rate, weight decay and epsilon are [K, 1] columns, the optimizer needs a handful of
operations whatever the depth, and a trial's gradient norm is one reduction. The model sees differentiable
views [K, *shape].

K trials, P parameters of one buffer, laid end to end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..optimizers import DIRECTIONS
from ..optimizers.direction import Hyperparameters, step
from ..optimizers.sophia import Sophia
from ..parametrization.rules import ParameterRule, is_frozen, is_norm_scaled, parameter_rules
from ..recipe.identity import MATRIX_OPTIMIZERS
from ..recipe.initial import initial_draw
from ..recipe.recipe import Optimizer, Recipe
from ..recipe.role import Parameter, Role
from .checkpoint import State, direction_state, restore_direction


@dataclass(frozen=True, slots=True)
class Key:
    """What the parameters of one buffer share. `matrix` is their shape where a matrix optimizer needs it,
    `apart` is for those whose learning rate is not that of their role."""

    optimizer: Optimizer
    role: Role
    decayed: bool
    matrix: tuple[int, int] | None
    apart: bool


class ParameterBank:
    """All parameters of a group: initialised, read by name, and stepped together."""

    def __init__(self, recipes: Sequence[Recipe], device: torch.device) -> None:
        self._recipes, self._device = recipes, device
        rules = [parameter_rules(recipe) for recipe in recipes]
        self._layout: dict[Key, list[Parameter]] = {}
        for rule in rules[0]:
            self._layout.setdefault(_key(rule, recipes), []).append(rule.parameter)
        by_name = [{rule.parameter.name: rule for rule in trial} for trial in rules]
        self._buffers = {key: self._initialised(members, by_name) for key, members in self._layout.items()}
        first = {key: [trial[members[0].name] for trial in by_name] for key, members in self._layout.items()}
        self._rate = {key: self._column([rule.learning_rate for rule in row]) for key, row in first.items()}
        self._shrink = {key: self._shrink_column(row) for key, row in first.items()}
        self._direction = {
            key: DIRECTIONS[key.optimizer](self._hyperparameters(row, key)) for key, row in first.items()
        }

    @property
    def buffers(self) -> list[Tensor]:
        """The leaves [K, P] that gradients are taken with respect to."""
        return list(self._buffers.values())

    @property
    def clipped(self) -> list[bool]:
        """Whether each buffer counts in the gradient norm and is clipped by it: learnable multipliers are
        left out, unless the recipes say otherwise."""
        return [key.role is not Role.MULTIPLIER or self._recipes[0].clip_multipliers for key in self._layout]

    def views(self) -> dict[str, Tensor]:
        """Every parameter by name, [K, *shape]. Splitting makes its gradient one concatenation."""
        views = {}
        for key, members in self._layout.items():
            parts = self._buffers[key].split([member.size for member in members], dim=1)
            for member, part in zip(members, parts, strict=True):
                views[member.name] = part.view(-1, *member.shape)
        return views

    @torch.no_grad()
    def step(self, gradients_KP: Sequence[Tensor], factor_K1: Tensor) -> None:
        """One optimizer step; `factor_K1` is the schedule times what is left of a trial (0: frozen)."""
        for key, gradient_KP in zip(self._buffers, gradients_KP, strict=True):
            weight_KP, shrink_K1 = self._buffers[key], self._shrink[key]
            direction_KP = self._direction[key](gradient_KP, weight_KP)
            shrink_K1 = None if shrink_K1 is None else shrink_K1 * factor_K1
            step(weight_KP, direction_KP, self._rate[key] * factor_K1, shrink_K1)

    @torch.no_grad()
    def observe_curvature(self, curvatures_KP: Sequence[Tensor]) -> None:
        """Hands Sophia its estimates, one per buffer."""
        for direction, curvature_KP in zip(self._direction.values(), curvatures_KP, strict=True):
            if isinstance(direction, Sophia):  # learnable multipliers are AdamW's
                direction.observe(curvature_KP)

    def state(self) -> State:
        """Weights and optimizer state, in the order of the buffers, for `restore`."""
        return {
            "buffers": [buffer.detach() for buffer in self._buffers.values()],
            "directions": [direction_state(direction) for direction in self._direction.values()],
        }

    @torch.no_grad()
    def restore(self, state: State) -> None:
        for buffer, held in zip(self._buffers.values(), state["buffers"], strict=True):
            buffer.copy_(held)
        for direction, gathered in zip(self._direction.values(), state["directions"], strict=True):
            restore_direction(direction, gathered, self._device)

    def _initialised(self, members: Sequence[Parameter], rules: Sequence[dict[str, ParameterRule]]) -> Tensor:
        draws: dict[tuple[int, str], np.ndarray] = {}
        rows = []
        for recipe, rule in zip(self._recipes, rules, strict=True):
            parts = []
            for member in members:
                key = (recipe.seed, member.name)
                if key not in draws:
                    draws[key] = initial_draw(member.name, member.shape, member.start, recipe.seed)
                std = rule[member.name].init_std
                parts.append(draws[key] if std is None else draws[key] * np.float32(std))
            rows.append(np.concatenate(parts))
        return torch.from_numpy(np.stack(rows)).to(self._device).requires_grad_()

    def _hyperparameters(self, row: Sequence[ParameterRule], key: Key) -> Hyperparameters:
        return Hyperparameters(
            beta1_K1=self._column([recipe.beta1 for recipe in self._recipes]),
            beta2_K1=self._column([recipe.beta2 for recipe in self._recipes]),
            epsilon_K1=self._column([rule.epsilon or 0.0 for rule in row]),
            momentum_K1=self._column([recipe.momentum for recipe in self._recipes]),
            gamma_K1=self._column([recipe.gamma for recipe in self._recipes]),
            nesterov=self._recipes[0].nesterov,
            precondition_every=self._recipes[0].precondition_every,
            matrix=key.matrix,
            lookup=key.role is Role.INPUT,
        )

    def _shrink_column(self, row: Sequence[ParameterRule]) -> Tensor | None:
        """What a step takes off the weights, as a fraction, at the schedule's peak."""
        values = [
            rule.weight_decay * (rule.learning_rate if recipe.decay == "coupled" else 1.0)
            for recipe, rule in zip(self._recipes, row, strict=True)
        ]
        return self._column(values) if any(values) else None

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device)[:, None]


def _key(rule: ParameterRule, recipes: Sequence[Recipe]) -> Key:
    """Routing is by role; only a buffer that holds matrices for a matrix optimizer knows their shape."""
    parameter, matrix = rule.parameter, None
    if rule.optimizer in MATRIX_OPTIMIZERS:
        rows, columns = parameter.shape
        matrix = rows, columns
    apart = is_frozen(parameter, recipes[0]) or any(is_norm_scaled(parameter, recipe) for recipe in recipes)
    return Key(rule.optimizer, parameter.role, parameter.decayed, matrix, apart)
