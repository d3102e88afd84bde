"""What is handed over: one family, its value, and what the target asks beyond the evidence."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import proxy_trial

from mutransfer.models.recipe.budget import BUDGET_RULES
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.handover.budget import RATE_RULES
from mutransfer.orchestrator.handover.export import OF_MODELS, Leave, Target, export_object
from mutransfer.orchestrator.handover.fault import ExportError
from mutransfer.results.questions.choice import ChoiceError, NothingTunedError, choose, tuned_log2
from mutransfer.results.questions.comparison import Comparison, compare
from mutransfer.results.store.schema import ROWS
from mutransfer.sweeps.proxy import recipe_of

RATES = [2.0**-i for i in range(2, 11)]


def rows(recipe: Callable[..., Recipe], centers: Sequence[float], **changes: object) -> pd.DataFrame:
    """Losses around the given optimum per width 8, 16, 32, ..."""
    records = []
    for index, center in enumerate(centers):
        for rate in RATES:
            trial = proxy_trial(recipe(width=8 * 2**index, learning_rate=rate, **changes))
            loss = 3 - 0.1 * index + 0.1 * (np.log2(rate) - center) ** 2
            records.append(
                {"trial_id": trial.id, **recipe_of(trial).point(), "loss": loss, "status": "finished"}
            )
    return pd.DataFrame(records)


def compared(frame: pd.DataFrame) -> list[Comparison]:
    return compare(frame, ROWS.names)


def test_a_stable_optimum_is_averaged(recipe: Callable[..., Recipe]) -> None:
    comparison = choose(compared(rows(recipe, [-5, -5.2, -5.1, -5.3])))
    assert comparison.drift.verdict == "stable"
    value, interval = tuned_log2(comparison)
    assert value == pytest.approx(-5.15, abs=0.02)
    assert interval[0] is not None and interval[1] is not None
    assert interval[0] <= -5.3 and interval[1] >= -5.0


def test_a_drifting_optimum_is_taken_from_the_largest(recipe: Callable[..., Recipe]) -> None:
    comparison = choose(compared(rows(recipe, [-4, -5, -6, -7], parametrization="sp")))
    assert comparison.drift.verdict == "drifts"
    assert tuned_log2(comparison)[0] == pytest.approx(-7, abs=0.02)


def test_several_families_are_listed(recipe: Callable[..., Recipe]) -> None:
    both = pd.concat([rows(recipe, [-5] * 3), rows(recipe, [-5] * 3, parametrization="sp")])
    with pytest.raises(ChoiceError) as error:
        choose(compared(both))
    assert str(error.value).splitlines() == [
        "several families fit; choose one of",
        "  --architecture transformer --optimizer adamw --parametrization mup",
        "  --architecture transformer --optimizer adamw --parametrization sp",
    ]
    assert choose(compared(both), parametrization="sp").family.parametrization == "sp"
    with pytest.raises(ChoiceError, match="no family fits; choose one of"):
        choose(compared(both), parametrization="ntk")


def test_a_large_model_is_told_by_the_scales_of_its_sizes(recipe: Callable[..., Recipe]) -> None:
    """Of a sweep over widths and batches, whose largest cell both end in."""
    frames = [rows(recipe, [-4, -5, -6, -7], batch_size=batch) for batch in (4, 8, 16, 32, 64)]
    frame = pd.concat(frames, ignore_index=True)
    frame["loss"] -= 0.01 * np.log2(frame["batch_size"])
    found = compared(frame)
    assert {one.axis for one in found} == {"width", "batch_size"}
    chosen = choose(found, "learning_rate", OF_MODELS)
    assert (chosen.axis, chosen.fixed["batch_size"]) == ("width", 64)
    warnings = [one["text"] for one in export_object(chosen, frame, Target(512, 2), found)["warnings"]]
    assert not any("only width" in text for text in warnings)
    assert any("the line through the optima says 2^−10" in text for text in warnings)


def test_nothing_tuned_says_why(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(NothingTunedError, match="the optimum is at the lowest value of the grid"):
        choose(compared(rows(recipe, [-14, -14, -14])))


def test_warnings_name_what_the_evidence_does_not_cover(recipe: Callable[..., Recipe]) -> None:
    frame = rows(recipe, [-4, -5, -6, -7], parametrization="sp")
    (comparison,) = compared(frame)
    warnings = export_object(comparison, frame, Target(8192, 24))["warnings"]
    assert [one["severity"] for one in warnings] == ["danger", *["warning"] * 4]
    line, cost = (one["text"] for one in warnings[1:3])
    assert line.startswith("width 8192: the line through the optima says 2^−14.0 [")
    assert "by that line and the largest scale's valley, what is handed over costs" in cost
    assert [one["text"] for one in (warnings[0], *warnings[3:])] == [
        "the verdict is drifts, so the optimum at the target may be another",
        "width 8192 is 128 times the largest measured, 64",
        "depth 24: only depth 2 was measured",
    ]
    stable = rows(recipe, [-5] * 4)
    assert export_object(compared(stable)[0], stable, Target(512, 2))["warnings"] == []


def test_a_target_that_does_not_fit_is_refused(recipe: Callable[..., Recipe]) -> None:
    frame = rows(recipe, [-5] * 3)
    with pytest.raises(ExportError, match="the target does not fit: width: 100 is not a multiple"):
        export_object(compared(frame)[0], frame, Target(100, 2))


def test_rows_older_than_a_field_are_found_again(recipe: Callable[..., Recipe]) -> None:
    """A sweep that gained an axis: what older rows have no value for was trained with the old one."""
    older = rows(recipe, [-5] * 3).drop(columns="dropout")
    newer = rows(recipe, [-5] * 3, dropout=0.1)
    frame = pd.concat([older, newer], ignore_index=True)
    comparison = next(c for c in compared(frame) if c.fixed == {"dropout": 0.0})
    assert export_object(comparison, frame, Target(64, 2))["hyperparameters"]["learning_rate"] > 0


def texts(handed: dict[str, Any]) -> list[str]:
    return [one["text"] for one in handed["warnings"]]


def swept(
    recipe: Callable[..., Recipe], **changes: object
) -> tuple[Comparison, pd.DataFrame, list[Comparison]]:
    """Widths, and batches of 4 to 32 along which the optimum rises by half an octave a doubling."""
    width = rows(recipe, [-5, -5, -5], **changes)
    batch = pd.concat([rows(recipe, [-5 + n / 2], batch_size=4 * 2**n, **changes) for n in range(4)])
    frame = pd.concat([width, batch]).drop_duplicates("trial_id", ignore_index=True)
    comparisons = compared(frame)
    return next(c for c in comparisons if c.axis == "width"), frame, comparisons


def test_a_slope_is_not_followed_far_beyond_its_evidence(recipe: Callable[..., Recipe]) -> None:
    chosen, frame, others = swept(recipe)
    near = export_object(chosen, frame, Target(64, 2, batch=128), others)
    assert any("2.0 doublings beyond what was measured (4 to 32)" in line for line in texts(near))
    far = Target(64, 2, batch=2048)
    with pytest.raises(ExportError, match=r"batch_size 2048: is 6\.0 doublings beyond .* add --extrapolate"):
        export_object(chosen, frame, far, others)
    forced = export_object(chosen, frame, far, others, Leave(extrapolate=True))
    (adjustment,) = forced["adjustments"]
    assert adjustment["measured_range"] == [4, 32] and adjustment["outside"] == 6
    low, high = forced["hyperparameters"]["learning_rate_interval"]
    assert (
        high / low
        > near["hyperparameters"]["learning_rate_interval"][1]
        / near["hyperparameters"]["learning_rate_interval"][0]
    )


def test_a_batch_may_be_told_in_tokens(recipe: Callable[..., Recipe]) -> None:
    frame = rows(recipe, [-5] * 3)
    (comparison,) = compared(frame)
    target = Target(64, 2, tokens=1 << 23, sequence_length=64, batch_tokens=512, vocabulary=50_000)
    handed = export_object(comparison, frame, target)
    assert [handed["target"][name] for name in ("batch_size", "sequence_length", "steps")] == [8, 64, 1 << 14]
    assert handed["model"]["vocab_size"] == 50_000
    told = " ".join(texts(handed))
    assert "sequence_length 64: 16 was measured" in told and "vocabulary 50000: 64 was measured" in told
    assert "tokens for each parameter" in told and "whole number of batches" not in told
    handed = export_object(comparison, frame, Target(64, 2, tokens=700, sequence_length=64, batch_tokens=512))
    assert any("700 tokens are no whole number of batches of 512; the large run trains on 512" in one
               for one in texts(handed))  # fmt: skip
    for wrong, said in (
        (Target(64, 2, batch=8, batch_tokens=128), "say one"),
        (Target(64, 2, batch_tokens=100), "--batch-tokens 100: is no multiple of the 16 tokens"),
    ):
        with pytest.raises(ExportError, match=said):
            export_object(comparison, frame, wrong)


def test_rules_for_batch_and_duration_are_followed_or_named(recipe: Callable[..., Recipe]) -> None:
    """Decay by its time scale, warm-up in tokens, averages over as many tokens."""
    frame = rows(recipe, [-5] * 3, weight_decay=0.1, warmup=0.1)
    (comparison,) = compared(frame)
    target = Target(64, 2, batch=16, tokens=16 * 16 * 200)  # four times the batch, ten times the steps
    plain = export_object(comparison, frame, target)
    assert plain["rules"] == [] and plain["hyperparameters"]["weight_decay"] == 0.1
    named = [line for line in texts(plain) if "--rule" in line]
    rules = ["decay-timescale", "warmup-tokens", "adam-sde"]
    assert [line.split("--rule ")[1].split()[0] for line in named] == rules
    assert {*BUDGET_RULES} == {*rules, *RATE_RULES}
    ruled = export_object(comparison, frame, target, leave=Leave(rules=tuple(rules)))
    values = ruled["hyperparameters"]
    assert values["weight_decay"] == pytest.approx(
        0.1 / 10
    )  # 1 / (rate x decay) is the same share of the run
    assert values["warmup"] == pytest.approx(0.1 / 40)  # as many tokens
    assert values["beta2"] == pytest.approx(1 - 4 * 0.05) and values["epsilon"] == pytest.approx(1e-8 / 2)
    assert [one["rule"] for one in ruled["rules"]] == rules
    assert not any("--rule" in line for line in texts(ruled))
    hidden = [one["roles"]["hidden"]["weight_decay"] for one in (plain, ruled)]
    assert hidden[1] == pytest.approx(hidden[0] / 10)


def test_a_rule_that_does_not_hold_is_refused(recipe: Callable[..., Recipe]) -> None:
    frame = rows(recipe, [-5] * 3, weight_decay=0.1, warmup=0.1)
    (comparison,) = compared(frame)
    huge = Target(64, 2, batch=400, tokens=16 * 400 * 20)
    with pytest.raises(ExportError, match=r"--rule adam-sde: does not hold as far .* \(beta1: -"):
        export_object(comparison, frame, huge, leave=Leave(rules=("adam-sde",)))
    with pytest.raises(ExportError, match="--rule adam_sde: is not one of batch-sqrt, "):
        export_object(comparison, frame, huge, leave=Leave(rules=("adam_sde",)))
    same = export_object(comparison, frame, Target(64, 2), leave=Leave(rules=("warmup-tokens",)))
    assert "--rule warmup-tokens: changes nothing here" in texts(same)


def test_another_hyperparameter_is_no_learning_rate(recipe: Callable[..., Recipe]) -> None:
    frame = rows(recipe, [-5] * 3)
    (comparison,) = compared(frame)
    with pytest.raises(
        ExportError, match="weight_decay: values of each parameter follow from a learning rate"
    ):
        export_object(replace(comparison, hyperparameter="weight_decay"), frame, Target(64, 2))
