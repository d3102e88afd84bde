"""Learnable multipliers: where they are put, what they do in training, and that merging changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import first_views, logits
from plain_modules import Plain
from test_transfer import GAINS, large_recipe, plan_of
from torch import nn

from mutransfer.models.data.batches import Batches
from mutransfer.models.handover.multiplied import add_multipliers_, merge_multipliers_
from mutransfer.models.handover.transfer import UnknownParameterError, initialize_, param_groups
from mutransfer.models.layers.learnable import merged
from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.parametrization.registry import BUILT_IN
from mutransfer.models.parametrization.rules import forward_multipliers, is_norm_scaled, parameter_rules
from mutransfer.models.recipe.inventory import parameters
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.recipe.role import Role
from mutransfer.models.training.checkpoint import NoKeeper
from mutransfer.models.training.loop import GroupTraining, train
from mutransfer.orchestrator.handover.export import Target

CPU = torch.device("cpu")
Build = Callable[..., Recipe]


def placed(recipe: Build, **changes: object) -> set[str]:
    """The multipliers of the first block and of what is outside."""
    return {
        p.name.removeprefix("blocks.0.")
        for p in parameters(recipe(**changes).shape)
        if p.role is Role.MULTIPLIER and not p.name.startswith("blocks.1.")
    }


@pytest.mark.parametrize(
    ("placement", "changes", "expected"),
    [
        ("none", {}, set()),
        ("attention", {}, {"mixer.query.row", "mixer.output.row", "mixer.output.column"}),
        ("mlp", {"mlp": "swiglu"}, {"mlp.down.row", "mlp.down.column", "mlp.gate.row"}),
        ("mlp", {}, {"mlp.down.row", "mlp.down.column"}),
        ("mamba2", {"architecture": "mamba2"}, {"mixer.output.row", "mixer.z.row", "mixer.dt.row"}),
        ("gdn", {"architecture": "gdn"}, {f"mixer.{name}.row" for name in ("output", "gate", "a", "b")}),
        ("embedding, readout=scalar", {}, {"embedding.row", "embedding.column", "readout.scalar"}),
        ("*.up=row+scalar", {}, {"mlp.up.row", "mlp.up.scalar"}),
        (
            "attention,mamba2",
            {"architecture": "parallel-hybrid"},
            {"attention.query.row", "attention.output.row", "attention.output.column", "mamba2.output.row",
             "mamba2.z.row", "mamba2.dt.row"},
        ),
    ],
)  # fmt: skip
def test_placements_are_the_papers(
    placement: str, changes: dict[str, object], expected: set[str], recipe: Build
) -> None:
    assert placed(recipe, learnable_multipliers=placement, **changes) == expected


def test_everywhere_is_all_matrices_but_rows_of_the_readout(recipe: Build) -> None:
    names = placed(recipe, learnable_multipliers="everywhere")
    matrices = [p for p in parameters(recipe(depth=1).shape) if len(p.shape) == 2]
    assert len(names) == 2 * len(matrices) - 1
    assert "readout.column" in names and "readout.row" not in names


@pytest.mark.parametrize(
    ("placement", "message"),
    [
        ("mpl", "'mpl' is no placement; give none, attention, gdn, mamba2, mlp"),
        ("readout=sideways", "'readout=sideways': kinds are scalar, row and column"),
        ("readout=row+row", "kinds are scalar, row and column"),
        (
            "heads=row",
            r"heads=row fits no matrix of a transformer; there are embedding, blocks\.\*\.mixer\.query",
        ),
        ("mamba2", "mamba2 fits no matrix of a transformer"),
        ("none, mlp", "'none' is no placement"),
        ("*.{x}=row", "a pattern has no braces"),
    ],
)
def test_a_wrong_placement_names_the_right_ones(placement: str, message: str, recipe: Build) -> None:
    with pytest.raises(ValueError, match=f"learnable_multipliers: .*{message}"):
        recipe(learnable_multipliers=placement)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd", "sophia"])
def test_they_have_rates_of_their_own(optimizer: str, recipe: Build) -> None:
    """AdamW at one learning rate and decay, whatever the width and the optimizer of the matrices."""
    for width in (16, 64):
        one = recipe(
            width=width, learnable_multipliers="everywhere", multiplier_lr=0.03, multiplier_decay=0.5,
            optimizer=optimizer, adamw_lr_ratio=0.1, weight_decay=0.2,
        )  # fmt: skip
        rules = [rule for rule in parameter_rules(one) if rule.parameter.role is Role.MULTIPLIER]
        assert {(r.optimizer, r.learning_rate, r.weight_decay) for r in rules} == {("adamw", 0.03, 0.5)}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_and_parametrization_trains_them(
    optimizer: str, recipe: Build, batches: Batches
) -> None:
    """All parametrizations as one group, multipliers everywhere; each of them moves."""
    rate = {"sgd": 0.1, "lion": 0.001, "sophia": 0.001}.get(optimizer, 0.01)
    recipes = [
        recipe(learnable_multipliers="everywhere", optimizer=optimizer, adamw_lr_ratio=0.5, steps=20,
               learning_rate=rate, parametrization=name)
        for name in BUILT_IN
    ]  # fmt: skip
    training = GroupTraining(recipes, batches, CPU)
    outcomes = training.train(lambda progress: None, NoKeeper())
    assert all(outcome.loss is not None and outcome.loss < outcome.initial_loss for outcome in outcomes)
    held = {name: view for name, view in training.views().items() if name.endswith((".row", ".column"))}
    assert all((view - 1).abs().amax(dim=1).min() > 1e-3 for view in held.values())


def trained(recipe: Build, batches: Batches, **changes: object) -> tuple[Recipe, dict[str, torch.Tensor]]:
    one = recipe(learnable_multipliers="everywhere", multiplier_lr=0.1, steps=10, **changes)
    training = GroupTraining([one, one], batches, CPU)
    for step in range(10):
        training.step(step)
    return one, {name: view.detach() for name, view in training.views().items()}


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "muon", "adamw_lr_ratio": 0.1}, {"architecture": "parallel-hybrid"}, {"tied": True},
     {"architecture": "gdn", "norm": "layernorm", "mlp": "swiglu"}],
    ids=str,
)  # fmt: skip
def test_merged_weights_are_the_same_function(
    changes: dict[str, object], recipe: Build, batches: Batches
) -> None:
    one, views = trained(recipe, batches, **changes)
    moved = [
        name for name in views if name.endswith((".row", ".column")) and (views[name] - 1).abs().max() > 0.01
    ]
    assert moved
    plain = recipe(**changes)
    assert set(merged(views, "none")) == {p.name for p in parameters(plain.shape)}
    sites = {site: torch.tensor([value, value]) for site, value in forward_multipliers(one).items()}
    tokens = torch.from_numpy(batches.validation(4).inputs).expand(2, -1, -1)
    wide = {name: view.double() for name, view in views.items()}
    torch.testing.assert_close(
        logits(one.shape, wide, sites, tokens), logits(plain.shape, merged(wide, "none"), sites, tokens),
        atol=1e-12, rtol=0,
    )  # fmt: skip
    torch.testing.assert_close(
        logits(one.shape, views, sites, tokens), logits(plain.shape, merged(views, "none"), sites, tokens),
        atol=1e-6, rtol=0,
    )  # fmt: skip


def test_they_are_left_out_of_the_norm_that_is_clipped(recipe: Build, batches: Batches) -> None:
    """In the norm they would shorten everybody's step; out of it, neither they nor the norm take part."""
    common: dict[str, Any] = {"learnable_multipliers": "everywhere", "steps": 3, "grad_clip": 1e-3}
    outside, inside = recipe(**common), recipe(**common, clip_multipliers=True)
    plain = recipe(steps=3, grad_clip=1e-3)
    first = {one: train([one], batches, CPU)[0].curve[0].gradient_norm for one in (outside, inside, plain)}
    # At the start all multipliers are one: the matrices' gradients are those without them.
    assert first[outside] == pytest.approx(first[plain], rel=1e-5)
    assert first[inside] > first[plain] * 1.01

    training = GroupTraining([outside], batches, CPU)
    training.step(0)
    row = training.views()["blocks.0.mlp.down.row"].detach()
    # Adam's first step is the learning rate itself: a clipped gradient would make the same, an epsilon not.
    assert (row - 1).abs().median() == pytest.approx(outside.multiplier_lr, rel=0.05)


def test_frozen_gains_stay_at_one(recipe: Build, batches: Batches) -> None:
    for frozen, still in (("final", {"final_norm.gain"}), ("all", None)):
        training = GroupTraining([recipe(frozen_gains=frozen, weight_decay=0.1)], batches, CPU)
        training.step(0)
        for name, view in training.views().items():
            if name.endswith(".gain"):
                assert bool(view.eq(1).all()) == (still is None or name in still), name


def test_a_norm_scale_moves_matrices_alone(recipe: Build) -> None:
    """Depthwise kernels are no matrices, and have no multipliers."""
    one = recipe(architecture="mamba2", weight_decay=0.2, norm_scale_of="mixer", norm_scale=4.0)
    moved = {r.parameter.name.split(".")[3] for r in parameter_rules(one) if is_norm_scaled(r.parameter, one)}
    assert moved == {"z", "x", "b", "c", "dt", "output"}


def test_a_norm_scale_moves_rate_against_decay(recipe: Build) -> None:
    common: dict[str, Any] = {"weight_decay": 0.2, "norm_scale_of": "mlp"}
    before = {r.parameter.name: r for r in parameter_rules(recipe(**common))}
    after = {r.parameter.name: r for r in parameter_rules(recipe(**common, norm_scale=8.0))}
    for name, rule in after.items():
        factor = 8.0 if ".mlp." in name else 1.0
        assert rule.learning_rate == pytest.approx(before[name].learning_rate * factor)
        assert rule.weight_decay == pytest.approx(before[name].weight_decay / factor)
    with pytest.raises(
        ValueError, match="norm_scale_of: 'heads' is no part of a transformer; parts with matrices"
    ):
        recipe(norm_scale=2.0, norm_scale_of="heads", weight_decay=0.1)


def test_an_export_carries_them_into_any_module(recipe: Build) -> None:
    """Groups of their own by the plan; merged, the model gives the same logits and has none left."""
    changes: dict[str, Any] = {
        "learnable_multipliers": "attention,mlp",
        "weight_decay": 0.1,
        "multiplier_lr": 0.02,
    }
    plan = plan_of(recipe, Target(32, 2), **changes)
    assert plan["hyperparameters"]["multiplier_lr"] == 0.02
    large = large_recipe(recipe, plan, **changes)
    model = Plain(large)
    add_multipliers_(model, plan, GAINS)
    initialize_(model, plan, seed=0, roles=GAINS)
    groups = param_groups(model, plan, GAINS)
    (own,) = [group for group in groups if group["role"] == "learnable multiplier"]
    assert (own["lr"], own["weight_decay"], own["optimizer"]) == (0.02, 0.002, "adamw")
    count = sum(rule.parameter.role is Role.MULTIPLIER for rule in parameter_rules(large))
    assert len(own["params"]) == count == 2 * 5
    assert sum(len(group["params"]) for group in groups) == len([*model.parameters()])
    with torch.no_grad():
        for parameter in own["params"]:
            parameter.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(parameter.numel()))
    tokens = torch.randint(64, (2, 16), generator=torch.Generator().manual_seed(0))
    before = model(tokens)
    merge_multipliers_(model)
    torch.testing.assert_close(model(tokens), before, atol=1e-6, rtol=0)
    assert {name for name, _ in model.named_parameters()} == {n for n, _ in Plain(large).named_parameters()}


def test_a_plain_start_is_the_proxys(recipe: Build) -> None:
    """The plan's start of a multiplied weight is that of our own."""
    changes: dict[str, Any] = {"learnable_multipliers": "mlp"}
    plan = plan_of(recipe, Target(32, 2), **changes)
    large = large_recipe(recipe, plan, **changes)
    model = Plain(large)
    add_multipliers_(model, plan, GAINS)
    initialize_(model, plan, seed=0, roles=GAINS)
    bank = first_views([large])
    down = model.get_submodule("blocks.0.mlp.down")
    assert isinstance(down, nn.Linear)
    torch.testing.assert_close(down.weight.detach(), bank["blocks.0.mlp.down.weight"][0].detach())


def test_frozen_gains_go_over_by_name_and_not_by_role(recipe: Build) -> None:
    """A role's other members are trained; a rate of zero has no decay to divide."""
    changes: dict[str, Any] = {"frozen_gains": "all", "decay": "independent", "weight_decay": 0.01}
    plan = plan_of(recipe, Target(32, 2), **changes)
    assert plan["parameters"]["blocks.*.mlp_norm.gain"]["learning_rate"] == 0
    assert plan["roles"]["hidden vector"]["learning_rate"] > 0
    groups = param_groups(Plain(large_recipe(recipe, plan, **changes)), plan, GAINS)
    assert {group["weight_decay"] for group in groups if group["lr"] == 0} == {0.0}


def test_multipliers_beside_sgd_are_adamws_in_the_plan(recipe: Build) -> None:
    changes: dict[str, Any] = {
        "optimizer": "sgd",
        "learnable_multipliers": "mlp",
        "beta1": 0.8,
        "epsilon": 1e-6,
    }
    plan = plan_of(recipe, Target(32, 2), **changes)
    model = Plain(large_recipe(recipe, plan, **changes))
    add_multipliers_(model, plan, GAINS)
    (own,) = [g for g in param_groups(model, plan, GAINS) if g["role"] == "learnable multiplier"]
    assert own["betas"] == (0.8, 0.95) and own["eps"] < 1e-6


def test_shared_matrices_are_refused(recipe: Build) -> None:
    changes: dict[str, Any] = {"learnable_multipliers": "embedding"}
    plan = plan_of(recipe, Target(32, 2), **changes)
    model = Plain(large_recipe(recipe, plan, **changes))
    model.get_submodule("readout").weight = model.get_submodule("embedding").weight
    with pytest.raises(UnknownParameterError, match=r"embedding.weight and readout.weight are one"):
        add_multipliers_(model, plan, GAINS)
