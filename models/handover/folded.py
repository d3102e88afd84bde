"""A trained proxy's weights as those of a model that has no multipliers: the same function of its inputs.

O rows, I columns of a matrix as it is stored.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ..architectures.registry import architecture_of
from ..layers.learnable import merged
from ..parametrization.rules import forward_multipliers
from ..recipe.inventory import plain_parameters
from ..recipe.recipe import Recipe
from ..recipe.role import Site, plain_site


def folded(weights: Mapping[str, Tensor], recipe: Recipe) -> tuple[dict[str, Tensor], Recipe]:
    """The weights, with learnable and forward multipliers in what makes the values that they scale, and the
    recipe of what is left: logits of attention are scaled by 1 / sqrt(head size) alone. Constants that a
    model has on its modules (`fixed_multipliers`) stay its own. Embedding and readout are two where their
    multipliers differ.

    Raises ValueError for a multiplier that no weight can take: on the readout of a state, or its scores.
    """
    found = {
        name: x_1OI[0] for name, x_1OI in merged({n: w[None] for n, w in weights.items()}, "none").items()
    }
    sites = {plain_site(site): value for site, value in forward_multipliers(recipe).items()}
    if left := [site for site in ("state readout", "state scores") if sites.get(site, 1) != 1]:
        raise ValueError(f"no weight can take the multiplier on the {left[0]}, {sites[left[0]]:g}")
    shape = recipe.shape
    tied = shape.tied and sites[Site.EMBEDDING] == sites[Site.READOUT]
    if shape.tied and not tied:
        found["readout.weight"] = found["embedding.weight"]
    scale = sites.get(Site.ATTENTION, 1.0) * math.sqrt(shape.head_size)
    plain = replace(shape, tied=tied, learnable_multipliers="none")
    ends = {p.name.removesuffix(".weight") for p in plain_parameters(plain) if p.ends_branch}
    if shape.norm_place in ("post", "sandwich"):  # the norm of what a branch gives would undo it
        ends = {name.removesuffix(".gain") for name in found if name.endswith("_post_norm.gain")}
    attention = architecture_of(shape).module_names.get("attention")
    queries = attention and f".{attention}.{'query_norm' if shape.qk_norm else 'query'}"

    def factor(name: str) -> float:
        module = name.rpartition(".")[0]
        if module in ("embedding", "positions"):
            return sites[Site.EMBEDDING]
        if module == "readout":
            return sites[Site.READOUT]
        if module in ends:
            return sites[Site.BRANCH]
        return scale if queries and module.endswith(queries) else 1.0

    return {name: x * factor(name) for name, x in found.items()}, replace(recipe, shape=plain)
