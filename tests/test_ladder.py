"""Runs between the proxies and the large run: which, what they bring, and as a sweep file."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from test_choice import compared, rows

from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.planning.plan import Device
from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.orchestrator.run.reconcile import prepare
from mutransfer.results.questions.ladder import ladder
from mutransfer.results.store.schema import rows_schema
from mutransfer.results.store.store import publish
from mutransfer.sweeps.load import load_sweep


@pytest.mark.parametrize(
    ("target", "scales"),
    [(32, []), (128, []), (256, [128]), (512, [128]), (1024, [128, 512]), (3000, [128, 512, 2048])],
)
def test_no_step_is_longer_than_two_doublings(
    target: int, scales: list[float], recipe: Callable[..., Recipe]
) -> None:
    """Of proxies up to width 32."""
    (comparison,) = compared(rows(recipe, [-5, -5.2, -5.1]))
    now, rungs = ladder(comparison, target)
    assert [rung.wanted.scale for rung in rungs] == scales
    steps = np.diff(np.log2([32, *scales, target]))
    assert target <= 32 or steps.max() <= 2
    assert now is not None and [now, *(rung.reach for rung in rungs)] == sorted(
        [now, *(rung.reach for rung in rungs)], reverse=True
    )


def test_values_follow_the_slope_and_enclose_what_is_expected(recipe: Callable[..., Recipe]) -> None:
    (comparison,) = compared(rows(recipe, [-4, -5, -6], parametrization="sp"))
    _, rungs = ladder(comparison, 1024)
    assert [round(rung.expected, 1) for rung in rungs] == [-8.0, -10.0]
    for rung in rungs:
        low, middle, high = rung.wanted.log2_values
        assert middle == round(rung.expected) and high - middle == middle - low == 1


def test_what_it_says_to_bring_it_brings(recipe: Callable[..., Recipe]) -> None:
    """Measured where it was expected, the reach is what was promised."""
    centers = [-5, -5.2, -5.1]
    (before,) = compared(rows(recipe, centers))
    now, rungs = ladder(before, 512)
    value = rungs[0].expected
    (after,) = compared(rows(recipe, [*centers, math.nan, value]).dropna(subset="loss"))
    then, none = ladder(after, 512)
    assert none == [] and now is not None and then is not None
    assert then < now and then == pytest.approx(rungs[0].reach, rel=0.35)


def test_one_scale_tells_nothing(recipe: Callable[..., Recipe]) -> None:
    (comparison,) = compared(rows(recipe, [-5]))
    assert ladder(comparison, 512) == (None, [])


SWEEP = """\
name: small
base: {width: 16, depth: 1}
fixed: {architecture: transformer, optimizer: adamw, parametrization: mup, depth: 1, head_dim: 8, steps: 5,
        batch_size: 2, sequence_length: 16}
axes: {width: [8, 16, 32], learning_rate: {log2: [-8, -2], step: 1}, seed: [0, 1]}
data: {text: "text/*.txt"}
"""


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    return _measured(tmp_path, SWEEP)


def _measured(tmp_path: Path, text: str) -> Path:
    """A sweep directory whose losses are made up."""
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 50)
    (tmp_path / "small.yaml").write_text(text)
    directory = SweepDirectory(tmp_path / "out")
    sweep = load_sweep(str(tmp_path / "small.yaml"))
    work, _ = prepare(sweep, directory, Device("cpu", 1), 1)
    noise = np.random.default_rng(0)
    for job in work.jobs:
        points = [trial.program.point() for trial in job.trials]
        found = [
            {"trial_id": trial.id, **point, "status": "finished", "job_id": job.id, "sweep": "small",
             "loss": 3 + 0.1 * (math.log2(point["learning_rate"]) + 5) ** 2 + 0.003 * noise.standard_normal()}
            for trial, point in zip(job.trials, points, strict=True)
        ]  # fmt: skip
        publish(directory.path, job.id, found, [], rows_schema(points))
    return directory.path


def test_a_sweep_file_of_the_runs(measured: Path, mutransfer: Command, tmp_path: Path) -> None:
    words = ["export", "out", "--width", "1024", "--depth", "1", "--out", "handover.yaml", "--ladder"]
    done = mutransfer(*words, "more.yaml")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("width 1024: the line through the optima tells its own to within ")
    assert lines[1].startswith("width 128: 6 trials at 2^-6, 2^-5, 2^-4, ") and "TFLOPs" in lines[1]
    assert lines[2].startswith("width 512: ") and "next: mutransfer run more.yaml" in lines[3]
    trials = load_sweep(str(tmp_path / "more.yaml")).expansion.trials
    assert {(t.program.point()["width"], t.program.point()["seed"]) for t in trials} == {
        (width, seed) for width in (128, 512) for seed in (0, 1)
    }
    assert len(trials) == 12


def test_a_ladder_of_experts(mutransfer: Command, tmp_path: Path) -> None:
    of_experts = SWEEP.replace("depth: 1, head_dim", "width: 16, depth: 1, mlp: swiglu, head_dim")
    of_experts = of_experts.replace("base: {width: 16, depth: 1}", "base: {width: 16, depth: 1, experts: 4}")
    _measured(tmp_path, of_experts.replace("width: [8, 16, 32]", "experts: [4, 8, 16]"))
    words = ["export", "out", "--width", "16", "--depth", "1", "--ladder", "more.yaml"]
    untold = mutransfer(*words)
    assert "--ladder: give the large run's --experts, which these measurements follow" in untold.stderr
    done = mutransfer(*words, "--experts", "256", "--extrapolate")
    assert done.returncode == 0, done.stderr
    assert "experts 64: 6 trials at 2^-6, 2^-5, 2^-4, " in done.stderr
    trials = load_sweep(str(tmp_path / "more.yaml")).expansion.trials
    assert {trial.program.point()["experts"] for trial in trials} == {64}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--width", "64", "--depth", "1"], 4, "width 64 is at most 2 doublings beyond what was measured"),
        (["--target", "512"], 2, "--ladder: leads to a large model"),
        (
            ["--width", "1024", "--depth", "1", "--out", "./more.yaml"],
            2,
            "--out, --ladder: are both more.yaml",
        ),
    ],
)
def test_where_there_is_none(
    words: list[str], code: int, told: str, measured: Path, mutransfer: Command
) -> None:
    done = mutransfer("export", "out", *words, "--ladder", "more.yaml")
    assert done.returncode == code and told in done.stderr, done.stderr
