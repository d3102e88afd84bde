"""K trials of one shape as one tensor program: what does not change while they train.

K trials, B batch, T time, V outputs.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from ..architectures.proxy import Regime
from ..architectures.registry import architecture_of
from ..layers.dropout import Dropout
from ..layers.forward_multiplier import factor_of
from ..layers.precision import autocast
from ..layers.trace import Trace, untraced
from ..optimizers.registry import OPTIMIZERS
from ..parametrization.rules import forward_multipliers
from ..recipe.budget import budgeted
from ..recipe.group import check_group
from ..recipe.recipe import Recipe
from .layout import Layout
from .schedule import schedule_factor

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Group:
    """The recipes of a group on a device. Raises ValueError, naming the field, for recipes that cannot be one
    group (`recipe.group`).

    `micro_batches` parts of a batch follow each other where a whole one does not fit.
    """

    def __init__(self, recipes: Sequence[Recipe], device: torch.device, micro_batches: int = 1) -> None:
        check_group(recipes)
        recipes = [budgeted(recipe) for recipe in recipes]
        self.recipes, self.device, self.micro_batches = recipes, device, micro_batches
        self.one = recipes[0]
        self.seeds = [recipe.seed for recipe in recipes]
        self.layout = Layout(recipes, device)
        self.clip_K = self.per_trial([recipe.grad_clip or math.inf for recipe in recipes])
        self.z_K = self.per_trial([recipe.z_loss for recipe in recipes])
        self._drop_K = self.per_trial([recipe.dropout for recipe in recipes])
        self.balance_K = self.per_trial([recipe.balance_loss for recipe in recipes])
        self.penalised = any(recipe.z_loss for recipe in recipes)
        self.balanced = self.one.shape.experts > 1 and any(recipe.balance_loss for recipe in recipes)
        self.observes = OPTIMIZERS[self.one.optimizer].observe is not None
        self.scales_loss = self.one.precision == "fp16"
        self._drops = any(recipe.dropout for recipe in recipes)
        self._forward = architecture_of(self.one.shape).forward()
        sites = [forward_multipliers(recipe) for recipe in recipes]
        self._sites = {site: factor_of([trial[site] for trial in sites], device) for site in sites[0]}

    def only(self, places: Sequence[int]) -> Self:
        """The same program for the trials at these places."""
        index = torch.tensor(places, device=self.device)
        fewer = copy.copy(self)
        fewer.recipes = [self.recipes[place] for place in places]
        fewer.seeds = [recipe.seed for recipe in fewer.recipes]
        fewer.layout = self.layout.only(places)
        fewer.clip_K, fewer.z_K, fewer._drop_K = self.clip_K[index], self.z_K[index], self._drop_K[index]
        fewer.balance_K = self.balance_K[index]
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
        with autocast(self.device, AUTOCAST.get(self.one.precision)):
            return self._forward(self.one.shape, views, self._sites, inputs, trace, regime or Regime())

    def regime(self, step: int, begin: int, sequences: int) -> Regime:
        """Of the part of a batch of `sequences` that begins at the sequence `begin`."""
        return Regime(
            dropout=Dropout(self._drop_K, self.seeds, step, begin, sequences) if self._drops else None,
            checkpointing=self.one.activation_checkpointing,
        )

    def schedule_K(self, step: int) -> Tensor:
        """Each trial's learning rate at a step over its peak."""
        return self.per_trial([schedule_factor(recipe, step) for recipe in self.recipes])

    def per_trial(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)
