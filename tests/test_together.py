"""Several processes train what one does: on real gloo processes, from the losses to the checkpoint."""

import multiprocessing
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from mutransfer.models.data.token_file import TokenFile
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.checkpoint import Checkpoints
from mutransfer.models.training.loop import train
from mutransfer.models.training.outcome import Outcome, Progress
from mutransfer.models.training.together import Order, RankLostError, train_together
from mutransfer.sweeps import proxy
from mutransfer.sweeps.program import Setup
from mutransfer.sweeps.proxy import Proxy
from mutransfer.sweeps.proxy import train as train_programs

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
Build = Callable[..., Recipe]


def order(recipes: list[Recipe], tokens: TokenFile, folder: Path, seconds: float = 3600.0) -> Order:
    return Order(
        recipes=partial(list, recipes), source=tokens, device="cpu", checkpoints=folder,
        checkpoint_seconds=seconds, micro_batches=1, pruning=None, execution="auto",
    )  # fmt: skip


def alike(ours: list[Outcome], theirs: list[Outcome], room: float = 1e-5) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.diverged_step == other.diverged_step
        assert len(one.curve) == len(other.curve)
        for point, expected in zip(one.curve, other.curve, strict=True):
            assert point.train_loss == pytest.approx(expected.train_loss, abs=room)
            assert point.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-3)


@pytest.mark.parametrize(
    "world, kind",
    [
        (4, {"optimizer": "adamw", "weight_decay": 0.1, "architecture": "gdn"}),
        (2, {"optimizer": "muon", "adamw_lr_ratio": 0.5, "learning_rate": 0.02}),
        (4, {"optimizer": "muon", "adamw_lr_ratio": 0.5, "learning_rate": 0.02}),
        # Square, so that statistics have their full rank: of a null space the basis is the solver's choice.
        (2, {"optimizer": "soap", "adamw_lr_ratio": 0.5, "precondition_every": 4, "mlp_ratio": 1}),
        (4, {"optimizer": "sophia", "curvature_every": 2, "dropout": 0.1, "z_loss": 1e-3}),
    ],
    ids=str,
)
def test_several_processes_train_what_one_does(
    kind: dict[str, object], world: int, recipe: Build, tokens: TokenFile, tmp_path: Path
) -> None:
    """Twenty steps with clipping, beside a trial that breaks: the sums' order is all that differs."""
    recipes = [recipe(**kind), recipe(**{**kind, "learning_rate": 1e30}, grad_clip=0.0, seed=1)]
    seen: list[Progress] = []
    outcomes = train_together(order(recipes, tokens, tmp_path / "c"), world, seen.append)
    alike(outcomes, train(recipes, tokens.batches(16), CPU))
    assert [progress.step for progress in seen] == [*range(1, 21)]


def test_a_checkpoint_of_two_is_gone_on_from_by_one_and_by_four(
    recipe: Build, tokens: TokenFile, tmp_path: Path
) -> None:
    recipes = [recipe(optimizer="muon", adamw_lr_ratio=0.5, seed=seed) for seed in range(2)]
    whole = train(recipes, tokens.batches(16), CPU)
    folder = tmp_path / "checkpoints"

    class Enough(Exception):
        pass

    def until_ten(progress: Progress) -> None:
        if progress.step == 12:
            raise Enough

    with pytest.raises(Enough):
        train_together(order(recipes, tokens, folder, 0.0), 2, until_ten)
    (kept,) = folder.glob("*.pt")
    assert 10 <= int(kept.name[:12]) < 20
    other = tmp_path / "other"
    other.mkdir()
    (other / kept.name).write_bytes(kept.read_bytes())
    alike(train(recipes, tokens.batches(16), CPU, keeper=Checkpoints(folder, 3600.0)), whole)
    alike(train_together(order(recipes, tokens, other), 4, lambda progress: None), whole)


def test_a_lost_process_ends_them_all(recipe: Build, tokens: TokenFile, tmp_path: Path) -> None:
    def kills(progress: Progress) -> None:
        if progress.step == 3:
            multiprocessing.active_children()[1].kill()

    with pytest.raises(RankLostError, match="of 2 ended with code -9"):
        train_together(order([recipe(steps=10**5)], tokens, tmp_path / "c"), 2, kills)


def test_what_a_process_raises_is_told(recipe: Build, tokens: TokenFile, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size: 4 sequences are too few for 5 processes"):
        train_together(order([recipe()], tokens, tmp_path / "c"), 5, lambda progress: None)


def test_a_job_of_several_is_trained_so(recipe: Build, tokens: TokenFile, tmp_path: Path) -> None:
    """What a worker does with a job that holds two GPUs, here two processes on a CPU."""
    programs = [Proxy(recipe(seed=seed)) for seed in range(2)]
    seen: list[Progress] = []
    setup = Setup(
        data=lambda digest: tokens, device="cpu", report=seen.append, checkpoints=tmp_path / "c",
        checkpoint_seconds=3600.0, micro_batches=2, ids=["a", "b"], folder=tmp_path, attempt=1, gpus=2.0,
        weights=tmp_path / "weights.pt",
    )  # fmt: skip
    outcomes, _ = train_programs(programs, setup)
    alike(outcomes, train([one.recipe for one in programs], tokens.batches(16), CPU))
    assert seen[-1].step == 20
    assert {*torch.load(tmp_path / "weights.pt")} == {"a", "b"}


def test_a_training_that_fails_gives_back_the_gpus_memory(
    recipe: Build, tokens: TokenFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another job may share the GPU; while the exception stands, its frames hold all that they made."""
    held: list[weakref.ref[torch.Tensor]] = []
    freed: list[bool] = []

    def runs_out(*given: object) -> None:
        try:
            takes()
        except ValueError as error:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB") from error

    def takes() -> None:
        large = torch.zeros(1)
        held.append(weakref.ref(large))
        raise ValueError

    monkeypatch.setattr(proxy, "_trained", runs_out)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "none")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(held[0]() is None))
    setup = Setup(
        data=lambda digest: tokens, device="cuda", report=lambda progress: None, checkpoints=tmp_path / "c",
        checkpoint_seconds=3600.0, micro_batches=1, ids=["a"], folder=tmp_path, attempt=1,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="out of memory"):
        train_programs([Proxy(recipe())], setup)
    assert freed == [True]
