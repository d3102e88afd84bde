"""RMS operator norms of one update of every optimizer, and their exponents in width and depth.

The spectral condition (arXiv:2603.00541) in numbers: the learned part of a matrix, times the multiplier on
its way to the stream or the logits, has ||dW||_R = sqrt(fan_in / fan_out) ||dW||_2 of a size that does not
depend on the width, and inside a branch falls like 1/depth.

K seeds, O fan_out, I fan_in.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mutransfer.models.data.batches import Batches
from mutransfer.models.parametrization.rules import forward_multipliers, parameter_rules
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.recipe.role import Parameter, Role, Site
from mutransfer.models.training.loop import GroupTraining

FIRST_UPDATE = {"soap": 2, "dion": 8}  # the first one fills the statistics; is of a drawn basis
SEEDS = {"sgd": 4}  # the only update with a size of the gradient's own, which varies
MODULES = {
    "embedding.weight": "embedding",
    "blocks.*.mixer.query.weight": "query",
    "blocks.*.mixer.value.weight": "value",
    "blocks.*.mixer.output.weight": "output",
    "blocks.*.mlp.up.weight": "up",
    "blocks.*.mlp.down.weight": "down",
    "readout.weight": "readout",
}


def update_norms(recipe: Recipe, batches: Batches) -> dict[str, float]:
    """||dW||_R times its multiplier for each kind of matrix, the mean over blocks and seeds."""
    seeds = SEEDS.get(recipe.optimizer, 1)
    recipes = [replace(recipe, seed=seed) for seed in range(seeds)]
    training = GroupTraining(recipes, batches, torch.device("cpu"))
    steps = FIRST_UPDATE.get(recipe.optimizer, 1)
    for step in range(steps - 1):
        training.step(step)
    before = {name: view.detach().clone() for name, view in training.views().items()}
    training.step(steps - 1)
    branch = forward_multipliers(recipe)[Site.BRANCH]
    found: dict[str, list[float]] = {}
    for rule in parameter_rules(recipe):
        parameter = rule.parameter
        if parameter.pattern in MODULES:
            learned_KOI = training.views()[parameter.name].detach() - before[parameter.name]
            factor = branch if parameter.role is Role.HIDDEN else rule.multiplier
            norms = [_norm(learned, parameter) * factor for learned in learned_KOI]
            found.setdefault(MODULES[parameter.pattern], []).extend(norms)
    return {name: float(np.mean(norms)) for name, norms in found.items()}


def _norm(learned: Tensor, parameter: Parameter) -> float:
    """The RMS operator norm; an embedding is stored as [tokens, width], its input being the token."""
    w_OI = learned.T if parameter.role is Role.INPUT else learned
    fan_out, fan_in = w_OI.shape
    return math.sqrt(fan_in / fan_out) * _spectral_norm(w_OI.double())


def _spectral_norm(w_OI: Tensor) -> float:
    """By the smaller Gram matrix, whose largest eigenvalue is the square."""
    gram = w_OI @ w_OI.T if w_OI.shape[0] <= w_OI.shape[1] else w_OI.T @ w_OI
    return math.sqrt(float(torch.linalg.eigvalsh(gram)[-1]))


def exponents(
    recipe_at: Callable[[int], Recipe], scales: Sequence[int], batches: Batches
) -> dict[str, float]:
    """Slope of log2 of each norm against log2 of the scale."""
    norms = [update_norms(recipe_at(scale), batches) for scale in scales]
    x = np.log2(np.array(scales, dtype=float))
    return {name: float(np.polyfit(x, np.log2([norm[name] for norm in norms]), 1)[0]) for name in norms[0]}
