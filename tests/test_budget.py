"""Rules for batch and duration: what they give, that it is trained, and where they say they do not hold."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import Command, proxy_trial

from mutransfer.models.data.batches import Batches
from mutransfer.models.handover.values import handover_of
from mutransfer.models.parametrization.rules import parameter_rules
from mutransfer.models.recipe.budget import BUDGET_RULES, budgeted
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.loop import train
from mutransfer.orchestrator.handover.export import Leave, Target, export_object
from mutransfer.orchestrator.handover.fault import ExportError
from mutransfer.orchestrator.studies.coordcheck import _seeded
from mutransfer.results.questions.comparison import Comparison, compare
from mutransfer.results.store.schema import ROWS
from mutransfer.sweeps.load import load_sweep
from mutransfer.sweeps.problem import SpecError
from mutransfer.sweeps.proxy import recipe_of

Make = Callable[..., Recipe]
BASE = {"batch_size": 4, "steps": 20, "base_batch_size": 4, "base_steps": 20, "weight_decay": 0.1}


@pytest.mark.parametrize("rule", BUDGET_RULES)
def test_at_the_base_no_bit_is_changed(rule: str, recipe: Make) -> None:
    followed = recipe(**BASE, budget_rules=rule)
    assert budgeted(followed) == replace(followed, budget_rules="none")


def test_what_is_not_followed_is_no_part_of_a_trial(recipe: Make) -> None:
    """Trials of sweeps that are older than the rules keep their ids."""
    assert proxy_trial(recipe(**BASE)).id == proxy_trial(recipe(**{**BASE, "base_steps": 9})).id


# m_B and m_T of the target: 2 and 8, as four times the steps.
TARGET = {**BASE, "batch_size": 8, "steps": 80, "warmup": 0.2, "learning_rate": 0.01}
EXPECTED: dict[str, dict[str, float]] = {
    "batch-sqrt": {"learning_rate": 0.01 * 2**0.5},
    "batch-linear": {"learning_rate": 0.01 * 2},
    # Table 1 of the source: learning rate and decay sqrt(m_B/m_T), 1 - beta m_B/m_T, epsilon sqrt(m_T/m_B).
    "complete-d": {
        "learning_rate": 0.01 * (2 / 8) ** 0.5,
        "weight_decay": 0.1 * (2 / 8) ** 0.5,
        "beta1": 1 - 0.1 * 2 / 8,
        "beta2": 1 - 0.05 * 2 / 8,
        "epsilon": 1e-8 * (8 / 2) ** 0.5,
    },
    "decay-timescale": {"weight_decay": 0.1 / 4},
    "batch-sqrt+decay-timescale": {"learning_rate": 0.01 * 2**0.5, "weight_decay": 0.1 / 4 / 2**0.5},
    "warmup-tokens": {"warmup": 0.2 / 8},
    "adam-sde": {"beta1": 0.8, "beta2": 0.9, "epsilon": 1e-8 / 2**0.5},
}


@pytest.mark.parametrize("rules", EXPECTED)
def test_a_rule_gives_what_its_source_says(rules: str, recipe: Make) -> None:
    plain = recipe(**TARGET)
    given = budgeted(replace(plain, budget_rules=rules))
    expected: dict[str, Any] = EXPECTED[rules]
    for name in ("learning_rate", "weight_decay", "beta1", "beta2", "epsilon", "warmup"):
        assert getattr(given, name) == pytest.approx(expected.get(name, getattr(plain, name)), rel=1e-12), (
            name
        )


def test_an_independent_decay_does_not_follow_the_learning_rate(recipe: Make) -> None:
    given = budgeted(recipe(**TARGET, decay="independent", budget_rules="complete-d"))
    assert given.weight_decay == pytest.approx(0.1 / 4)


def test_the_learning_rate_falls_with_the_horizon(recipe: Make) -> None:
    given = budgeted(recipe(**TARGET, budget_rules="batch-sqrt", horizon_exponent=0.32))
    assert given.learning_rate == pytest.approx(0.01 * 2**0.5 * 8**-0.32)


def test_what_a_rule_gives_is_trained(recipe: Make, batches: Batches) -> None:
    """Loss for loss what the values of the rule train, written out by hand; and the rules show them."""
    base = {**TARGET, "batch_size": 4, "steps": 6, "base_batch_size": 2, "base_steps": 3}
    followed = recipe(**base, budget_rules="complete-d")
    by_hand = recipe(**{
        **base, "learning_rate": 0.01 * 2**-0.5, "weight_decay": 0.1 * 2**-0.5, "beta1": 0.95,
        "beta2": 0.975, "epsilon": 1e-8 * 2**0.5,
    })  # fmt: skip
    one, other = train([followed, by_hand], batches, torch.device("cpu"))
    assert one.loss == pytest.approx(other.loss, abs=1e-6)
    assert [point.learning_rate for point in one.curve] == pytest.approx(
        [point.learning_rate for point in other.curve]
    )
    pairs = zip(parameter_rules(followed), parameter_rules(by_hand), strict=True)
    assert all(a.learning_rate == pytest.approx(b.learning_rate) for a, b in pairs)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"budget_rules": "bigger"}, "budget_rules: 'bigger' is not one of batch-sqrt"),
    "both": ({"budget_rules": "batch-sqrt+complete-d"}, "both move learning_rate; keep one"),
    "order": ({"budget_rules": "adam-sde+batch-sqrt"}, "is written batch-sqrt[+]adam-sde"),
    "no base": ({"budget_rules": "batch-sqrt", "base_batch_size": None}, "base.batch_size: is missing"),
    "no steps": ({"horizon_exponent": 0.3, "base_steps": None}, "base.steps: is missing"),
    "optimizer": ({"budget_rules": "adam-sde", "optimizer": "sgd"}, "derived for adamw, not for sgd"),
    "twice": (
        {"budget_rules": "complete-d", "horizon_exponent": 0.3},
        "horizon_exponent: complete-d follows",
    ),
    "far": ({"budget_rules": "adam-sde", "batch_size": 80}, "does not hold as far from base.batch_size"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_hold_is_refused(case: str, recipe: Make) -> None:
    changes, told = WRONG[case]
    with pytest.raises(ValueError, match=told):
        recipe(**{**TARGET, **changes})


# --- in a sweep file, in tokens ---------------------------------------------------------------------------

SWEEP = """base: {width: 16, depth: 1, BASE}
fixed: {architecture: transformer, depth: 1, head_dim: 8, sequence_length: 16, optimizer: adamw,
        parametrization: mup, FIXED}
axes: {learning_rate: {log2: [-8, -4], step: 2}, AXES}
data: {corpus: python-stdlib}
"""


def swept(folder: Path, fixed: str, axes: str, base: str = "batch_size: 4") -> list[Recipe]:
    path = folder / "sweep.yaml"
    path.write_text(SWEEP.replace("FIXED", fixed).replace("AXES", axes).replace("BASE", base))
    return [recipe_of(trial) for trial in load_sweep(str(path)).expansion.trials]


def test_a_batch_and_a_duration_are_given_in_tokens(tmp_path: Path) -> None:
    found = swept(tmp_path, "tokens: 4096, width: 16", "batch_tokens: [64, 256]")
    assert {(one.batch_size, one.steps) for one in found} == {(4, 64), (16, 16)}


def test_a_duration_follows_the_size(tmp_path: Path) -> None:
    """20 tokens for each of the parameters that are counted, in whole steps."""
    found = swept(tmp_path, "batch_size: 4, tokens_per_parameter: 20", "width: [16]")
    (steps,) = {one.steps for one in found}
    assert steps == round(20 * (256 * 16 * 2 + 12 * 16 * 16 + 3 * 16) / 64)


def test_the_base_is_given_in_tokens_too(tmp_path: Path) -> None:
    base = "batch_tokens: 128, tokens_per_parameter: 10"
    found = swept(
        tmp_path, "tokens: 16384, budget_rules: batch-sqrt", "batch_size: [4, 8], width: [16, 32]", base
    )
    assert {(one.base_batch_size, one.base_steps) for one in found} == {(8, 884)}
    assert {budgeted(one).learning_rate / one.learning_rate for one in found} == {1.0, 2**-0.5}


TOLD = {
    "whole": (
        "tokens: 100, batch_size: 4",
        "",
        "fixed.tokens: 100 is no whole number of batches of 64 tokens; 128 is",
    ),
    "sequences": (
        "tokens: 640, batch_tokens: 40",
        "",
        "fixed.batch_tokens: 40 is no whole number of sequences",
    ),
    "two": ("tokens: 640, steps: 10, batch_size: 4", "", "fixed.tokens: is given by steps, too; keep one"),
    "two ways": ("tokens: 640, tokens_per_parameter: 1, batch_size: 4", "", "is given by tokens, too"),
    "none": ("tokens: 640", "", "fixed.batch_size: is missing"),
    "base": ("steps: 4, batch_size: 4, budget_rules: batch-sqrt", "", "base.steps: is missing"),
    "base twice": (
        "steps: 4, batch_size: 4",
        "batch_size: 2, batch_tokens: 64",
        "base.batch_tokens: is given by",
    ),
    "rule": (
        "steps: 4, batch_size: 4, budget_rules: adam",
        "steps: 1",
        "fixed.budget_rules: 'adam' is not one of",
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_makes_no_batch_is_told(case: str, tmp_path: Path) -> None:
    fixed, base, told = TOLD[case]
    with pytest.raises(SpecError) as error:
        swept(tmp_path, fixed, "width: [16]", base or "batch_size: 4")
    assert told in str(error.value)


# --- in a report and an export ----------------------------------------------------------------------------

RATES = [2.0**-i for i in range(2, 11)]


def measured(recipe: Make, points: list[dict[str, Any]], center: Callable[[Recipe], float]) -> pd.DataFrame:
    """Losses around an optimum that the recipe decides."""
    records = []
    for point in points:
        for rate in RATES:
            one = recipe(**point, learning_rate=rate)
            distance = torch.tensor(rate).log2().item() - center(one)
            tokens = one.steps * one.batch_size * one.shape.sequence_length
            records.append({
                "trial_id": proxy_trial(one).id, **one.point(), "loss": 3 + 0.1 * distance**2,
                "status": "finished", "tokens": tokens, "parameters": 1000 * one.shape.width,
            })  # fmt: skip
    return pd.DataFrame(records)


def compared(frame: pd.DataFrame) -> list[Comparison]:
    return compare(frame, ROWS.names)


def batches_at_tokens(recipe: Make, **changes: Any) -> pd.DataFrame:  # noqa: ANN401 - fields
    """Batches of 4, 8 and 16 at two numbers of tokens; the optimum moves by half an octave a doubling of the
    batch, by a quarter back for one of the tokens."""
    points = [
        {"batch_size": batch, "steps": tokens // (16 * batch), **changes}
        for batch in (4, 8, 16) for tokens in (4096, 16384)
    ]  # fmt: skip

    def center(one: Recipe) -> float:
        batch = torch.tensor(one.batch_size / 4).log2().item()
        tokens = torch.tensor(one.steps * one.batch_size * 16 / 4096).log2().item()
        return -6 + 0.5 * batch - 0.25 * tokens

    return measured(recipe, points, center)


def test_batches_are_compared_at_the_same_tokens(recipe: Make) -> None:
    found = compared(batches_at_tokens(recipe))
    batch = [one for one in found if one.axis == "batch_size"]
    assert [one.fixed for one in batch] == [{"tokens": 4096}, {"tokens": 16384}]
    assert {one.axis for one in found} == {"batch_size", "tokens"}
    for one in found:
        assert one.drift.slope is not None
        assert one.drift.slope.value == pytest.approx(0.5 if one.axis == "batch_size" else -0.25, abs=0.02)
        assert one.duration == "tokens"


def test_sizes_are_compared_at_the_same_tokens_for_each_parameter(recipe: Make) -> None:
    """Whole steps are near what was asked for, and no two widths have the same."""
    points = [
        {"width": width, "steps": round(share * 1000 * width / 64)}
        for width in (16, 32, 64) for share in (10, 20)
    ]  # fmt: skip
    found = [one for one in compared(measured(recipe, points, lambda one: -6.0)) if one.axis == "width"]
    assert [one.fixed for one in found] == [{"tokens_per_parameter": 10.0}, {"tokens_per_parameter": 20.0}]
    assert all(len(one.drift.optima) == 3 for one in found)


def test_an_export_follows_batch_and_tokens_as_they_were_swept(recipe: Make) -> None:
    """Twice the batch, four times the tokens: half an octave up, half an octave down."""
    frame = batches_at_tokens(recipe)
    found = compared(frame)
    one = next(c for c in found if c.axis == "batch_size" and c.fixed == {"tokens": 16384})
    target = Target(16, 2, batch=32, tokens=65536)
    moved = export_object(one, frame, target, found)["adjustments"]
    assert [told["axis"] for told in moved] == ["batch_size", "tokens"]
    assert [told["octaves"] for told in moved] == pytest.approx([0.5, -0.5], abs=0.05)


def test_an_export_follows_the_rules_of_its_sweep(recipe: Make) -> None:
    ruled = {"base_batch_size": 4, "base_steps": 64, "budget_rules": "complete-d", "weight_decay": 0.1}
    frame = measured(
        recipe, [{"batch_size": b, "steps": 256 // b, **ruled} for b in (4, 8, 16)], lambda one: -6
    )
    (one,) = compared(frame)
    assert one.drift.verdict == "stable"
    handed = export_object(one, frame, Target(16, 2, batch=8, tokens=64 * 64 * 8), compared(frame))
    values, (entry,) = handed["hyperparameters"], handed["rules"]
    steps = 64 * 64 * 8 / (8 * 16) / 64  # times those of the base
    assert values["learning_rate"] == pytest.approx(2**-6 / steps**0.5, rel=0.02)
    assert values["beta2"] == pytest.approx(1 - 0.05 / steps) and values["weight_decay"] == pytest.approx(
        0.1 / steps**0.5
    )
    assert entry["rule"] == "complete-d" and entry["to"]["beta2"] == values["beta2"]
    with pytest.raises(ExportError, match="--rule adam-sde: the trials followed complete-d"):
        export_object(one, frame, Target(16, 2, batch=8), leave=Leave(rules=("adam-sde",)))


def test_an_export_moves_the_learning_rate_once(recipe: Make) -> None:
    frame = batches_at_tokens(recipe)
    found = compared(frame)
    one = next(c for c in found if c.axis == "batch_size")
    with pytest.raises(ExportError, match="moved by what was measured along batch_size"):
        export_object(one, frame, Target(16, 2, batch=32), found, leave=Leave(rules=("batch-sqrt",)))
    unmoved = export_object(one, frame, Target(16, 2, batch=32), (), leave=Leave())
    by_rule = export_object(one, frame, Target(16, 2, batch=32), (), leave=Leave(rules=("batch-sqrt",)))
    rates = [handed["hyperparameters"]["learning_rate"] for handed in (unmoved, by_rule)]
    assert rates[1] / rates[0] == pytest.approx(2**0.5)


def test_the_interval_moves_with_the_learning_rate(recipe: Make) -> None:
    ruled = {"base_batch_size": 4, "base_steps": 64, "budget_rules": "batch-sqrt"}
    frame = measured(
        recipe, [{"batch_size": b, "steps": 256 // b, **ruled} for b in (4, 8, 16)], lambda one: -6
    )
    (one,) = compared(frame)
    for target in (Target(16, 2, batch=64), Target(16, 2, batch=16, sequence_length=64)):  # both 1,024 tokens
        handed = export_object(one, frame, target, compared(frame))["hyperparameters"]
        assert handed["learning_rate"] == pytest.approx(2**-6 * 4, rel=0.02)
        low, high = handed["learning_rate_interval"]
        assert low < handed["learning_rate"] < high


def test_a_base_that_nothing_reads_stands_in_no_row(tmp_path: Path) -> None:
    (plain, *_) = swept(tmp_path, "batch_size: 4, steps: 5", "width: [16]", "batch_size: 8, steps: 9")
    assert plain.base_batch_size is None and plain.base_steps is None


def test_sp_and_mup_share_a_base_in_tokens_for_each_parameter(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    base, fixed = (
        "batch_size: 4, tokens_per_parameter: 1.0",
        "batch_size: 4, steps: 5, budget_rules: batch-sqrt",
    )
    text = SWEEP.replace("FIXED", fixed).replace("AXES", "width: [16]").replace("BASE", base)
    path.write_text(
        text.replace("parametrization: mup, ", "").replace("axes: {", "axes: {parametrization: [sp, mup], ")
    )
    recipes = [recipe_of(trial) for trial in load_sweep(str(path)).expansion.trials]
    assert {one.base_steps for one in recipes} == {recipes[0].base_steps} != {None}


ODD = [
    ("fixed", "tokens_per_parameter: 0, batch_size: 4", "fixed.tokens_per_parameter: 0"),
    (
        "fixed",
        "tokens_per_parameter: -1.0, batch_size: 4",
        "fixed.tokens_per_parameter: -1.0 is not positive",
    ),
    ("fixed", "tokens: {}, batch_size: 4", "fixed.tokens: {} is not an integer"),
    ("base", "tokens_per_parameter: .inf", "base.tokens_per_parameter: input should be"),
    ("base", "batch_size: 1" + "0" * 400, "base.batch_size: "),
    (
        "fixed",
        "steps: 5, batch_size: 4, horizon_exponent: 1.0e+5",
        "fixed.horizon_exponent: 100000.0 is outside",
    ),
]


@pytest.mark.parametrize(("section", "given", "told"), ODD)
def test_odd_numbers_are_told(section: str, given: str, told: str, tmp_path: Path) -> None:
    fixed = given if section == "fixed" else "steps: 5, batch_size: 4"
    with pytest.raises(SpecError) as error:
        swept(tmp_path, fixed, "width: [16]", given if section == "base" else "batch_size: 4, steps: 5")
    assert told in str(error.value)


def test_steps_that_are_near_are_not_one_duration(recipe: Make) -> None:
    """20, 21 and 22 steps are an axis; no trials of different steps are averaged."""
    points = [{"width": width, "steps": steps} for width in (16, 32) for steps in (20, 21, 22)]
    found = compared(measured(recipe, points, lambda one: -6.0))
    assert {one.axis for one in found} == {"width", "steps"}
    assert [one.fixed for one in found if one.axis == "width"] == [
        {"steps": 20},
        {"steps": 21},
        {"steps": 22},
    ]


def test_few_steps_are_still_as_many_tokens_for_each_parameter(recipe: Make) -> None:
    """Five and eleven steps, rounded from one number of tokens for each parameter: one axis, the width."""
    points = [{"width": width, "steps": steps} for width, steps in ((16, 5), (32, 11), (64, 21))]
    (one,) = compared(measured(recipe, points, lambda one: -6.0))
    assert one.axis == "width" and one.fixed == {} and one.duration == "tokens_per_parameter"


REFINED = """base: {width: 16, depth: 1}
fixed: {architecture: transformer, depth: 1, head_dim: 8, width: 16, sequence_length: 16, optimizer: adamw,
        parametrization: mup, tokens: 640, eval_sequences: 4}
axes: {learning_rate: {log2: [-8, -2], step: 1}, batch_tokens: [32, 64, 128]}
refine: {rounds: 2}
data: {corpus: python-stdlib}
"""


def test_a_sweep_in_tokens_is_refined_and_added_to(tmp_path: Path, mutransfer: Command) -> None:
    """From the smallest batch on, whose steps are the most; what is suggested is a sweep file again."""
    (tmp_path / "refined.yaml").write_text(REFINED)
    done = mutransfer("run", "refined.yaml", "--out", "runs")
    assert done.returncode == 0, done.stderr
    told = mutransfer("report", "runs", "--suggest", "more.yaml")
    assert told.returncode == 0, told.stderr
    if (tmp_path / "more.yaml").exists():
        again = mutransfer("plan", "more.yaml")
        assert again.returncode == 0, again.stderr


def test_a_coordinate_check_is_as_far_from_the_base_as_the_sweep(recipe: Make) -> None:
    """Ten steps of a sweep of eighty, at twice the base's batch and four times its steps."""
    one = recipe(**{**TARGET, "budget_rules": "complete-d"})
    (short,) = _seeded(one, steps=8, seeds=1)
    assert budgeted(short).learning_rate == pytest.approx(budgeted(one).learning_rate)


def test_a_programs_trial_is_handed_what_the_rules_give() -> None:
    point = {
        "parametrization": "mup", "optimizer": "adamw", "learning_rate": 0.01, "width": 64, "base_width": 64,
        "base_depth": 1, "budget_rules": "complete-d", "base_batch_size": 8, "base_steps": 10,
    }  # fmt: skip
    handed, why = handover_of({**point, "batch_size": 8, "steps": 40})
    assert handed is not None, why
    assert handed["hyperparameters"]["learning_rate"] == pytest.approx(0.005)
    assert handed["hyperparameters"]["beta1"] == pytest.approx(0.975)
    assert handover_of(point) == (
        None,
        "the trial has no batch_size and no steps, which complete-d refers to",
    )
