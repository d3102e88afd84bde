"""A trained model again, as a module: the weights that a run kept, in our own forward pass.

B batch, T time, V outputs.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..architectures.proxy import Regime
from ..architectures.registry import architecture_of
from ..layers.trace import untraced
from ..parametrization.rules import forward_multipliers
from ..recipe.recipe import Recipe


class Trained(nn.Module):
    """The model of a trial. Its parameters have the names that `mutransfer rules` prints."""

    def __init__(self, recipe: Recipe, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.recipe = recipe
        for name, value in weights.items():
            *path, last = name.split(".")
            module: nn.Module = self
            for part in path:
                if part not in dict(module.named_children()):
                    module.add_module(part, nn.Module())
                module = module.get_submodule(part)
            module.register_parameter(last, nn.Parameter(value))
        self._forward = architecture_of(recipe.shape).forward()
        self._sites = forward_multipliers(recipe)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, T, V] of tokens [B, T], or of vectors [B, T, I]."""
        stacked = {name: value[None] for name, value in self.named_parameters()}
        out = self._forward(self.recipe.shape, stacked, self._sites, inputs[None], untraced, Regime())
        return out.logits()[0]


def load_weights(file: str, trial: str) -> dict[str, Tensor] | None:
    """What was kept of a trial, None where it is not in the file."""
    held: dict[str, dict[str, Tensor]] = torch.load(file, map_location="cpu", weights_only=True)
    return held.get(trial)
