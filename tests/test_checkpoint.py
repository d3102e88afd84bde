"""Checkpoints: a training that goes on ends bit for bit as one that was never stopped."""

import errno
import io
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mutransfer.models.data.batches import Batches
from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training import checkpoint as module
from mutransfer.models.training.checkpoint import Checkpoints, State
from mutransfer.models.training.loop import train
from mutransfer.models.training.outcome import Outcome
from mutransfer.orchestrator.record.failures import failure_of

CPU = torch.device("cpu")
STEPS, STOP = 9, 4
Build = Callable[..., Recipe]


class Stopped(Exception):
    """The node was taken away."""


class StopsAt(Checkpoints):
    """Checkpoints at every step, and is stopped right after one of them."""

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(folder, 0.0)
        self._stop = step

    def save(self, step: int, state: State) -> None:
        super().save(step, state)
        if step == self._stop:
            raise Stopped


def quiet(progress: object) -> None:
    pass


def stopped_and_resumed(recipes: list[Recipe], batches: Batches, folder: Path) -> list[Outcome]:
    with pytest.raises(Stopped):
        train(recipes, batches, CPU, quiet, StopsAt(folder, STOP))
    return train(recipes, batches, CPU, quiet, Checkpoints(folder, 0.0))


def without_time(outcomes: list[Outcome]) -> list[Outcome]:
    return [replace(outcome, seconds=0.0) for outcome in outcomes]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_is_undisturbed(optimizer: str, recipe: Build, batches: Batches, tmp_path: Path) -> None:
    """Losses, curves and divergence of all trials, one of which has diverged before the stop."""
    settings: dict[str, Any] = {
        "optimizer": optimizer, "adamw_lr_ratio": 0.5, "matrices": "all", "steps": STEPS,
        "weight_decay": 0.01, "eval_every": 3, "curvature_every": 2, "precondition_every": 2,
    }  # fmt: skip
    recipes = [
        recipe(**settings, seed=0),
        recipe(**settings, seed=1, learning_rate=0.003, parametrization="sp"),
        recipe(**settings, seed=0, learning_rate=1e30, grad_clip=0.0),
    ]
    undisturbed = train(recipes, batches, CPU)
    resumed = stopped_and_resumed(recipes, batches, tmp_path / "checkpoints")
    assert without_time(resumed) == without_time(undisturbed)
    assert [outcome.diverged for outcome in resumed][2]
    assert not resumed[0].diverged


def test_one_of_another_format_is_passed_over(
    recipe: Build, batches: Batches, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipes = [recipe(steps=STEPS)]
    keeper = Checkpoints(tmp_path, 0.0)
    keeper.save(STOP, {"format": 2})
    assert without_time(train(recipes, batches, CPU, quiet, keeper)) == without_time(
        train(recipes, batches, CPU)
    )
    assert caplog.messages == ["the checkpoint is of format 2, not 3; from the start"]


def test_gdn_resumes(recipe: Build, batches: Batches, tmp_path: Path) -> None:
    recipes = [recipe(architecture="gdn", steps=STEPS, seed=seed) for seed in range(2)]
    assert without_time(stopped_and_resumed(recipes, batches, tmp_path)) == without_time(
        train(recipes, batches, CPU)
    )


def test_only_the_newest_is_kept(recipe: Build, batches: Batches, tmp_path: Path) -> None:
    train([recipe(steps=STEPS)], batches, CPU, quiet, Checkpoints(tmp_path, 0.0))
    (kept,) = tmp_path.glob("*.pt")
    assert kept.name.startswith(f"{STEPS:012}-")


def test_none_is_written_before_it_is_due(recipe: Build, batches: Batches, tmp_path: Path) -> None:
    train([recipe(steps=STEPS)], batches, CPU, quiet, Checkpoints(tmp_path, 3600.0))
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.parametrize("damage", [lambda data: data[:-10], lambda data: b"", lambda data: data[:60] + b"x"])
def test_a_damaged_one_is_passed_over(
    recipe: Build,
    batches: Batches,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipes = [recipe(steps=STEPS)]
    with pytest.raises(Stopped):
        train(recipes, batches, CPU, quiet, StopsAt(tmp_path, STOP))
    (kept,) = tmp_path.glob("*.pt")
    kept.write_bytes(damage(kept.read_bytes()))
    assert Checkpoints(tmp_path, 0.0).load() is None
    (told,) = caplog.messages
    assert told.startswith(f"{kept}: passed over; ")
    resumed = train(recipes, batches, CPU, quiet, Checkpoints(tmp_path, 0.0))
    assert without_time(resumed) == without_time(train(recipes, batches, CPU))


class FullDisk(io.RawIOBase):
    """Has room for small things alone, as another program has just freed some."""

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:  # noqa: ANN401 - whatever has bytes
        if len(content) > 10_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(content)


def test_a_full_disk_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch tells of the place in the file that it did not come to."""
    monkeypatch.setattr(module, "open", lambda *words: io.BufferedWriter(FullDisk()), raising=False)
    with pytest.raises(OSError, match="No space left") as raised:
        Checkpoints(tmp_path, 0.0).save(1, {"weights": torch.zeros(100_000)})
    assert failure_of(raised.value) == "disk-full"


class Hostile:
    """Runs a command where it is unpickled carelessly."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self._mark}",)


def test_a_strangers_checkpoint_runs_nothing(tmp_path: Path) -> None:
    """Even one whose name carries the right digest."""
    import hashlib

    folder = tmp_path / "checkpoints"
    folder.mkdir()
    mark = tmp_path / "executed"
    plain = pickle.dumps(Hostile(mark), protocol=2)
    torch.save({"state": Hostile(mark)}, folder / "scratch")
    for data in (plain, (folder / "scratch").read_bytes()):
        name = f"{3:012}-{hashlib.sha256(data).hexdigest()[:32]}.pt"
        (folder / name).write_bytes(data)
        assert Checkpoints(folder, 0.0).load() is None
        (folder / name).unlink()
    assert not mark.exists()


def test_micro_batches_change_rounding_only(recipe: Build, batches: Batches) -> None:
    """Sophia too, whose curvature comes from a second pass over the batch."""
    for optimizer in ("adamw", "sophia"):
        recipes = [recipe(steps=STEPS, batch_size=5, optimizer=optimizer, seed=seed) for seed in range(2)]
        whole, parts = (train(recipes, batches, CPU, quiet, None, count) for count in (1, 3))
        for ours, theirs in zip(whole, parts, strict=True):
            assert ours.loss == pytest.approx(theirs.loss, abs=1e-5)
            assert ours.curve[0].gradient_norm == pytest.approx(theirs.curve[0].gradient_norm, rel=1e-4)
