"""Architectures of the user's own are tried before anything runs: their rules, and a forward pass."""

from ...models.architectures.built.architecture import BuiltArchitecture
from ...models.architectures.registry import architecture_of
from ...models.recipe.group import group_key
from ...models.recipe.recipe import Recipe
from ...sweeps.load import Sweep
from ...sweeps.proxy import Proxy

SEQUENCES = 2
SAYS = ("parametrization", "optimizer", "matrices", "init", "embedding_multiplier", "residual_multiplier",
        "attention_multiplier", "readout_multiplier")  # fmt: skip
"""Fields beside the shape that decide whether there are rules."""


def try_out(sweep: Sweep) -> None:
    """Raises OwnCodeError for what could not be trained."""
    recipes: dict[BuiltArchitecture, list[Recipe]] = {}
    for trial in sweep.expansion.trials:
        if isinstance(trial.program, Proxy):
            recipe = trial.program.recipe
            architecture = architecture_of(recipe.shape)
            if isinstance(architecture, BuiltArchitecture):
                recipes.setdefault(architecture, []).append(recipe)
    for members in recipes.values():
        _try_rules(members)
        _try_forward(members)


def _try_rules(members: list[Recipe]) -> None:
    from ...models.parametrization.rules import parameter_rules

    one_of_each = {(one.shape, *(getattr(one, name) for name in SAYS)): one for one in members}
    for recipe in one_of_each.values():
        parameter_rules(recipe)


def _try_forward(members: list[Recipe]) -> None:
    """Two trials of a group, which may differ in what the module multiplies by."""
    import torch

    from ...models.training.group import Group

    smallest = min(members, key=lambda recipe: (recipe.shape.width, recipe.shape.depth))
    alike = [recipe for recipe in members if group_key(recipe) == group_key(smallest)]
    group = Group([alike[0], alike[-1]], torch.device("cpu"))
    shape, generator = smallest.shape, torch.Generator().manual_seed(0)
    size = (2, SEQUENCES, shape.sequence_length)
    tokens_KBT = torch.randint(shape.vocab_size, size, generator=generator)
    vectors_KBTI = torch.randn(*size, shape.vocab_size, generator=generator)
    with torch.no_grad():
        views = group.layout.views(group.layout.first_values())
        group.logits(vectors_KBTI if shape.vectors else tokens_KBT, views)
