"""K trials of one shape as one tensor program: what does not change while they train.

K trials, B batch, T time, V outputs, S steps, U schedules.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Self

import torch
from torch import Tensor

from ..architectures.proxy import Regime
from ..architectures.registry import architecture_of
from ..layers.dropout import Dropout
from ..layers.forward_multiplier import factor_of
from ..layers.outputs import Outputs
from ..layers.precision import autocast, products
from ..layers.trace import Trace, untraced
from ..optimizers.registry import OPTIMIZERS
from ..parametrization.rules import forward_multipliers
from ..recipe.budget import budgeted
from ..recipe.group import check_group
from ..recipe.recipe import Recipe
from .layout import Layout
from .ranks import ALONE, Ranks
from .schedule import SCHEDULED_BY, schedule_factor

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Group:
    """The recipes of a group on a device. Raises ValueError, naming the field, for recipes that cannot be one
    group (`recipe.group`).

    `micro_batches` parts of a batch follow each other where a whole one does not fit; of several `ranks` each
    has its share of the batch.
    """

    def __init__(
        self,
        recipes: Sequence[Recipe],
        device: torch.device,
        micro_batches: int = 1,
        ranks: Ranks = ALONE,
    ) -> None:
        check_group(recipes)
        if recipes[0].batch_size < ranks.world:
            raise ValueError(
                f"batch_size: {recipes[0].batch_size} sequences are too few for {ranks.world} processes"
            )
        recipes = [budgeted(recipe) for recipe in recipes]
        self.recipes, self.device, self.micro_batches, self.ranks = recipes, device, micro_batches, ranks
        self.one = recipes[0]
        self.seeds = [recipe.seed for recipe in recipes]
        self.layout = Layout(recipes, device)
        self.clip_K = self.per_trial([recipe.grad_clip or math.inf for recipe in recipes])
        self.z_K = self.per_trial([recipe.z_loss for recipe in recipes])
        self._drop_K = self.per_trial([recipe.dropout for recipe in recipes])
        self.balance_K = self.per_trial([recipe.balance_loss for recipe in recipes])
        self.penalised = any(recipe.z_loss for recipe in recipes)
        self.balanced = self.one.shape.experts > 1 and any(recipe.balance_loss for recipe in recipes)
        self.dtype = AUTOCAST.get(self.one.precision)
        if self.balanced and ranks.world > 1:
            raise ValueError("balance_loss: is of the whole batch, which several processes share; give 0")
        self.observes = OPTIMIZERS[self.one.optimizer].observe is not None
        self.scales_loss = self.one.precision == "fp16"
        self.drops = any(recipe.dropout for recipe in recipes)
        architecture = architecture_of(self.one.shape)
        self.repeats, self._forward = architecture.repeats, architecture.forward()
        self._schedule_SU, self._schedule_of_K = self._scheduled()
        sites = [forward_multipliers(recipe) for recipe in recipes]
        self._sites = {site: factor_of([trial[site] for trial in sites], device) for site in sites[0]}

    def products(self) -> AbstractContextManager[None]:
        """How products of float32 are taken: in full only where the precision is float32. Where others are
        in short types, TF32 is finer than those."""
        return products(self.device, self.one.precision != "float32")

    def only(self, places: Sequence[int]) -> Self:
        """The same program for the trials at these places."""
        index = torch.tensor(places, device=self.device)
        fewer = copy.copy(self)
        fewer.recipes = [self.recipes[place] for place in places]
        fewer.seeds = [recipe.seed for recipe in fewer.recipes]
        fewer.layout = self.layout.only(places)
        fewer.clip_K, fewer.z_K, fewer._drop_K = self.clip_K[index], self.z_K[index], self._drop_K[index]
        fewer.balance_K, fewer._schedule_of_K = self.balance_K[index], self._schedule_of_K[index]
        fewer._sites = {
            site: factor[index] if isinstance(factor, Tensor) else factor
            for site, factor in self._sites.items()
        }
        return fewer

    def logits(
        self,
        inputs: Tensor,
        views: Mapping[str, Tensor],
        trace: Trace = untraced,
        regime: Regime | None = None,
    ) -> Tensor:
        """The group's logits [K, B, T, V] with the given parameters."""
        out = self.outputs(inputs, views, trace, regime)
        with autocast(self.device, self.dtype):
            return out.logits()

    def outputs(
        self,
        inputs: Tensor,
        views: Mapping[str, Tensor],
        trace: Trace = untraced,
        regime: Regime | None = None,
    ) -> Outputs:
        """What makes them."""
        with autocast(self.device, self.dtype):
            return self._forward(self.one.shape, views, self._sites, inputs, trace, regime or Regime())

    def regime(self, step: int | Tensor, begin: int, sequences: int, compiled: bool = False) -> Regime:
        """Of the part of a batch of `sequences` that begins at the sequence `begin`."""
        dropout = None
        if self.drops:
            assert isinstance(step, int), "a step that draws masks cannot be recorded"
            dropout = Dropout(self._drop_K, self.seeds, step, begin, sequences)
        return Regime(dropout=dropout, checkpointing=self.one.activation_checkpointing, compiled=compiled)

    def schedule_K(self, step: int | Tensor) -> Tensor:
        """Each trial's learning rate at a step over its peak; after the last one, as at it. The number may be
        a tensor on the device."""
        last = len(self._schedule_SU) - 1
        if isinstance(step, Tensor):
            row_1U = self._schedule_SU.index_select(0, step.clamp(max=last).view(1))
            return row_1U[0, self._schedule_of_K]
        return self._schedule_SU[min(step, last), self._schedule_of_K]

    def _scheduled(self) -> tuple[Tensor, Tensor]:
        """All of it, on the device, so that no step has to wait for its numbers: of the U schedules that the
        trials have, and which each trial has."""
        own = [tuple(getattr(recipe, name) for name in SCHEDULED_BY) for recipe in self.recipes]
        first = dict(zip(own, self.recipes, strict=True))
        places = {schedule: place for place, schedule in enumerate(first)}
        shape = self.one.steps, len(first)
        if self.device.type == "meta":
            factors_SU = torch.empty(shape)
        else:
            rows = ([schedule_factor(recipe, step) for recipe in first.values()] for step in range(shape[0]))
            factors_SU = torch.tensor([*rows], dtype=torch.float32)
        of_K = torch.tensor([places[schedule] for schedule in own])
        return factors_SU.to(self.device), of_K.to(self.device)

    def per_trial(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)
