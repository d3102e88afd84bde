"""A trial's result does not depend on its companions, also when a neighbour diverges."""

from collections.abc import Callable

import pytest
import torch

from mutransfer.models.data.batches import Batches
from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.loop import train
from mutransfer.models.training.outcome import Outcome

CPU = torch.device("cpu")
STEPS = 20
LOSS_TOLERANCE = 1e-5  # float32, 20 steps: rounding in differently shaped products, measured at 2e-6

MATRIX_TOLERANCE = 1e-3
SOAP_TOLERANCE = 0.03
"""Where the statistics have no rank their eigenvectors are any, and alone may be others than together: 0.01
on some machines, 0 on others. Losses fall by 0.5 to 1.2."""


def companions(recipe: Callable[..., Recipe], architecture: str) -> list[Recipe]:
    """Eight trials of one shape that differ in everything else; the fourth diverges."""
    common = {"architecture": architecture, "steps": STEPS}
    return [
        recipe(**common, learning_rate=0.01),
        recipe(**common, learning_rate=0.003, parametrization="sp"),
        recipe(**common, learning_rate=0.03, seed=1),
        recipe(**common, learning_rate=1e30, grad_clip=0.0),
        recipe(**common, learning_rate=0.01, weight_decay=0.3),
        recipe(**common, learning_rate=0.01, readout_multiplier=2.0, residual_multiplier=0.5),
        recipe(**common, learning_rate=0.01, init_scale=0.5, beta2=0.99, epsilon=1e-6),
        recipe(**common, learning_rate=0.01, schedule="constant", warmup=0.5, seed=2),
    ]


def train_losses(outcome: Outcome) -> list[float]:
    return [point.train_loss for point in outcome.curve]


@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
def test_batched_equals_single(architecture: str, recipe: Callable[..., Recipe], batches: Batches) -> None:
    recipes = companions(recipe, architecture)
    together = train(recipes, batches, CPU)
    assert together[3].diverged
    for index, one in enumerate(recipes):
        if index == 3:
            continue
        alone = train([one], batches, CPU)[0]
        assert len(alone.curve) == STEPS
        assert train_losses(together[index]) == pytest.approx(train_losses(alone), abs=LOSS_TOLERANCE)
        assert together[index].loss == pytest.approx(alone.loss, abs=LOSS_TOLERANCE)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_trains_batched_as_alone(
    optimizer: str, recipe: Callable[..., Recipe], batches: Batches
) -> None:
    """Matrix optimizers handle all trials and all layers of a shape together; the third trial diverges."""
    rate = {"sgd": 0.3, "lion": 0.003, "sophia": 0.003}.get(optimizer, 0.02)
    common = {"optimizer": optimizer, "adamw_lr_ratio": 0.5, "matrices": "all", "steps": STEPS}
    recipes = [
        recipe(**common, learning_rate=rate),
        recipe(**common, learning_rate=rate / 4, parametrization="sp", weight_decay=0.3, seed=1),
        recipe(**common, learning_rate=1e30, grad_clip=0.0),
        recipe(
            **common, learning_rate=rate, parametrization="depth-mup", decay="independent", weight_decay=0.01
        ),
    ]
    together = train(recipes, batches, CPU)
    assert together[2].diverged
    for index in (0, 1, 3):
        alone = train([recipes[index]], batches, CPU)[0]
        # Sign-like and orthogonalised updates amplify rounding: an entry near zero may take either sign.
        tolerance = SOAP_TOLERANCE if optimizer == "soap" else MATRIX_TOLERANCE
        assert train_losses(together[index]) == pytest.approx(train_losses(alone), abs=tolerance)
        assert alone.loss is not None and alone.loss < alone.initial_loss - 0.02


@pytest.mark.parametrize(
    "common",
    [
        {"architecture": "mamba2"},
        {"architecture": "gdn-hybrid", "attention_every": 2, "base_depth": 2},
        {"architecture": "parallel-hybrid"},
        {"learnable_multipliers": "everywhere"},
        {"learnable_multipliers": "mlp", "clip_multipliers": True, "activation_checkpointing": True},
    ],
    ids=str,
)
def test_what_else_differs_does_not_matter(
    common: dict[str, object], recipe: Callable[..., Recipe], batches: Batches
) -> None:
    """Every architecture, and everything that may differ inside a group."""
    recipes = [
        recipe(**common),
        recipe(**common, dropout=0.3, z_loss=1e-2, seed=1),
        recipe(**common, learning_rate=1e30, grad_clip=0.0),
        recipe(**common, norm_scale=4.0, weight_decay=0.1, schedule="wsd", multiplier_lr=0.1),
    ]
    together = train(recipes, batches, CPU)
    assert together[2].diverged
    for index in (0, 1, 3):
        alone = train([recipes[index]], batches, CPU)[0]
        assert train_losses(together[index]) == pytest.approx(train_losses(alone), abs=LOSS_TOLERANCE)
        assert together[index].accuracy == pytest.approx(alone.accuracy, abs=0.05)


def test_a_diverged_trial_is_frozen_and_says_when(recipe: Callable[..., Recipe], batches: Batches) -> None:
    broken, healthy = train([recipe(learning_rate=1e30, grad_clip=0.0), recipe()], batches, CPU)
    assert broken.diverged
    assert broken.loss is None
    assert broken.diverged_step is not None and 0 < broken.diverged_step < STEPS
    assert len(broken.curve) == broken.diverged_step
    assert not healthy.diverged


def test_ending_above_the_untrained_loss_is_divergence(
    recipe: Callable[..., Recipe], batches: Batches
) -> None:
    """Finite throughout, but worse than nothing: Lion moves every entry by the learning rate, whatever the
    gradient, so that no rounding decides it. Twenty steps of one end at twenty at most, where no product of
    a network of this size overflows, and with logits of a size that only chance could get right."""
    wild = recipe(learning_rate=1.0, parametrization="sp", optimizer="lion", schedule="constant")
    (outcome,) = train([wild], batches, CPU)
    assert all(point.train_loss < float("inf") for point in outcome.curve)
    assert outcome.diverged
    assert outcome.diverged_step == STEPS


def test_clipping_is_per_trial(recipe: Callable[..., Recipe], batches: Batches) -> None:
    """A tightly clipped neighbour does not shorten anybody else's SGD step."""
    free = recipe(optimizer="sgd", grad_clip=0.0)
    tight = recipe(optimizer="sgd", grad_clip=1e-3)
    alone = train([free], batches, CPU)[0]
    together, clipped = train([free, tight], batches, CPU)
    assert train_losses(together) == pytest.approx(train_losses(alone), abs=LOSS_TOLERANCE)
    assert clipped.loss is not None and together.loss is not None
    assert clipped.loss > together.loss + 0.01


def test_the_same_group_is_bit_identical(recipe: Callable[..., Recipe], batches: Batches) -> None:
    recipes = companions(recipe, "gdn")[:3]
    first, second = train(recipes, batches, CPU), train(recipes, batches, CPU)
    assert [train_losses(o) for o in first] == [train_losses(o) for o in second]
    assert [o.loss for o in first] == [o.loss for o in second]


def test_trials_of_a_seed_are_paired(recipe: Callable[..., Recipe], batches: Batches) -> None:
    """Same start and same first batch for every learning rate; another seed starts elsewhere."""
    outcomes = train([recipe(), recipe(learning_rate=0.3), recipe(seed=1)], batches, CPU)
    first = [outcome.curve[0].train_loss for outcome in outcomes]
    assert first[0] == first[1] != first[2]


@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
def test_mup_is_sp_at_the_base(architecture: str, recipe: Callable[..., Recipe], batches: Batches) -> None:
    common = {"architecture": architecture, "base_width": 16, "base_depth": 2}
    mup, sp = train(
        [recipe(**common, parametrization="mup"), recipe(**common, parametrization="sp")], batches, CPU
    )
    assert train_losses(mup) == train_losses(sp)


def test_bf16_autocast_trains(recipe: Callable[..., Recipe], batches: Batches) -> None:
    for architecture in ("transformer", "gdn"):
        low = train([recipe(architecture=architecture, precision="bf16")], batches, CPU)[0]
        full = train([recipe(architecture=architecture)], batches, CPU)[0]
        # bf16 keeps 8 bits: losses agree to about a percent.
        assert low.loss == pytest.approx(full.loss, abs=0.05)


def test_learning_happens(recipe: Callable[..., Recipe], batches: Batches) -> None:
    for architecture in ("transformer", "gdn"):
        (outcome,) = train([recipe(architecture=architecture, steps=150, learning_rate=0.02)], batches, CPU)
        assert outcome.loss is not None
        # The text's own entropy is 0.90 nats; the uniform guess is 4.16.
        assert outcome.loss < 2.0 < outcome.initial_loss


def test_long_runs_keep_a_bounded_curve(
    recipe: Callable[..., Recipe], batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mutransfer.models.training.loop.CURVE_POINTS", 5)
    (outcome,) = train([recipe()], batches, CPU)
    assert [point.step for point in outcome.curve] == [0, 4, 8, 12, 16, 19]
    assert outcome.curve[-1].eval_loss == outcome.loss


@pytest.mark.parametrize("optimizer", ["shampoo", "soap"])
def test_statistics_of_hardly_any_rank_are_no_failure(
    optimizer: str, recipe: Callable[..., Recipe], batches: Batches
) -> None:
    """An embedding of 500 tokens of which a batch saw a few: LAPACK gives up on it as it is."""
    one = recipe(
        optimizer=optimizer, adamw_lr_ratio=1.0, matrices="all", vocab_size=500, batch_size=1,
        learning_rate=0.02,
    )  # fmt: skip
    (outcome,) = train([one], batches, CPU)
    assert outcome.loss is not None and outcome.loss < outcome.initial_loss
