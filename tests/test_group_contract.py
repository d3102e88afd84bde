"""What a group shares, and nothing else: a field declared `shared` must be, and any other may differ."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import proxy_trial

from mutransfer.models.data.batches import Batches
from mutransfer.models.recipe.group import SHARED, check_group, group_key
from mutransfer.models.recipe.recipe import RECIPE_FIELDS, Recipe
from mutransfer.models.training import group as group_module
from mutransfer.models.training.loop import train
from mutransfer.models.training.outcome import Outcome
from mutransfer.orchestrator.planning.plan import Device, plan_jobs

CPU = torch.device("cpu")
ROUNDING = 1e-5  # of losses, in differently shaped products over a few steps

MUON = {"optimizer": "muon", "adamw_lr_ratio": 0.5}
SGD = {"optimizer": "sgd", "learning_rate": 0.3}
SOPHIA = {"optimizer": "sophia", "learning_rate": 0.003}
RULED = {"base_batch_size": 3, "base_steps": 3, "budget_rules": "batch-sqrt"}
HORIZON = {**RULED, "horizon_exponent": 0.5}
EXPERTS = {"experts": 4, "mlp_ratio": 2.0}
SHARED_OUT = {**EXPERTS, "granularity": 2, "epsilon": 1e-2}  # beside which a gradient's size shows
MULTIPLIED = {"learnable_multipliers": "readout=scalar"}
# Another value of each field, and where it makes a difference.
OTHER: dict[str, tuple[object, dict[str, Any]]] = {
    "parametrization": ("sp", {}),
    "optimizer": ("lion", {}),
    "learning_rate": (0.003, {}),
    "steps": (5, {}),
    "batch_size": (2, {}),
    "base_width": (16, {}),
    "base_depth": (2, {}),
    "base_experts": (16, SHARED_OUT),
    "base_granularity": (4, SHARED_OUT),
    "balance_loss": (1.0, EXPERTS),
    "base_batch_size": (2, RULED),
    "base_steps": (2, HORIZON),
    "budget_rules": ("batch-linear", RULED),
    "horizon_exponent": (0.3, RULED),
    "seed": (1, {}),
    "weight_decay": (0.3, {}),
    "decay": ("independent", {"weight_decay": 0.1}),
    "beta1": (0.5, {}),
    "beta2": (0.5, {}),
    "epsilon": (1e-2, {}),
    "momentum": (0.1, SGD),
    "nesterov": (False, SGD),
    "adamw_lr_ratio": (0.1, MUON),
    "matrices": ("all", MUON),
    "gamma": (0.5, SOPHIA),
    "curvature_every": (2, SOPHIA),
    "precondition_every": (2, {**MUON, "optimizer": "soap"}),
    "grad_clip": (0.01, SGD),
    "schedule": ("linear", {}),
    "warmup": (0.5, {}),
    "cooldown": (0.5, {"schedule": "wsd"}),
    "final_lr": (0.5, {}),
    "init": ("gpt2", {}),
    "init_scale": (0.5, {}),
    "embedding_multiplier": (2.0, {}),
    "polynomial": ("polar-express", MUON),
    "rank_ratio": (1.0, {**MUON, "optimizer": "dion"}),
    "fused_qkv": (True, MUON),
    "embedding_lr": (2.0, {}),
    "readout_lr": (2.0, {}),
    "vector_lr": (2.0, {}),
    "residual_multiplier": (0.5, {}),
    "attention_multiplier": (3.0, {}),
    "readout_multiplier": (2.0, {}),
    "multiplier_lr": (0.5, MULTIPLIED),
    "multiplier_decay": (0.9, {**MULTIPLIED, "multiplier_lr": 0.5}),
    "clip_multipliers": (True, {**MULTIPLIED, "grad_clip": 0.01, "optimizer": "sgd", "learning_rate": 0.3}),
    "frozen_gains": ("all", {"norm": "layernorm"}),  # whose biases lie beside its gains
    "norm_scale": (4.0, {"weight_decay": 0.1}),
    "norm_scale_of": ("mlp", {"norm_scale_of": "mixer", "norm_scale": 4.0, "weight_decay": 0.1}),
    "z_loss": (1.0, {}),
    "dropout": (0.5, {}),
    "precision": ("bf16", {}),
    "activation_checkpointing": (True, {}),
    "eval_sequences": (3, {}),
    "eval_every": (2, {}),
}
OF_NO_RESULT = {"activation_checkpointing"}  # how a block is computed, which a program has but one way of
OF_THE_JOB = {"data"}  # a worker opens one source for a job


def seen(outcome: Outcome) -> list[float | None]:
    """All that a training says: losses of the curve, evaluations where there are some, the end."""
    points = [value for point in outcome.curve for value in (point.train_loss, point.eval_loss)]
    return [*points, outcome.initial_loss, outcome.loss]


def agree(one: Outcome, other: Outcome) -> bool:
    ours, theirs = seen(one), seen(other)
    return [value is None for value in ours] == [value is None for value in theirs] and all(
        a is None or b is None or abs(a - b) <= ROUNDING for a, b in zip(ours, theirs, strict=True)
    )


def test_every_field_is_tried() -> None:
    assert {*OTHER} | OF_THE_JOB == {*RECIPE_FIELDS}


@pytest.mark.parametrize("name", OTHER)
def test_a_field_is_shared_exactly_where_it_must_be(
    name: str, recipe: Callable[..., Recipe], batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trials that differ in it, trained together although a group would refuse them: where the second
    comes out as it does alone the field need not be shared, and must not be declared to be."""
    value, where = OTHER[name]
    first = recipe(steps=6, **where) if "steps" not in where else recipe(**where)
    second = recipe(**{"steps": 6, **where, name: value})
    alone = train([second], batches, CPU)[0]
    assert name in OF_NO_RESULT or not agree(train([first], batches, CPU)[0], alone), "no difference to see"
    monkeypatch.setattr(group_module, "check_group", lambda recipes: None)
    try:
        together = train([first, second], batches, CPU)[1]
        free = agree(together, alone)
    except (RuntimeError, IndexError, KeyError, ValueError):
        free = False
    assert (name in SHARED) != (free and name not in OF_NO_RESULT)


@pytest.mark.parametrize("name", SHARED)
def test_what_is_shared_is_refused_by_name(
    name: str, recipe: Callable[..., Recipe], batches: Batches
) -> None:
    value, where = OTHER.get(name, ("other", {}))
    pair = [recipe(**where), recipe(**{**where, name: value})]
    assert group_key(pair[0]) != group_key(pair[1])
    with pytest.raises(ValueError, match=f"^{name}: a group has one"):
        train(pair, batches, CPU)


def test_a_shape_is_shared(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(ValueError, match=r"^shape: a group has one"):
        check_group([recipe(), recipe(mlp="swiglu")])


def test_a_job_reads_one_source(recipe: Callable[..., Recipe]) -> None:
    trials = [proxy_trial(recipe(data=data)) for data in ("one", "other")]
    assert len(plan_jobs(trials, Device("cpu", 1))) == 2
