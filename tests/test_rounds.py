"""Sweeps that decide their trials while they run: the same results lead to the same trials, however often."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
from conftest import Command, trial_ids

from mutransfer.orchestrator.run.rounds import Rounds
from mutransfer.sweeps.adaptive import LogRange, SearchSpec
from mutransfer.sweeps.load import Sweep, load_sweep
from mutransfer.sweeps.problem import SpecError
from mutransfer.sweeps.proxy import recipe_of
from mutransfer.sweeps.search import Measured, suggest
from mutransfer.sweeps.trial import Trial

SEARCH = """\
name: searched
base: {width: 8, depth: 1}
fixed: {architecture: transformer, optimizer: adamw, width: 8, depth: 1, head_dim: 8, steps: 3, batch_size: 2,
        sequence_length: 16, eval_sequences: 4}
axes: {parametrization: [sp, mup], seed: [0, 1]}
search:
  {trials: 9, batch: 4, sampler: SAMPLER,
   space: {learning_rate: {log2: [-10, -2]}, init_scale: {log2: [-2, 2]}}}
data: {text: "text/*.txt"}
"""
REFINE = """\
name: refined
base: {width: 8, depth: 1}
fixed: {architecture: transformer, optimizer: adamw, depth: 1, head_dim: 8, steps: 5, batch_size: 2,
        sequence_length: 16, eval_sequences: 4}
axes: {parametrization: [sp, mup], width: [8, 16, 32], learning_rate: {log2: [-8, 0], step: 2}}
refine: {target: 0.3, rounds: 3}
data: {text: "text/*.txt"}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "text").mkdir(exist_ok=True)
        (tmp_path / "text" / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 50)
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return path

    return write


def made_up(trials: Sequence[Trial]) -> pd.DataFrame:
    """Losses with an optimum at 2^-5 and an initialisation of 1; every value above 2^-2.5 diverges."""
    records = []
    for trial in trials:
        recipe = recipe_of(trial)
        x, scale = math.log2(recipe.learning_rate), math.log2(recipe.init_scale)
        loss = 3 + 0.1 * (x + 5) ** 2 + 0.2 * scale**2 + 0.003 * recipe.seed
        diverged = x > -2.5
        records.append({"trial_id": trial.id, **recipe.point(), "loss": None if diverged else loss,
                        "status": "diverged" if diverged else "finished"})  # fmt: skip
    return pd.DataFrame(records)


def whole(rounds: Rounds) -> list[list[str]]:
    """The ids of every round, until nothing more is asked for."""
    asked = [[trial.id for trial in rounds.trials]]
    while True:
        before = len(rounds.trials)
        rounds.catch_up(made_up(rounds.trials))
        if len(rounds.trials) == before:
            return asked
        asked.append([trial.id for trial in rounds.trials[before:]])


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_an_interrupted_search_asks_for_the_same_trials(sampler: str, sweep: Callable[[str], Path]) -> None:
    loaded = load_sweep(str(sweep(SEARCH.replace("SAMPLER", sampler))))
    asked = whole(Rounds(loaded))
    # The middle of the space, then 4 and 4 suggestions; in 2 cells, with 2 seeds each.
    assert [len(round_) for round_ in asked] == [4, 16, 16]
    assert len({id_ for round_ in asked for id_ in round_}) == 36
    for stop in range(len(asked)):
        known = [id_ for round_ in asked[: stop + 1] for id_ in round_]
        again = Rounds(loaded)
        everything = made_up(after(loaded, len(asked)).trials)
        again.catch_up(everything[everything["trial_id"].isin(known)])
        expected = asked[: stop + 2]
        assert [trial.id for trial in again.trials] == [id_ for round_ in expected for id_ in round_]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_order_of_rows_does_not_matter(sampler: str, sweep: Callable[[str], Path]) -> None:
    """A store that was compacted lists its rows in another order."""
    text = SEARCH.replace("SAMPLER", sampler).replace("seed: [0, 1]", "seed: [0, 1, 2]")
    loaded = load_sweep(str(sweep(text)))
    one, other = Rounds(loaded), Rounds(loaded)
    for _ in range(2):
        one.catch_up(made_up(one.trials))
        other.catch_up(made_up(other.trials[::-1]))
    assert [trial.id for trial in one.trials] == [trial.id for trial in other.trials]


def after(loaded: Sweep, rounds: int) -> Rounds:
    made = Rounds(loaded)
    for _ in range(rounds):
        made.catch_up(made_up(made.trials))
    return made


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_search_finds_the_optimum(sampler: str) -> None:
    """Two dimensions, 40 points: well within what either sampler needs for a smooth bowl."""
    space = {"learning_rate": LogRange(log2=[-10, -2]), "init_scale": LogRange(log10=[-1, 1])}
    search = SearchSpec.model_validate({"space": space, "trials": 40, "sampler": sampler})
    batches: list[list[Measured]] = []
    while points := suggest(search, batches):
        batches.append([Measured(point, bowl(point)) for point in points])
    assert sum(map(len, batches)) == 40
    best = min((m for batch in batches for m in batch if m.loss is not None), key=lambda m: m.loss or 9)
    assert best.loss is not None and best.loss < 3.05


def bowl(point: dict[str, float]) -> float | None:
    x, scale = math.log2(point["learning_rate"]), math.log2(point["init_scale"])
    return None if x > -2.5 else 3 + 0.1 * (x + 5) ** 2 + 0.2 * scale**2


def test_a_refinement_homes_in_and_stops(sweep: Callable[[str], Path]) -> None:
    """The smallest width trains its grid, larger ones begin around its optimum, points come beside it."""
    rounds = Rounds(load_sweep(str(sweep(REFINE))))
    asked = whole(rounds)
    assert [recipe_of(trial).shape.width for trial in rounds.trials[:10]] == [8] * 10
    assert len(asked[0]) == 10 and len(rounds.trials) <= 40
    assert {recipe_of(trial).shape.width for trial in rounds.trials} == {8, 16, 32}
    grid = {trial.id for trial in rounds.sweep.expansion.trials}
    added = [recipe_of(trial).learning_rate for trial in rounds.trials if trial.id not in grid]
    assert added and all(2.0**-7 <= rate <= 2.0**-3 for rate in added)


def test_a_refinement_trains_trials_of_the_grid_first(sweep: Callable[[str], Path]) -> None:
    loaded = load_sweep(str(sweep(REFINE)))
    grid = {trial.id for trial in loaded.expansion.trials}
    asked = whole(Rounds(loaded))
    assert {*asked[0]} <= grid and grid & {*asked[1]}


def test_an_interrupted_refinement_asks_for_the_same_trials(sweep: Callable[[str], Path]) -> None:
    """Whatever else the store holds: results of later rounds do not change earlier ones."""
    loaded = load_sweep(str(sweep(REFINE)))
    asked = whole(Rounds(loaded))
    everything = made_up([*after(loaded, len(asked)).trials, *loaded.expansion.trials])
    for stop in (0, len(asked) // 2, len(asked) - 1):
        known = {id_ for round_ in asked[: stop + 1] for id_ in round_}
        later = {id_ for round_ in asked[stop + 2 :] for id_ in round_[:1]}
        again = Rounds(loaded)
        again.catch_up(everything[everything["trial_id"].isin(known | later)])
        assert [trial.id for trial in again.trials] == [id_ for round_ in asked[: stop + 2] for id_ in round_]


def test_every_scale_begins_however_few_rounds_there_are(sweep: Callable[[str], Path]) -> None:
    text = REFINE.replace("rounds: 3", "rounds: 1, target: 0.01").replace("target: 0.3, ", "")
    rounds = Rounds(load_sweep(str(sweep(text.replace("[8, 16, 32]", "[8, 16, 32, 64, 128]")))))
    whole(rounds)
    assert {recipe_of(trial).shape.width for trial in rounds.trials} == {8, 16, 32, 64, 128}


@pytest.mark.parametrize(
    ("axes", "first"),
    [
        ("depth: [1, 2, 4]", 10),
        ("width: [8, 16], depth: [1, 2]", 10),
        ("width: [8, 16, 32], seed: [0, 1]", 20),
        ("width: [8, 16, 32], mlp_ratio: [1, 2, 4]", 10),
        ("schedule: [constant, cosine]", 20),
    ],
)
def test_other_axes_begin_small_too(axes: str, first: int, sweep: Callable[[str], Path]) -> None:
    """Depth, two axes crossed, seeds, two axes that advance together, and none that is a scale."""
    text = REFINE.replace("width: [8, 16, 32]", axes).replace("depth: 1, head_dim", "head_dim")
    given = "".join(f"{name}: {value}, " for name, value in (("depth", 1), ("width", 8)) if name not in axes)
    text = text.replace("fixed: {", "fixed: {" + given)
    text += "zip: [[width, mlp_ratio]]\n" if "mlp_ratio" in axes else ""
    loaded = load_sweep(str(sweep(text)))
    rounds = Rounds(loaded)
    asked = whole(rounds)
    assert len(asked[0]) == first
    shapes = [
        {(recipe_of(trial).shape.width, recipe_of(trial).shape.depth) for trial in trials}
        for trials in (rounds.trials, loaded.expansion.trials)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("search: {trials: 4, space: {learning_rate: {log2: [-2, -10]}}}", "low below high"),
        ("search: {trials: 4, space: {depth: {log2: [1, 2]}}}", "depth cannot be searched"),
        ("search: {trials: 4, space: {learning_rate: {}}}", "learning_rate is written {log2"),
        ("search: {trials: 4, space: {}}", "search.space"),
        ("search: {trials: 4, space: {weight_decay: {log10: [-3, 0]}}}\nrefine: {}", "keep one of the two"),
        ("refine: {target: -1}", "refine.target"),
        (
            "refine: {}\nzip: [[learning_rate, weight_decay]]",
            "learning_rate and weight_decay advance together",
        ),
    ],
)
def test_faults_are_named(change: str, message: str, sweep: Callable[[str], Path]) -> None:
    text = REFINE.replace("refine: {target: 0.3, rounds: 3}", change)
    if "zip" in change:
        text = text.replace("step: 2}}", "step: 2}, weight_decay: [0.1, 0.2, 0.3, 0.4, 0.5]}")
    elif "learning_rate" in change:
        text = text.replace(", learning_rate: {log2: [-8, 0], step: 2}", "")
    with pytest.raises(SpecError) as error:
        load_sweep(str(sweep(text)))
    assert message in str(error.value)


@pytest.mark.slow
def test_real_runs_search_refine_report_and_suggest(
    tmp_path: Path, sweep: Callable[[str], Path], mutransfer: Command
) -> None:
    """The commands, with real trainings; running again changes nothing."""
    path = str(sweep(SEARCH.replace("SAMPLER", "tpe")))
    first = mutransfer("run", path)
    assert first.returncode == 0, first.stderr
    assert "round 1: 16 further trials, suggested by tpe" in first.stderr
    ids = trial_ids(tmp_path / "runs/searched")
    assert len(ids) == len(set(ids)) == 36
    again = mutransfer("run", path)
    assert again.returncode == 0
    assert sorted(trial_ids(tmp_path / "runs/searched")) == sorted(ids)
    assert "Best of the search" in mutransfer("report", "runs/searched").stdout
    searches = json.loads(mutransfer("report", "runs/searched", "-f", "json").stdout)["searches"]
    assert [(s["parametrization"], s["points"]) for s in searches] == [("sp", 9), ("mup", 9)]
    assert all({*s["best"]} == {"learning_rate", "init_scale"} for s in searches)

    path = str(sweep(REFINE.replace("rounds: 3", "rounds: 1")))
    refined = mutransfer("run", path)
    assert refined.returncode == 0, refined.stderr
    assert "width 16 begins" in refined.stderr
    more = mutransfer("report", "runs/refined", "--suggest", "more.yaml", "-f", "json")
    verdicts = {c["verdict"] for c in json.loads(more.stdout)["comparisons"]}
    assert "inconclusive" in verdicts  # 5 steps decide nothing
    run = mutransfer("run", "more.yaml")
    assert run.returncode == 0, run.stderr
    both = ("runs/refined", "runs/refined-more")
    done = {trial for folder in both for trial in trial_ids(tmp_path / folder)}
    assert mutransfer("report", *both, "--suggest", "again.yaml").returncode == 0
    if (tmp_path / "again.yaml").exists():
        suggested = load_sweep(str(tmp_path / "again.yaml"))
        assert suggested.spec.name == "refined-more2"
        assert not done & {trial.id for trial in suggested.expansion.trials}
