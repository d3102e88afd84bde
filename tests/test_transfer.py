"""The loader inside the large run: our own groups exactly, other models by roles, nothing left out."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import first_views
from plain_modules import Plain, plain_losses
from test_choice import compared, rows
from torch import nn

from mutransfer.models.data.batches import Batches
from mutransfer.models.handover.transfer import UnknownParameterError, initialize_, multipliers, param_groups
from mutransfer.models.parametrization.rules import forward_multipliers, parameter_rules
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.loop import train
from mutransfer.orchestrator.handover.export import Target, export_object
from mutransfer.orchestrator.handover.formats.text import export_text

GAINS = {"*mixer_norm.weight": "blocks.*.mixer_norm.gain", "*mlp_norm.weight": "blocks.*.mlp_norm.gain",
         "final_norm.weight": "final_norm.gain"}  # fmt: skip
GDN_GAINS = {**GAINS, "*mixer.norm.weight": "blocks.*.mixer.norm.gain"}


def plan_of(recipe: Callable[..., Recipe], target: Target, **changes: object) -> dict[str, Any]:
    frame = rows(recipe, [-5, -5, -5, -5], **changes)
    (comparison,) = compared(frame)
    return dict(json.loads(export_text(export_object(comparison, frame, target), "json")))


def large_recipe(recipe: Callable[..., Recipe], handover: dict[str, Any], **changes: object) -> Recipe:
    target = handover["target"]
    rate = handover["hyperparameters"]["learning_rate"]
    return recipe(width=target["width"], depth=target["depth"], learning_rate=rate, **changes)


@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
def test_a_plain_loop_with_the_plan_is_the_sweeps_own_trial(
    architecture: str, recipe: Callable[..., Recipe], batches: Batches
) -> None:
    """Groups, start and multipliers from the handover, everything else torch's own: the same loss curve.

    Epsilon is 1e-3: at 1e-8 Adam turns the rounding of a vanishing gradient into a step of full size, and
    GDN's curves part by 2e-4 within 12 steps, whoever trains them; at 1e-3 by up to 2e-5.
    """
    changes = {"architecture": architecture, "weight_decay": 0.1, "steps": 12, "seed": 3, "epsilon": 1e-3}
    handover = plan_of(recipe, Target(48, 3), **changes)
    large = large_recipe(recipe, handover, **changes)
    outcome = train([large], batches, torch.device("cpu"))[0]

    factors = multipliers(handover)
    assert factors == pytest.approx({site.value: v for site, v in forward_multipliers(large).items()})
    model = Plain(large)
    roles = GDN_GAINS if architecture == "gdn" else GAINS
    initialize_(model, handover, seed=3, roles=roles)
    optimizer = torch.optim.AdamW(param_groups(model, handover, roles))
    losses = plain_losses(model, optimizer, large, batches)
    assert losses == pytest.approx([point.train_loss for point in outcome.curve], abs=5e-5)


class Named(nn.Module):
    """A module with a parameter for each of ours, dots and all."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        for rule in parameter_rules(recipe):
            module: nn.Module = self
            *path, last = rule.parameter.name.split(".")
            for part in path:
                if part not in dict(module.named_children()):
                    module.add_module(part, nn.Module())
                module = module.get_submodule(part)
            module.register_parameter(last, nn.Parameter(torch.full(rule.parameter.shape, torch.nan)))


OTHERS = [
    {"architecture": "gdn", "weight_decay": 0.1, "decay": "independent"},
    {"optimizer": "sgd", "norm": "layernorm"},
    {"optimizer": "muon", "adamw_lr_ratio": 0.1, "architecture": "gdn"},
    {"init": "gpt2", "tied": True, "positions": "learned"},
    {"parametrization": "sp", "optimizer": "lion", "weight_decay": 0.2},
]


@pytest.mark.parametrize("changes", OTHERS, ids=str)
def test_groups_and_start_are_our_proxys_own(changes: dict[str, Any], recipe: Callable[..., Recipe]) -> None:
    handover = plan_of(recipe, Target(32, 2), **changes)
    large = large_recipe(recipe, handover, **changes)
    model = Named(large)
    initialize_(model, handover, seed=0)
    bank = first_views([large])
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), bank[name][0].detach(), rtol=1e-6, atol=0)
    groups = {name: group for group in param_groups(model, handover) for name in group["names"]}
    for rule in parameter_rules(large):
        group = groups[rule.parameter.name]
        assert (group["lr"], group["optimizer"]) == (pytest.approx(rule.learning_rate), rule.optimizer)
        shrink = rule.weight_decay * (rule.learning_rate if large.decay == "coupled" else 1.0)
        assert group["lr"] * group["weight_decay"] == pytest.approx(shrink)
        assert group.get("eps") == (None if rule.epsilon is None else pytest.approx(rule.epsilon))


def test_another_model_by_roles(recipe: Callable[..., Recipe]) -> None:
    """A stranger's names: fan-in starts at the role's gain, no decay for gains and biases."""
    handover = plan_of(recipe, Target(64, 2), weight_decay=0.1)
    model = nn.ModuleDict({
        "tok": nn.Embedding(512, 64), "ffn": nn.Linear(64, 256, bias=False),
        "ln": nn.LayerNorm(64), "head": nn.Linear(64, 512, bias=False),
    })  # fmt: skip
    roles = {"tok.*": "input", "ffn.*": "hidden", "ln.*": "hidden vector", "head.*": "output"}
    initialize_(model, handover, seed=0, roles=roles)
    std = {name: parameter.std().item() for name, parameter in model.named_parameters()}
    # Base width 8: hidden and output start at 1/sqrt(fan_in) and 1/sqrt(base fan_in), an embedding at 1.
    assert std["ffn.weight"] == pytest.approx(64**-0.5, rel=0.05)
    assert std["head.weight"] == pytest.approx(8**-0.5, rel=0.05)
    assert std["tok.weight"] == pytest.approx(1, rel=0.05)
    norm = dict(model["ln"].named_parameters())
    assert norm["weight"].eq(1).all() and norm["bias"].eq(0).all()
    groups = {name: group for group in param_groups(model, handover, roles) for name in group["names"]}
    base = handover["hyperparameters"]["learning_rate"]
    assert groups["ffn.weight"]["lr"] == pytest.approx(base / 8)
    assert groups["head.weight"]["lr"] == pytest.approx(base)
    assert groups["ln.bias"]["weight_decay"] == groups["ln.weight"]["weight_decay"] == 0
    assert sum(len(group["params"]) for group in param_groups(model, handover, roles)) == 5


def test_what_does_not_fit_is_refused(recipe: Callable[..., Recipe]) -> None:
    handover = plan_of(recipe, Target(32, 2))
    model = Plain(large_recipe(recipe, handover))
    with pytest.raises(UnknownParameterError, match=r"does not know .*final_norm\.weight; give each a role"):
        param_groups(model, handover)
    with pytest.raises(UnknownParameterError, match=r"no parameter matches nothing\.\*"):
        param_groups(model, handover, {**GAINS, "nothing.*": "hidden"})
    with pytest.raises(UnknownParameterError, match="matches several patterns"):
        param_groups(model, handover, {**GAINS, "blocks.*": "hidden"})
    with pytest.raises(UnknownParameterError, match="export for this model's size"):
        param_groups(Plain(recipe(width=64)), handover, GAINS)


def test_measured_batch_slopes_correct_the_rate(recipe: Callable[..., Recipe]) -> None:
    """The optimum was seen to rise by half an octave per doubling of the batch."""
    width = rows(recipe, [-5, -5, -5])
    batch = pd.concat([
        rows(recipe, [-5 + index / 2], batch_size=4 * 2**index) for index in range(4)
    ])  # fmt: skip
    frame = pd.concat([width, batch]).drop_duplicates("trial_id", ignore_index=True)
    comparisons = compared(frame)
    chosen = next(c for c in comparisons if c.axis == "width")
    handed = export_object(chosen, frame, Target(32, 2, batch=64), comparisons)
    (adjustment,) = handed["adjustments"]
    assert (adjustment["axis"], adjustment["octaves"]) == ("batch_size", pytest.approx(2.0, abs=0.01))
    assert handed["hyperparameters"]["learning_rate"] == pytest.approx(2.0**-3, rel=0.02)


def test_the_loader_needs_torch_and_numpy_alone() -> None:
    code = (
        "import sys, mutransfer.models.handover.transfer; "
        "print([m for m in ('pandas', 'pyarrow', 'ray', 'pydantic', 'optuna', 'typer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
