"""Trials that are far behind are stopped, and nobody else's result changes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command

from mutransfer.models.data.batches import Batches
from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.checkpoint import Checkpoints, NoKeeper
from mutransfer.models.training.loop import GroupTraining, train
from mutransfer.models.training.outcome import Outcome, Progress
from mutransfer.models.training.pruning import Pruning
from mutransfer.results.statistics.curve import curve_of
from mutransfer.results.statistics.drift import judge
from mutransfer.results.store.store import read_rows

CPU = torch.device("cpu")
STEPS = 20
RULE = Pruning(("learning_rate",), after=0.3, progress=0.1)
LOSS_TOLERANCE = 1e-5  # float32, 20 steps: rounding in differently shaped products


def group(recipe: Callable[..., Recipe], **common: object) -> list[Recipe]:
    """Two curves of five rates: a rate that does next to nothing is behind on both, one breaks at once."""
    return [
        recipe(steps=STEPS, learning_rate=rate, grad_clip=0.0, **common, **of)
        for of in ({"seed": 0}, {"seed": 1, "init_scale": 0.5, "dropout": 0.1})
        for rate in (1e-9, 0.02, 0.03, 0.05, 1e30)
    ]


def told(outcomes: list[Outcome]) -> list[tuple[bool, int | None, float | None]]:
    return [(outcome.diverged, outcome.pruned_step, outcome.loss) for outcome in outcomes]


def test_the_hopeless_are_stopped_and_the_others_train_as_before(
    recipe: Callable[..., Recipe], batches: Batches
) -> None:
    recipes = group(recipe)
    whole, pruned = train(recipes, batches, CPU), train(recipes, batches, CPU, pruning=RULE)
    for index, (before, after) in enumerate(zip(whole, pruned, strict=True)):
        if index % 5 == 0:
            assert (after.diverged, after.loss, after.accuracy) == (False, None, None)
            assert after.pruned_step in RULE.looks(STEPS)
            assert [point.step for point in after.curve] == [*range(after.pruned_step)]
            assert after.seconds < pruned[index + 1].seconds
        else:
            assert after.pruned_step is None
            assert (after.diverged, after.diverged_step) == (before.diverged, before.diverged_step)
            assert after.loss == pytest.approx(before.loss, abs=LOSS_TOLERANCE)
            assert len(after.curve) == len(before.curve)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_goes_on_with_what_is_left(
    optimizer: str, recipe: Callable[..., Recipe], batches: Batches
) -> None:
    """State, columns and multipliers are those of the trials that stay: compared just before and after."""
    recipes = [
        recipe(optimizer=optimizer, adamw_lr_ratio=0.5, steps=STEPS, seed=seed, weight_decay=0.1 * seed)
        for seed in range(4)
    ]
    training = GroupTraining(recipes, batches, CPU)
    other = GroupTraining(recipes, batches, CPU)
    for step in range(3):
        training.step(step)
        other.step(step)
    other._leave({1: 3}, {2: 1})
    whole_K, _ = training.step(3)
    left_K, _ = other.step(3)
    torch.testing.assert_close(left_K, whole_K[[0, 3]], atol=LOSS_TOLERANCE, rtol=0)
    for name, value in other.views().items():
        torch.testing.assert_close(value, training.views()[name][[0, 3]], atol=1e-4, rtol=1e-3)


def test_a_training_goes_on_from_a_checkpoint_of_those_that_are_left(
    recipe: Callable[..., Recipe], batches: Batches, tmp_path: Path
) -> None:
    recipes = group(recipe)

    class StopError(Exception): ...

    def stop(progress: Progress) -> None:
        if progress.step == 12:
            raise StopError

    with pytest.raises(StopError):
        train(recipes, batches, CPU, stop, Checkpoints(tmp_path, 0.0), pruning=RULE)
    resumed = train(recipes, batches, CPU, keeper=Checkpoints(tmp_path, 1e9), pruning=RULE)
    assert told(resumed) == told(train(recipes, batches, CPU, keeper=NoKeeper(), pruning=RULE))


def test_what_a_checkpoint_held_is_put_where_the_training_is(
    recipe: Callable[..., Recipe], batches: Batches
) -> None:
    """A GPU's losses are compared with those from before the checkpoint, which is read on the CPU."""
    recipes = [recipe(learning_rate=2.0**-rate, steps=STEPS) for rate in range(3)]
    first, other = GroupTraining(recipes, batches, CPU), GroupTraining(recipes, batches, torch.device("meta"))
    first._records.append((0, *first.step(0)))
    other.restore(first.state(1, 0.0))
    assert [x.device.type for x in other._records[0][1:]] == ["meta", "meta"]


def test_only_companions_are_compared() -> None:
    losses_NK = np.array([[4.0, 4.0, 9.0, 4.0, 4.0, 4.0], [3.8, 3.0, 8.9, 2.0, np.nan, 1.0]])
    assert RULE.hopeless(losses_NK, [[0, 1, 3, 4, 5], [2]]) == [0]
    assert RULE.hopeless(7 * losses_NK - 3, [[0, 1, 3, 4, 5], [2]]) == [0]  # whatever the unit
    assert RULE.hopeless(losses_NK, [[4, 0], [2], [3], [1]]) == []


def test_neighbours_of_the_best_are_kept() -> None:
    """However coarse the grid: two values to either side."""
    losses_NK = np.array([[4.0] * 7, [3.9, 3.9, 3.9, 1.0, 3.9, 3.9, 3.9]])
    assert RULE.hopeless(losses_NK, [[*range(7)]]) == [0, 6]
    both = Pruning(("learning_rate", "weight_decay"), 0.3, 0.1)  # of a search: no line of values
    assert both.hopeless(losses_NK, [[*range(7)]]) == [0, 1, 2, 4, 5, 6]


def test_companions_stand_in_the_order_of_what_they_differ_in(recipe: Callable[..., Recipe]) -> None:
    recipes = [recipe(learning_rate=rate, seed=seed) for seed in (0, 1) for rate in (0.1, 0.4, 0.2)]
    assert RULE.companions(recipes) == [[0, 2, 1], [3, 5, 4]]


def test_nobody_is_stopped_where_nobody_learns() -> None:
    assert RULE.hopeless(np.array([[1.0, 1.0], [1.5, 2.0]]), [[0, 1]]) == []


def test_nobody_is_stopped_by_the_luck_of_batches() -> None:
    """Small batches: the first one's loss lies within what the best one's differ by from batch to batch."""
    noise_N = np.random.default_rng(0).normal(0.0, 0.15, 20)
    falls_K = np.array([0.2, 0.19, 0.18, 0.1, 0.01, 0.0])
    losses_NK = 0.6 + noise_N[:, None] - np.linspace(0.0, 1.0, 20)[:, None] * falls_K
    losses_NK[0] = 0.5
    assert RULE.hopeless(losses_NK, [[*range(6)]]) == []
    losses_NK -= 0.98 * noise_N[:, None]  # large batches
    losses_NK[0] = 0.6
    assert RULE.hopeless(losses_NK, [[*range(6)]]) == [4, 5]


def test_trainings_are_looked_at_from_the_given_share_on() -> None:
    assert sorted(RULE.looks(100)) == [30, 40, 50, 60, 70, 80, 90]
    assert sorted(Pruning(("learning_rate",), 0.25, 0.5).looks(3)) == [1, 2]


SWEEP = """\
name: pruned
base: {width: 8, depth: 1}
fixed: {architecture: transformer, optimizer: adamw, depth: 1, head_dim: 8, steps: 20, batch_size: 4,
        sequence_length: 16, eval_sequences: 4, parametrization: mup}
axes: {width: [8, 16, 32], learning_rate: [0.000000001, 0.01, 0.02, 0.04, 0.08]}
prune: {after: 0.3, progress: 0.05}
data: {text: "text/*.txt"}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 50)
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP)
    return path


def test_from_the_sweep_file_to_the_report_and_back(sweep: Path, mutransfer: Command, tmp_path: Path) -> None:
    """Stopped trials have no loss and cost what they cost; without `prune` they are trained whole."""
    directory = tmp_path / "runs" / "pruned"
    assert mutransfer("run", str(sweep)).returncode == 0
    rows = read_rows(directory)[0].to_pandas()
    stopped = rows[rows["status"] == "pruned"]
    assert sorted(stopped["width"]) == [8, 16, 32]
    assert set(stopped["learning_rate"]) == {1e-9}
    assert stopped["loss"].isna().all()
    assert set(stopped["pruned_step"]) == {6}
    whole = rows[rows["status"] == "finished"].set_index("width")
    for row in stopped.itertuples():
        assert row.tokens == 0.3 * whole.loc[row.width, "tokens"].iloc[0]
        assert row.flops == pytest.approx(0.3 * whole.loc[row.width, "flops"].iloc[0])
    report = mutransfer("report", str(directory))
    assert "stopped early at 2^-29.8974, being far behind" in report.stdout
    assert "15 trials (0 diverged, 3 stopped early)" in (directory / "report" / "report.md").read_text()
    assert mutransfer("run", str(sweep)).returncode == 0
    assert read_rows(directory)[0].num_rows == 15

    sweep.write_text(SWEEP.replace("prune: {after: 0.3, progress: 0.05}\n", ""))
    assert mutransfer("run", str(sweep)).returncode == 0
    again = read_rows(directory)[0].to_pandas()
    assert (again["status"] == "finished").all()
    assert sorted(again["trial_id"]) == sorted(rows["trial_id"])
    kept = again.set_index("trial_id")["loss"].loc[whole["trial_id"]]
    assert kept.tolist() == whole["loss"].tolist()
    counts = json.loads(mutransfer("status", str(directory), "-f", "json").stdout)["counts"]
    assert (counts["wanted"], counts["finished"], counts["waiting"], counts["extra"]) == (15, 15, 0, 0)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ("prune:", "sweep.yaml:6: prune: is empty; write {} for its defaults, or take it out"),
        ("prune: {after: 1.5}", "sweep.yaml:6: prune.after: input should be less than 1, not 1.5"),
        (
            "prune: {progress: half}",
            "sweep.yaml:6: prune.progress: input should be a valid number, not 'half'",
        ),
    ],
)
def test_what_is_wrong_is_named(changed: str, fault: str, sweep: Path, mutransfer: Command) -> None:
    sweep.write_text(SWEEP.replace("prune: {after: 0.3, progress: 0.05}", changed))
    done = mutransfer("plan", str(sweep))
    assert done.returncode == 2
    assert fault in done.stderr


def test_nothing_to_compare(sweep: Path, mutransfer: Command) -> None:
    sweep.write_text(SWEEP.replace("[0.000000001, 0.01, 0.02, 0.04, 0.08]", "[0.01]"))
    assert (
        "prune: compares values of a hyperparameter; give several under axes"
        in mutransfer("plan", str(sweep)).stderr
    )


def test_what_was_stopped_costs_no_more_than_is_known() -> None:
    """At a stopped value the loss is at least its neighbour's; nobody says that it diverged."""
    y_P = np.array([3.0, 2.5, 2.2, 2.0, 2.1])
    x_P, none_P = np.arange(5.0), np.zeros((1, 5), dtype=bool)
    early_P = none_P.copy()
    early_P[0, :2] = True
    stopped = curve_of(64, x_P, np.zeros(1), np.where(early_P, np.nan, y_P), none_P, early_P)
    assert stopped.pruned == (0.0, 1.0)
    assert (stopped.trials, stopped.diverged) == (5, 0)
    smaller = [
        curve_of(scale, x_P, np.zeros(1), (0.1 * (x_P - 1) ** 2 + 3)[None], none_P) for scale in (16, 32)
    ]
    cost = judge([*smaller, stopped]).transfer
    assert cost is not None
    assert cost.estimate.value == pytest.approx(0.2, abs=0.05)  # the loss at 2^2, above that at 2^3
    assert cost.estimate.interval[1] is None
