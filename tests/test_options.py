"""Whether an optimum survives a training option, on made-up losses whose shift is known."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from test_choice import compared, rows

from mutransfer.models.recipe.recipe import Recipe
from mutransfer.results.questions.options import OptionShift, option_shifts
from mutransfer.results.report import words
from mutransfer.results.report.contract import report_object

Build = Callable[..., Recipe]
WIDTHS = 2


def with_option(
    recipe: Build, shift: float, noise: float = 0.0, draw: int = 0, **option: object
) -> OptionShift:
    """Two widths, two seeds, the usual value and another whose optimum lies `shift` octaves further."""
    generator = np.random.default_rng(draw)
    parts = []
    for seed in (0, 1):
        for changes, center in (({}, -6.0), (option, -6.0 + shift)):
            frame = rows(recipe, [center] * WIDTHS, seed=seed, **changes)
            frame["loss"] += noise * generator.standard_normal(len(frame))
            parts.append(frame)
    (found,) = option_shifts(compared(pd.concat(parts, ignore_index=True)))
    return found


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.0, "survives"), (0.1, "survives"), (-1.0, "moves"), (0.5, "moves")]
)
def test_the_shift_is_found_and_judged(shift: float, verdict: str, recipe: Build) -> None:
    found = with_option(recipe, shift, precision="bf16")
    assert (found.option, found.reference, found.value) == ("precision", "float32", "bf16")
    assert found.shift is not None and found.shift.value == pytest.approx(shift, abs=0.03)
    assert [scale for scale, _ in found.shifts] == [8, 16]
    assert found.verdict == verdict
    assert found.loss is not None and found.loss.value == pytest.approx(0, abs=0.01)


def test_shifts_that_undo_each_other_are_no_survival(recipe: Build) -> None:
    """An octave up at the small width and one down at the large: none in the mean, and no survival."""
    parts = []
    for changes, centers in (({}, [-6.0, -6.0]), ({"dropout": 0.1}, [-5.0, -7.0])):
        parts.append(rows(recipe, centers, **changes))
    (found,) = option_shifts(compared(pd.concat(parts, ignore_index=True)))
    assert found.shift is not None and abs(found.shift.value) < 0.1
    assert found.verdict == "moves"


def test_noise_leaves_it_open(recipe: Build) -> None:
    assert with_option(recipe, 0.2, noise=0.1, dropout=0.1).verdict == "inconclusive"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift", "never"), [(0.0, "moves"), (0.25, "survives"), (0.25, "moves"), (0.5, "survives")]
)
def test_false_verdicts_are_rare(shift: float, never: str, recipe: Build) -> None:
    """At the tolerance itself either word may be said in one case of twenty; 40 draws, at most 5 allowed
    (binomial, 1 - 0.997). Intervals cover in 40 draws at least 34 times."""
    drawn = [with_option(recipe, shift, noise=0.01, draw=draw, precision="bf16") for draw in range(40)]
    assert sum(found.verdict == never for found in drawn) <= 5
    intervals = [found.shift.interval for found in drawn if found.shift is not None]
    covered = sum(low is not None and high is not None and low <= shift <= high for low, high in intervals)
    assert covered >= 34


def test_a_false_option_is_the_reference_of_a_true_one(recipe: Build) -> None:
    found = with_option(recipe, 0.0, activation_checkpointing=True)
    assert (found.reference, found.value) == (False, True)


def test_scales_and_hyperparameters_are_no_options(recipe: Build) -> None:
    frames = [
        rows(recipe, [-6.0] * 3, weight_decay=decay, batch_size=b) for decay in (0.0, 0.1) for b in (4, 8)
    ]
    assert option_shifts(compared(pd.concat(frames, ignore_index=True))) == []


def test_each_value_is_compared_with_the_usual_one(recipe: Build) -> None:
    frames = [rows(recipe, [-6.0] * 2, schedule=s) for s in ("linear", "cosine", "wsd")]
    found = option_shifts(compared(pd.concat(frames, ignore_index=True)))
    assert [(entry.reference, entry.value) for entry in found] == [("cosine", "linear"), ("cosine", "wsd")]


def test_the_contract_holds_them(recipe: Build) -> None:
    entry = report_object([], options=[with_option(recipe, -1.0, precision="bf16")])["options"][0]
    assert (entry["option"], entry["verdict"], entry["architecture"]) == ("precision", "moves", "transformer")
    assert entry["shift"] == pytest.approx(-1, abs=0.03) and len(entry["shift_interval"]) == 2
    assert [shift["scale"] for shift in entry["shifts"]] == [8, 16]


def test_accuracy_stands_beside_the_optimum(recipe: Build) -> None:
    frame = rows(recipe, [-6.0] * 3)
    frame["accuracy"] = 1 - 0.1 * frame["loss"]
    (comparison,) = compared(frame)
    assert comparison.accuracy == pytest.approx({8: 0.7, 16: 0.71, 32: 0.72})
    told = report_object([comparison])["comparisons"][0]["optima"]
    assert [entry["accuracy"] for entry in told] == pytest.approx([0.7, 0.71, 0.72])
    (without,) = compared(frame.drop(columns="accuracy"))
    assert without.accuracy == {}


def test_integers_with_gaps_and_words_are_told_as_written(recipe: Build) -> None:
    frames = [
        rows(recipe, [-6.0] * 2, window=window, qk_norm=norm)
        for window in (8, None)
        for norm in (False, True)
    ]
    comparisons = compared(pd.concat(frames, ignore_index=True))
    labels = {words.label(c) for c in comparisons}
    assert "transformer adamw mup (qk_norm true, window 8)" in labels
    assert "transformer adamw mup (qk_norm false, window none)" in labels
    assert all(isinstance(c.fixed["window"], int | None) for c in comparisons)


def test_pairs_take_the_noise_of_a_seed_away(recipe: Build) -> None:
    """Losses that two options share, noise and all: a shift of zero, known to a hundredth of an octave."""
    generator = np.random.default_rng(0)
    frames = [rows(recipe, [-6.0] * 2, seed=seed) for seed in (0, 1)]
    for frame in frames:
        frame["loss"] += 0.05 * generator.standard_normal(len(frame))
    again = [frame.assign(precision="bf16", trial_id="b" + frame["trial_id"]) for frame in frames]
    (found,) = option_shifts(compared(pd.concat([*frames, *again], ignore_index=True)))
    assert found.verdict == "survives" and found.shift is not None
    assert found.shift.interval == pytest.approx((0, 0), abs=0.01)
