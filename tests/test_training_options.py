"""Options of training: each does what it says, alone and beside others, and survives a stop."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_checkpoint import stopped_and_resumed, without_time

from mutransfer.models.data.batches import Batches
from mutransfer.models.layers.dropout import Dropout
from mutransfer.models.layers.linear import projection
from mutransfer.models.layers.trace import untraced
from mutransfer.models.mixers.gates import mixed
from mutransfer.models.recipe.recipe import FIELDS, Recipe
from mutransfer.models.training import overflow
from mutransfer.models.training.group import Group
from mutransfer.models.training.loop import GroupTraining, train
from mutransfer.models.training.loss import z_penalty
from mutransfer.models.training.outcome import Outcome
from mutransfer.models.training.schedule import SCHEDULED_BY, schedule_factor
from mutransfer.models.training.state import FIRST_SCALE, GroupState

CPU = torch.device("cpu")
Build = Callable[..., Recipe]


def losses(outcome: Outcome) -> list[float]:
    return [point.train_loss for point in outcome.curve]


@pytest.mark.parametrize("architecture", ["transformer", "gdn", "mamba2"])
def test_activation_checkpointing_changes_nothing(architecture: str, recipe: Build, batches: Batches) -> None:
    """Dropout included: the activations that are computed again drop the same numbers."""
    one = recipe(architecture=architecture, dropout=0.2)
    plain, again = (train([r], batches, CPU)[0] for r in (one, replace(one, activation_checkpointing=True)))
    assert losses(again) == pytest.approx(losses(plain), abs=1e-6)
    assert again.loss == pytest.approx(plain.loss, abs=1e-6)


def test_dropout_is_shared_by_seeds_and_nested_by_rate() -> None:
    """Trials of one seed drop the same places, or more of them at a higher rate; others drop others."""
    drop = Dropout(torch.tensor([0.2, 0.5, 0.2, 0.0]), [7, 7, 8, 7], step=3, begin=0, sequences=5)
    out = drop(torch.ones(4, 5, 40, 16), site=2)
    low, high, other, none = out
    assert (low == 0).float().mean() == pytest.approx(0.2, abs=0.03)
    assert (high[low == 0] == 0).all() and (none == 1).all()
    assert ((low == 0) != (other == 0)).any()
    torch.testing.assert_close(low[low != 0], torch.full_like(low[low != 0], 1 / 0.8))
    assert torch.equal(out, drop(torch.ones(4, 5, 40, 16), site=2))
    assert not torch.equal(out, drop(torch.ones(4, 5, 40, 16), site=3))
    part = replace(drop, begin=3)
    assert torch.equal(out[:, 3:], part(torch.ones(4, 2, 40, 16), site=2))
    later = replace(drop, step=4)
    assert not torch.equal(out, later(torch.ones(4, 5, 40, 16), site=2))


def test_dropout_is_for_training_alone(recipe: Build, batches: Batches) -> None:
    dropped, plain = train([recipe(dropout=0.5), recipe()], batches, CPU)
    assert dropped.initial_loss == pytest.approx(plain.initial_loss, abs=1e-6)
    assert dropped.curve[0].train_loss != pytest.approx(plain.curve[0].train_loss, abs=1e-3)


def test_z_loss_is_minimised_and_not_reported(recipe: Build, batches: Batches) -> None:
    """A heavy weight drives the normaliser to one; the first step's reported loss is the plain one."""
    heavy, plain = recipe(z_loss=1.0, steps=60), recipe(steps=60)
    training = GroupTraining([heavy, plain], batches, CPU)
    first, _ = training.step(0)
    assert first[0] == pytest.approx(float(first[1]), abs=1e-6)
    for step in range(1, 60):
        training.step(step)
    batch = batches.validation(16)
    inputs, labels = (torch.from_numpy(x).expand(2, *x.shape) for x in (batch.inputs, batch.labels))
    with torch.no_grad():
        normaliser = z_penalty(training.logits(inputs, training.views()), labels)
    assert normaliser[0] < 0.3 * normaliser[1]


def test_warmup_stable_decay(recipe: Build) -> None:
    one = recipe(schedule="wsd", steps=100, warmup=0.1, cooldown=0.3, final_lr=0.1)
    factors = [schedule_factor(one, step) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10:71] == [1.0] * 61
    assert factors[71] == pytest.approx(1 - 0.9 / 30) and factors[99] == pytest.approx(0.1 + 0.9 / 30)
    with pytest.raises(ValueError, match=r"cooldown: 0\.6 and a warm-up of 0\.5 are more than the whole"):
        recipe(schedule="wsd", warmup=0.5, cooldown=0.6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("architecture", ["transformer", "gdn", "mamba2", "gdn-hybrid"])
def test_half_precision_trains_alike(
    architecture: str, precision: str, recipe: Build, batches: Batches
) -> None:
    changes: dict[str, Any] = {
        "architecture": architecture,
        "attention_every": 2,
        "base_depth": 2,
        "steps": 40,
    }
    full, half = (train([recipe(**changes, precision=p)], batches, CPU)[0] for p in ("float32", precision))
    assert full.loss is not None and half.loss is not None
    assert half.loss == pytest.approx(full.loss, abs=0.05)
    assert losses(half) != losses(full)


def test_biases_leave_half_precision_as_it_is() -> None:
    """A bias in float32, of a linear layer or a convolution, would make all that follows float32."""
    parameters = {
        "m.weight": torch.ones(1, 6, 4), "m.bias": torch.ones(1, 6), "m_conv.weight": torch.ones(1, 6, 3),
        "m_conv.bias": torch.ones(1, 6),
    }  # fmt: skip
    with torch.autocast("cpu", torch.bfloat16):
        assert projection(torch.ones(1, 2, 5, 4), parameters, "m", untraced).dtype is torch.bfloat16
        assert mixed(torch.ones(1, 2, 5, 4), parameters, "m", untraced).dtype is torch.bfloat16


def test_an_overflowing_gradient_is_taken_again_at_half_the_scale(recipe: Build) -> None:
    state = GroupState.first(Group([recipe(precision="fp16", seed=seed) for seed in range(3)], CPU))

    def lowered(*overflown: bool) -> bool:
        gradient = torch.where(torch.tensor(overflown)[:, None], torch.inf, torch.ones(3, 2))
        return overflow.lowered(state, torch.ones(3), [gradient])

    first = FIRST_SCALE
    assert lowered(False, True, False)
    assert state.scale_K.tolist() == [first, first / 2, first]
    assert not lowered(False, False, False)
    for _ in range(overflow.GROWTH_STEPS):
        overflow.served(state)
    assert state.scale_K.tolist() == [2 * first, first, 2 * first]
    # What overflows at any scale has diverged.
    assert [lowered(False, True, False) for _ in range(30)] == [True] * 20 + [False] * 10


@pytest.mark.parametrize("optimizer", ["adamw", "sophia", "shampoo"])
def test_an_overflow_leaves_no_trace(optimizer: str, recipe: Build, batches: Batches) -> None:
    """From a scale that overflows at first, the curve is that from a scale that fits."""
    one = recipe(
        precision="fp16", optimizer=optimizer, adamw_lr_ratio=1.0, learning_rate=0.0003, init="gpt2",
        init_scale=1e-2, readout_multiplier=1e3,
    )  # fmt: skip
    begun, fitting = (GroupTraining([one], batches, CPU) for _ in range(2))
    fitting._state.scale_K.fill_(1.0)
    curves = [[float(training.step(step)[0]) for step in range(8)] for training in (begun, fitting)]
    assert begun._state.scale_K.item() < FIRST_SCALE
    assert curves[0] == pytest.approx(curves[1], abs=0.02)


def test_fp16_without_a_scale_would_lose_gradients(recipe: Build, batches: Batches) -> None:
    """The scale changes gradients' size on the way and not what comes out."""
    training = GroupTraining([recipe(precision="fp16")], batches, CPU)
    full = GroupTraining([recipe()], batches, CPU)
    (_, norm), (_, wanted) = training.step(0), full.step(0)
    assert norm.item() == pytest.approx(wanted.item(), rel=0.02)


@pytest.mark.parametrize(
    "changes",
    [{"dropout": 0.2, "schedule": "wsd"}, {"precision": "fp16"}, {"learnable_multipliers": "everywhere"},
     {"architecture": "mamba2", "activation_checkpointing": True}],
    ids=str,
)  # fmt: skip
def test_a_resumed_training_is_undisturbed(
    changes: dict[str, object], recipe: Build, batches: Batches, tmp_path: Path
) -> None:
    recipes = [recipe(**changes, steps=9, seed=seed) for seed in (0, 1)]
    undisturbed = train(recipes, batches, CPU)
    resumed = stopped_and_resumed(recipes, batches, tmp_path / "checkpoints")
    assert without_time(resumed) == without_time(undisturbed)


def test_micro_batches_drop_as_one(recipe: Build, batches: Batches) -> None:
    """The masks are those of the whole batch: micro-batches change rounding alone."""
    one = recipe(z_loss=0.01, dropout=0.3)
    whole = train([one], batches, CPU)[0]
    parts = train([one], batches, CPU, micro_batches=2)[0]
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-5)


def test_the_curvature_is_that_of_the_loss_alone(recipe: Build, batches: Batches) -> None:
    """The z-loss is no likelihood; multipliers beside Sophia are AdamW's and need no curvature."""
    changes: dict[str, Any] = {"optimizer": "sophia", "learning_rate": 0.003, "steps": 1}
    states = []
    for z_loss in (0.0, 1.0):
        training = GroupTraining(
            [recipe(**changes, z_loss=z_loss, learnable_multipliers="readout=scalar")], batches, CPU
        )
        training.step(0)
        memories = training.state(1, 0.0)["group"]["optimizers"]
        states.append([memory["curvature_KP"] for memory in memories if "curvature_KP" in memory])
    assert len(states[0]) > 1
    torch.testing.assert_close(states[0], states[1])


@pytest.mark.parametrize("schedule", FIELDS["schedule"].choices or ())
def test_a_schedule_reads_what_it_says(schedule: str, recipe: Build) -> None:
    """By these fields a group tells its trials' schedules apart."""
    one, seen = recipe(schedule=schedule, warmup=0.2), set()

    class Watched:
        def __getattr__(self, name: str) -> object:
            seen.add(name)
            return getattr(one, name)

    for step in range(one.steps):
        schedule_factor(Watched(), step)  # type: ignore[arg-type]
    assert seen <= {*SCHEDULED_BY}
