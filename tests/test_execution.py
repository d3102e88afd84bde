"""A step that is recorded once and replayed trains what one operation after the other does.

Without a GPU a stand-in for the recording calls the recorded function again: that its program depends on the
tensors that are filled before it, and on nothing else, is the same on every device.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from mutransfer.models.architectures.registry import ARCHITECTURES
from mutransfer.models.data.batches import Batches
from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training import loop
from mutransfer.models.training.checkpoint import NoKeeper
from mutransfer.models.training.compiling import kept_apart
from mutransfer.models.training.group import Group
from mutransfer.models.training.loop import GroupTraining, train
from mutransfer.models.training.pruning import Pruning
from mutransfer.models.training.recording import EAGER_STEPS, Eager, Losses, Recorded, unrecordable
from mutransfer.models.training.state import GroupState
from mutransfer.models.training.step import Operations

CPU = torch.device("cpu")
Build = Callable[..., Recipe]
REPEATING = [name for name, optimizer in OPTIMIZERS.items() if optimizer.repeats]


def called_again(function: Callable[[], Losses]) -> tuple[Callable[[], None], Losses]:
    """In place of a CUDA graph: the tensors of the recording are filled by each replay."""
    held: Losses = torch.empty(0), torch.empty(0)

    def replay() -> None:
        for own, new in zip(held, function(), strict=True):
            own.resize_(new.shape).copy_(new.detach())

    return replay, held


def both(recipes: list[Recipe], batches: Batches, steps: int) -> list[list[torch.Tensor]]:
    """Losses, gradient norms and weights of the same trainings, run either way."""
    found = []
    for recorded in (False, True):
        training = GroupTraining(recipes, batches, CPU)
        group = Group(recipes, CPU)
        state = GroupState.first(group)
        eager = Eager(group, state, Operations())
        run = Recorded(eager, called_again, CPU, always=True) if recorded else eager
        seen = [tensor for step in range(steps) for tensor in run(training.placed(step), step)]
        found.append([*seen, *state.buffers_KP, state.broke_K])
    return found


@pytest.mark.parametrize("optimizer", REPEATING)
def test_a_recorded_step_is_the_same_step(optimizer: str, recipe: Build, batches: Batches) -> None:
    """Weight decay, a warm-up, a schedule and a trial that breaks: all that depends on a step's number."""
    common = {
        "optimizer": optimizer,
        "adamw_lr_ratio": 0.5,
        "weight_decay": 0.1,
        "warmup": 0.3,
        "z_loss": 1e-3,
    }
    rate = 0.003 if optimizer in ("lion", "spectral-sphere") else 0.01
    recipes = [recipe(**common, learning_rate=rate), recipe(**common, learning_rate=1e30, grad_clip=0.0)]
    for eager, recorded in zip(*both(recipes, batches, 8), strict=True):
        # Powers of beta by a tensor's number round otherwise.
        torch.testing.assert_close(recorded, eager, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_of_ours_can_be_recorded(
    architecture: str, recipe: Build, batches: Batches
) -> None:
    depth = 2 if "hybrid" in architecture else 1
    changes = {"architecture": architecture, "depth": depth, "base_depth": depth, "attention_every": 2}
    recipes = [recipe(**changes, seed=seed) for seed in range(2)]
    for eager, recorded in zip(*both(recipes, batches, 6), strict=True):
        torch.testing.assert_close(recorded, eager, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"precision": "fp16"}, "fp16"), ({"dropout": 0.1}, "dropout"),
     ({"optimizer": "soap", "adamw_lr_ratio": 1.0}, "soap"),
     ({"optimizer": "sophia"}, "sophia")],
)  # fmt: skip
def test_what_cannot_be_recorded_says_why(changes: dict[str, object], words: str, recipe: Build) -> None:
    assert words in (unrecordable(Group([recipe(**changes)], CPU)) or "")


def test_what_turns_out_not_to_be_recordable_goes_on(
    recipe: Build, batches: Batches, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(function: Callable[[], Losses]) -> tuple[Callable[[], None], Losses]:
        raise RuntimeError("operation not permitted when stream is capturing")

    training, group = GroupTraining([recipe()], batches, CPU), Group([recipe()], CPU)
    run = Recorded(Eager(group, GroupState.first(group), Operations()), refuses, CPU, always=True)
    with caplog.at_level(logging.WARNING):
        losses = [run(training.placed(step), step)[0] for step in range(EAGER_STEPS + 3)]
    assert len(losses) == EAGER_STEPS + 3
    assert caplog.text.count("cannot be recorded (operation not permitted") == 1


@pytest.mark.slow  # compiling takes long
@pytest.mark.filterwarnings("ignore")  # what the compiler says of itself
@pytest.mark.parametrize(
    ("architecture", "precision", "rounding"),
    # Sums in another order: float32's rounding over eight steps; in bf16 what is fused is rounded less often.
    [
        ("transformer", "float32", 1e-5), ("gdn", "float32", 1e-5), ("mamba2", "float32", 1e-5),
        ("gdn", "bf16", 1e-2),
    ],
)  # fmt: skip
def test_compiled_steps_are_the_same_steps(
    architecture: str, precision: str, rounding: float, recipe: Build, batches: Batches
) -> None:
    common = {
        "architecture": architecture,
        "precision": precision,
        "z_loss": 1e-3,
        "weight_decay": 0.1,
        "depth": 1,
        "steps": 8,
    }
    recipes = [recipe(**common), recipe(**common, learning_rate=1e30, grad_clip=0.0)]
    (plain, broken), (compiled, other) = (
        train(recipes, batches, CPU, execution=execution) for execution in ("eager", "compiled")
    )
    assert broken.diverged and other.diverged_step == broken.diverged_step
    assert torch.compiler.config.cache_key_tag.endswith(torch.backends.cpu.get_cpu_capability())
    for ours, theirs in zip(compiled.curve, plain.curve, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, abs=2 * rounding)
        assert ours.gradient_norm == pytest.approx(theirs.gradient_norm, rel=max(1e-3, 2 * rounding))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_steps_of_another_processor_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder that several nodes share; what a processor of the same kind put there is."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))

    def taken(capability: str) -> int:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        monkeypatch.setattr(torch.compiler.config, "cache_key_tag", "")
        kept_apart()
        torch.compiler.reset()
        counters.clear()
        torch.compile(torch.tanh)(torch.ones(8))
        return counters["inductor"]["fxgraph_cache_hit"]

    assert [taken("AVX2"), taken("AVX512"), taken("AVX2")] == [0, 0, 1]


def test_a_group_that_loses_trials_and_is_evaluated_is_recorded_again(
    recipe: Build, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One trial breaks under replay, then those that are left are another group; each evaluation gives the
    record's memory back."""
    recordings = []

    def recorder(function: Callable[[], Losses]) -> tuple[Callable[[], None], Losses]:
        recordings.append(function)
        return called_again(function)

    def recorded(group: Group, state: GroupState, execution: str) -> Recorded:
        return Recorded(Eager(group, state, Operations()), recorder, CPU, always=True)

    common = {"optimizer": "sgd", "momentum": 0.0, "schedule": "constant", "warmup": 0.0, "steps": 40}
    rates = [1e-6, 0.03, 0.1, 0.3, 0.6]
    recipes = [recipe(**common, eval_every=10, learning_rate=rate) for rate in rates]
    # Its weights grow several times a step, until they are no numbers any more.
    recipes.append(recipe(**common, eval_every=10, learning_rate=0.1, grad_clip=0.0, weight_decay=40.0))
    pruning = Pruning(along=("learning_rate",), after=0.3, progress=0.5)
    plain = GroupTraining(recipes, batches, CPU, pruning=pruning).train(lambda progress: None, NoKeeper())
    monkeypatch.setattr(loop, "steps_of", recorded)
    again = GroupTraining(recipes, batches, CPU, pruning=pruning).train(lambda progress: None, NoKeeper())
    assert plain[0].pruned_step and (plain[5].diverged_step or 0) > EAGER_STEPS
    for ours, theirs in zip(again, plain, strict=True):
        assert (ours.pruned_step, ours.diverged_step) == (theirs.pruned_step, theirs.diverged_step)
        assert ours.loss == (theirs.loss and pytest.approx(theirs.loss, abs=1e-5))
    assert len(recordings) >= 4
