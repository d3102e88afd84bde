"""Our muP against the `mup` package (PyPI): an independent implementation of the same theory."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from mutransfer.models.parametrization.rules import ParameterRule, forward_multipliers, parameter_rules
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.recipe.role import Site

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mup

BASE_WIDTH = 16
WIDTHS = (32, 64, 128)


class Twin(nn.Module):
    """The transformer's parameters as plain modules, named as ours; its forward pass is not needed."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        shape = recipe.shape
        self.embedding = nn.Embedding(shape.vocab_size, shape.width)
        self.mixer_norm = nn.LayerNorm(shape.width)
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.up = nn.Linear(shape.width, shape.mlp_width, bias=False)
        self.down = nn.Linear(shape.mlp_width, shape.width, bias=False)
        self.final_norm = nn.LayerNorm(shape.width)
        self.readout = mup.MuReadout(shape.width, shape.vocab_size, bias=False)


NAMES = {
    "embedding.weight": "embedding.weight",
    "mixer_norm.weight": "blocks.0.mixer_norm.gain",
    "mixer_norm.bias": "blocks.0.mixer_norm.bias",
    "query.weight": "blocks.0.mixer.query.weight",
    "up.weight": "blocks.0.mlp.up.weight",
    "down.weight": "blocks.0.mlp.down.weight",
    "final_norm.weight": "final_norm.gain",
    "final_norm.bias": "final_norm.bias",
    "readout.weight": "readout.weight",
}


def twin(recipe: Callable[..., Recipe], width: int, optimizer: str) -> tuple[Twin, dict[str, ParameterRule]]:
    """The package's model with its base shapes set, and our rules, at equal depth."""

    def at(size: int) -> Recipe:
        return recipe(
            width=size, base_width=BASE_WIDTH, depth=1, base_depth=1, norm="layernorm", optimizer=optimizer,
            learning_rate=0.5, weight_decay=0.25,
        )  # fmt: skip

    model = Twin(at(width))
    mup.set_base_shapes(model, Twin(at(BASE_WIDTH)), delta=Twin(at(2 * BASE_WIDTH)))
    return model, {rule.parameter.name: rule for rule in parameter_rules(at(width))}


def package_groups(model: Twin, optimizer: str) -> dict[str, tuple[float, float]]:
    """(learning rate, weight decay) that the package gives each parameter."""
    make = mup.MuAdamW if optimizer == "adamw" else mup.MuSGD
    groups = make(model.parameters(), lr=0.5, weight_decay=0.25).param_groups
    of = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    return {name: of[id(parameter)] for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_learning_rates_agree(width: int, optimizer: str, recipe: Callable[..., Recipe]) -> None:
    model, rules = twin(recipe, width, optimizer)
    found = package_groups(model, optimizer)
    assert set(found) == set(NAMES)
    for theirs, ours in NAMES.items():
        assert rules[ours].learning_rate == pytest.approx(found[theirs][0]), ours


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weight_decays_agree_where_both_decay(
    width: int, optimizer: str, recipe: Callable[..., Recipe]
) -> None:
    """The package decays gains and biases too; we do not, so only matrices compare."""
    model, rules = twin(recipe, width, optimizer)
    found = package_groups(model, optimizer)
    for theirs, ours in NAMES.items():
        if rules[ours].parameter.decayed:
            assert rules[ours].weight_decay == pytest.approx(found[theirs][1]), ours


@pytest.mark.parametrize("width", WIDTHS)
def test_readout_multiplier_agrees(width: int, recipe: Callable[..., Recipe]) -> None:
    """Ours on the normed stream, theirs on the readout's input: the factor on the logits is the same."""
    model, _ = twin(recipe, width, "adamw")
    x = torch.randn(3, width)
    factor = model.readout(x) / nn.functional.linear(x, model.readout.weight)
    ours = forward_multipliers(recipe(width=width, base_width=BASE_WIDTH, depth=1, base_depth=1))[
        Site.READOUT
    ]
    torch.testing.assert_close(factor, torch.full_like(factor, ours))


@pytest.mark.parametrize("width", WIDTHS)
def test_initial_scales_agree(width: int, recipe: Callable[..., Recipe]) -> None:
    """The package's mup.init.normal_ with our base's std gives our std at the width."""
    model, rules = twin(recipe, width, "adamw")
    _, base = twin(recipe, BASE_WIDTH, "adamw")
    torch.manual_seed(0)
    for theirs, ours in NAMES.items():
        parameter = dict(model.named_parameters())[theirs]
        base_std, std = base[ours].init_std, rules[ours].init_std
        if base_std is None or std is None:
            continue
        mup.init.normal_(parameter, std=base_std)
        # A sample of n entries knows its std to 1/sqrt(2 n); four of these.
        tolerance = 4 / (2 * parameter.numel()) ** 0.5
        assert float(parameter.detach().std()) == pytest.approx(std, rel=tolerance), ours
