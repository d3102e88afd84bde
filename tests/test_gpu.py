"""The same programs on a GPU. On machines without one these tests say so and are skipped."""

import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from mutransfer.models.data.batches import Batches
from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.checkpoint import Checkpoints
from mutransfer.models.training.execution import Execution
from mutransfer.models.training.loop import GroupTraining, train
from mutransfer.models.training.step import advance

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; run benchmarks/gpu/prove")

CPU, GPU = torch.device("cpu"), torch.device("cuda")


KINDS: list[dict[str, object]] = [
    {"architecture": "transformer"},
    {"architecture": "gdn"},
    {"architecture": "mamba2"},
    {"architecture": "gdn-hybrid", "attention_every": 2, "base_depth": 2},
    {"architecture": "parallel-hybrid", "qk_norm": True, "window": 8},
    {"learnable_multipliers": "everywhere", "z_loss": 1e-3},
    {"activation_checkpointing": True},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_gpu_follows_cpu(kind: dict[str, object], recipe: Callable[..., Recipe], batches: Batches) -> None:
    recipes = [recipe(**kind, seed=seed) for seed in range(4)]
    for ours, theirs in zip(train(recipes, batches, GPU), train(recipes, batches, CPU), strict=True):
        # Twenty float32 steps with differently ordered sums.
        assert ours.loss == pytest.approx(theirs.loss, abs=1e-3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_follows_cpu(optimizer: str, recipe: Callable[..., Recipe], batches: Batches) -> None:
    rate = {"sgd": 0.3, "lion": 0.003, "sophia": 0.003}.get(optimizer, 0.02)
    one = recipe(optimizer=optimizer, adamw_lr_ratio=0.5, matrices="all", learning_rate=rate)
    (ours,), (theirs,) = train([one], batches, GPU), train([one], batches, CPU)
    # Orthogonalised and sign-like updates amplify the rounding of differently ordered sums. Of a statistic
    # that has not its full rank yet, the basis that SOAP turns to is partly any: its solver's choice.
    assert ours.loss == pytest.approx(theirs.loss, abs=5e-2 if optimizer == "soap" else 1e-2)


@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
def test_a_diverging_neighbour_is_harmless(
    architecture: str, recipe: Callable[..., Recipe], batches: Batches
) -> None:
    healthy = recipe(architecture=architecture)
    broken = recipe(architecture=architecture, learning_rate=1e30, grad_clip=0.0)
    alone = train([healthy], batches, GPU)[0]
    together, other = train([healthy, broken], batches, GPU)
    assert other.diverged
    assert together.loss == pytest.approx(alone.loss, abs=1e-4)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
@pytest.mark.parametrize("architecture", ["transformer", "gdn", "mamba2"])
def test_half_precision_trains(
    architecture: str, precision: str, recipe: Callable[..., Recipe], batches: Batches
) -> None:
    low, full = (
        train([recipe(architecture=architecture, precision=kind)], batches, GPU)[0]
        for kind in (precision, "float32")
    )
    assert low.loss == pytest.approx(full.loss, abs=0.05)


@pytest.mark.filterwarnings("ignore")  # what the compiler says of itself
@pytest.mark.parametrize("execution", ["graph", "compiled"])
@pytest.mark.parametrize(
    "kind",
    [
        {"architecture": "transformer"},
        {"architecture": "gdn"},
        {"architecture": "mamba2", "optimizer": "muon", "adamw_lr_ratio": 0.5, "learning_rate": 0.02},
        {"experts": 4, "balance_loss": 0.01, "learnable_multipliers": "everywhere", "z_loss": 1e-3},
        {"precision": "bf16", "activation_checkpointing": True},
    ],
    ids=str,
)
def test_every_execution_trains_alike(
    kind: dict[str, object],
    execution: Execution,
    recipe: Callable[..., Recipe],
    batches: Batches,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With a trial that breaks."""
    if execution == "compiled" and kind.get("architecture") not in ("transformer", "gdn"):
        pytest.skip("compiling takes long; the CPU's tests compile the others")
    recipes = [
        recipe(**kind, seed=0), recipe(**{**kind, "learning_rate": 1e30, "grad_clip": 0.0}, warmup=0.5),
    ]  # fmt: skip
    plain = train(recipes, batches, GPU, execution="eager")
    with caplog.at_level(logging.INFO):
        replayed = train(recipes, batches, GPU, execution=execution)
    assert "recorded from here on" in caplog.text
    assert "cannot be recorded" not in caplog.text
    room = 1e-2 if kind.get("precision") == "bf16" else 1e-3
    for ours, theirs in zip(replayed, plain, strict=True):
        assert ours.diverged_step == theirs.diverged_step
        for point, other in zip(ours.curve, theirs.curve, strict=True):
            assert point.train_loss == pytest.approx(other.train_loss, abs=room)


def test_a_step_never_waits_for_the_gpu(recipe: Callable[..., Recipe], batches: Batches) -> None:
    for kind in KINDS:
        training = GroupTraining(
            [recipe(**kind, seed=seed) for seed in range(2)], batches, GPU, execution="eager"
        )
        for step in range(3):
            training.step(step)
        batch = training.placed(3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it may not see all: it is new
            torch.cuda.set_sync_debug_mode("error")
        try:
            advance(training._group, training._state, batch, 3)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_many_batches_at_once_are_right() -> None:
    """Kernels count batches in 16 bits here and there; a group has more."""
    for size in (65_535, 65_536, 131_072):
        generator = torch.Generator(GPU).manual_seed(0)
        a, b, drawn = (
            torch.randn(size, *shape, device=GPU, generator=generator)
            for shape in ((16, 16), (16, 32), (1, 16, 16))
        )
        a *= 0.1
        solved = torch.linalg.solve_triangular(a, b, upper=False, unitriangular=True)
        wanted = torch.linalg.solve_triangular(a.double(), b.double(), upper=False, unitriangular=True)
        torch.testing.assert_close(solved.double(), wanted, rtol=1e-4, atol=1e-4)
        found = []
        for dtype in (torch.float32, torch.float64):
            q = drawn.to(dtype, copy=True).requires_grad_()
            out = torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)
            found.append((out.double(), torch.autograd.grad(out.square().sum(), q)[0].double()))
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_dropout_is_the_same_in_recomputed_blocks(recipe: Callable[..., Recipe], batches: Batches) -> None:
    plain, again = (
        train([recipe(dropout=0.3, activation_checkpointing=flag)], batches, GPU)[0] for flag in (False, True)
    )
    assert again.loss == pytest.approx(plain.loss, abs=1e-4)


def test_a_resumed_training_follows(recipe: Callable[..., Recipe], batches: Batches, tmp_path: Path) -> None:
    """On a GPU sums may be ordered otherwise the second time; the state is the same."""
    recipes = [recipe(optimizer="muon", adamw_lr_ratio=0.5, seed=seed) for seed in range(2)]
    whole = train(recipes, batches, GPU, lambda progress: None, Checkpoints(tmp_path, 0.0))
    newest = max(tmp_path.glob("*.pt"))
    assert int(newest.name[:12]) == recipes[0].steps
    resumed = train(recipes, batches, GPU, lambda progress: None, Checkpoints(tmp_path, 0.0))
    assert [outcome.loss for outcome in resumed] == [outcome.loss for outcome in whole]


def test_two_jobs_share_the_gpu(sweep_file: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mutransfer.orchestrator.cli",
        "run",
        str(sweep_file),
        "--device",
        "cuda",
    ]
    subprocess.run([*command, "--jobs-per-gpu", "2", "--out", str(tmp_path / "out")], check=True)
    assert len(pd.read_parquet(tmp_path / "out" / "results")) == 12


def test_a_sweep_runs_on_the_gpu(sweep_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mutransfer.orchestrator.cli"]
    out = str(tmp_path / "out")
    subprocess.run([*command, "run", str(sweep_file), "--device", "cuda", "--out", out], check=True)
    rows = pd.read_parquet(tmp_path / "out" / "results")
    assert len(rows) == 12
    assert set(rows["device"]) == {torch.cuda.get_device_name()}
    done = subprocess.run([*command, "report", out, "-f", "json"], check=True, capture_output=True, text=True)
    assert len(json.loads(done.stdout)["comparisons"]) == 2
