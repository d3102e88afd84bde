"""What is handed over: one family, its value, and what the target asks beyond the evidence."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from conftest import proxy_trial

from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.handover.export import ExportError, Target, export_object
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


def test_nothing_tuned_says_why(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(NothingTunedError, match="the optimum is at the lowest value of the grid"):
        choose(compared(rows(recipe, [-14, -14, -14])))


def test_warnings_name_what_the_evidence_does_not_cover(recipe: Callable[..., Recipe]) -> None:
    frame = rows(recipe, [-4, -5, -6, -7], parametrization="sp")
    (comparison,) = compared(frame)
    warnings = export_object(comparison, frame, Target(8192, 24))["warnings"]
    assert warnings == [
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
