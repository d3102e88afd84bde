"""Which rows belong on one curve."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mutransfer.results.questions.comparison import Comparison, compare
from mutransfer.results.questions.curves import curves_along
from mutransfer.results.questions.searched import best_of_searches
from mutransfer.results.report.tables import search_table
from mutransfer.results.report.words import penalty, sparkline
from mutransfer.results.statistics.interval import Estimate
from mutransfer.results.store.schema import ROWS


def rows(**axes: list[Any]) -> pd.DataFrame:
    """The product of the axes, losses a parabola around 2^-5 plus a little per seed."""
    names: dict[str, list[Any]] = {
        "architecture": ["gdn"],
        "optimizer": ["adamw"],
        "parametrization": ["mup"],
        "depth": [2],
        "seed": [0],
        "learning_rate": [2.0**-i for i in range(2, 9)],
        **axes,
    }
    records = [dict(zip(names, point, strict=True)) for point in itertools.product(*names.values())]
    frame = pd.DataFrame(records)
    frame["trial_id"] = [str(index) for index in range(len(frame))]
    frame["status"] = "finished"
    frame["loss"] = 2 + 0.1 * (np.log2(frame["learning_rate"]) + 5) ** 2 + 0.01 * frame["seed"]
    return frame


def found(frame: pd.DataFrame) -> list[Comparison]:
    return compare(frame, ROWS.names)


def test_one_comparison_per_family() -> None:
    names = [c.title for c in found(rows(parametrization=["mup", "sp"], width=[16, 32, 64]))]
    assert names == ["gdn adamw sp", "gdn adamw mup"]


def test_further_varying_fields_split() -> None:
    comparisons = found(rows(width=[16, 32, 64], batch_size=[4, 8, 16]))
    by_axis = {axis: [c.fixed for c in comparisons if c.axis == axis] for axis in ("width", "batch_size")}
    assert by_axis["width"] == [{"batch_size": 4}, {"batch_size": 8}, {"batch_size": 16}]
    assert by_axis["batch_size"] == [{"width": 16}, {"width": 32}, {"width": 64}]


def test_zipped_fields_do_not_split() -> None:
    frame = rows(width=[16, 32, 64])
    frame["head_dim"] = frame["width"] // 2
    (comparison,) = found(frame)
    assert comparison.fixed == {}
    assert len(comparison.drift.optima) == 3


def test_base_shape_of_mup_alone_does_not_split() -> None:
    frame = rows(parametrization=["mup", "sp"], width=[16, 32, 64])
    frame["base_width"] = frame["parametrization"].map({"mup": 16.0, "sp": np.nan})
    assert [c.fixed for c in found(frame)] == [{}, {}]


def test_imported_extras_do_not_split() -> None:
    frame = rows(width=[16, 32, 64])
    frame["wall_time"] = np.arange(len(frame))
    assert len(found(frame)) == 1


def test_other_hyperparameters_are_judged_when_swept() -> None:
    comparisons = found(rows(width=[16, 32, 64], weight_decay=[0.01, 0.1, 1.0]))
    assert {c.hyperparameter for c in comparisons} == {"learning_rate", "weight_decay"}
    assert len([c for c in comparisons if c.hyperparameter == "weight_decay"]) == 7


def test_axes_that_are_not_crossed_add_no_single_scales() -> None:
    """A width sweep at depth 2 beside a depth sweep at width 16."""
    wide, deep = rows(width=[16, 32, 64]), rows(width=[16], depth=[2, 4, 8])
    both = pd.concat([wide, deep]).drop_duplicates(["width", "depth", "learning_rate"])
    both["trial_id"] = [str(index) for index in range(len(both))]
    assert [(c.axis, c.fixed) for c in found(both)] == [("depth", {"width": 16}), ("width", {"depth": 2})]


def test_a_seed_that_is_missing_somewhere_shifts_nothing() -> None:
    frame = rows(width=[16], seed=[0, 1])
    frame["loss"] += frame["seed"] * 0.1
    full = frame[~((frame["seed"] == 1) & (frame["learning_rate"] > 2.0**-4.5))]
    (curve,) = curves_along(full, "width", "learning_rate")
    assert curve.x[np.argmin(curve.y)] == -5
    assert np.allclose(curve.y - curve.y.min(), 0.1 * (curve.x + 5) ** 2)


def test_a_single_scale_is_reported_as_inconclusive() -> None:
    (comparison,) = found(rows(width=[16]))
    assert (comparison.axis, comparison.drift.verdict) == ("width", "inconclusive")
    assert comparison.drift.optima[0].log2_optimum is not None


def test_scales_that_are_missing_or_zero_are_left_out() -> None:
    frame = rows(width=[16, 32, 64])
    frame["steps"] = np.where(frame["width"] == 16, np.nan, np.where(frame["width"] == 32, 0, 100))
    assert {c.axis for c in compare(frame, ROWS.names)} == {"width", "steps"}


def test_zipped_hyperparameters_do_not_split_each_other() -> None:
    frame = rows(width=[16, 32, 64])
    frame["weight_decay"] = 0.1 / frame["learning_rate"]
    (found,) = compare(frame, ROWS.names)
    assert (found.hyperparameter, found.fixed, len(found.drift.optima)) == ("learning_rate", {}, 3)


@pytest.mark.parametrize("grids", ["one value more", "its own"])
def test_zipped_hyperparameters_may_have_a_value_that_occurs_once(grids: str) -> None:
    """The largest model's grid goes one further; or each has its own, of values that never recur."""
    frame = rows(width=[16, 32, 64])
    if grids == "its own":
        frame["learning_rate"] *= frame["width"] ** -0.3
    else:
        least = frame["learning_rate"].min()
        frame = frame[(frame["learning_rate"] > least) | (frame["width"] == 64)]
    frame["weight_decay"] = 1e-4 / frame["learning_rate"]
    (found,) = compare(frame, ROWS.names)
    assert (found.hyperparameter, found.fixed, len(found.drift.optima)) == ("learning_rate", {}, 3)


def test_bars_and_penalties_are_told_in_any_unit() -> None:
    told = []
    for unit in (1e-9, 1.0, 1e6):
        frame = rows(width=[16, 32, 64])
        (comparison,) = found(frame.assign(loss=unit * frame["loss"]))
        bars = [sparkline(curve) for curve in comparison.drift.curves]
        told.append(bars)
        shown, _ = penalty(Estimate(2e-3 * unit, (0.0, 5e-3 * unit)))
        assert float(shown.replace("−", "-")) == pytest.approx(2e-3 * unit)
    assert told[0] == told[1] == told[2] == ["█▅▂▁▂▅█"] * 3


def test_bars_of_a_lone_loss() -> None:
    frame = rows(width=[16, 32])
    lost = frame["learning_rate"] > frame["learning_rate"].min()
    frame = frame.assign(loss=frame["loss"].mask(lost), status=np.where(lost, "diverged", "finished"))
    (comparison,) = found(frame)
    assert [sparkline(curve) for curve in comparison.drift.curves] == ["▁××××××"] * 2


def test_what_changes_with_the_scale_alone_is_said() -> None:
    """Half of the widths under one schedule and half under another: the drift may be the schedule's. What
    has another value at every scale, as the number of heads has, is a size."""
    frame = rows(width=[16, 32, 64, 128]).assign(schedule="cosine", corpus="c4")
    frame.loc[frame["width"] > 32, ["schedule", "corpus"]] = "linear", "pile"

    def told(pool: Sequence[str] = ()) -> list[str]:
        (comparison,) = compare(frame, ROWS.names, pool=pool)
        return [one for one in comparison.drift.reasons if "part of the slope" in one]

    (reason,) = told()
    assert reason.startswith("schedule, corpus: not the same at all scales")
    assert "--hold schedule=VALUE keeps one, --pool corpus says that this is meant" in reason
    assert "corpus" not in told(["corpus"])[0]
    # Sizes, measurements, and what somebody did not write down.
    frame = frame.drop(columns=["schedule", "corpus"])
    step = frame["width"].map({16: 1, 32: 2, 64: 2, 128: 3})
    frame = frame.assign(head_dim=8 * step, heads=step.astype(str), accuracy=0.1 * step)
    frame["data"] = frame["width"].map({16: "c4"})
    frame["curve"] = [np.ones(3)] * len(frame)  # of a table that was made in Python
    assert told() == []


@pytest.mark.parametrize("name", ["momentum", "weight_decay"])
def test_what_moves_along_with_the_hyperparameter_is_said(name: str) -> None:
    frame = rows(width=[16, 32, 64], optimizer=["sgd"])
    frame[name] = 10 * frame["learning_rate"]
    (comparison,) = found(frame)
    told = f"{name.replace('_', ' ')} moves along with the learning rate: the optimum is that of both"
    assert told in comparison.drift.reasons and comparison.fixed == {}


def test_points_of_a_search_that_were_stopped_early_did_not_diverge() -> None:
    frame = rows(width=[16])
    frame["status"] = ["finished", "pruned", "diverged", "pruned", *["finished"] * (len(frame) - 4)]
    frame.loc[frame["status"] != "finished", "loss"] = np.nan
    (cell,) = best_of_searches(frame, ["learning_rate"], ROWS.names)
    assert (cell.points, cell.diverged, cell.pruned) == (len(frame), 1, 2)
    (row,) = search_table([cell]).rows
    assert row[1] == f"{len(frame)}, 1 diverged, 2 stopped early"


def test_a_hyperparameter_that_some_rows_leave_empty_is_not_zipped() -> None:
    """Empty is a value as another: nothing says that those rows go on where the others end."""
    frame = rows(width=[16, 32, 64])
    frame["weight_decay"] = np.where(frame["learning_rate"] < 2.0**-5, 0.1 / frame["learning_rate"], np.nan)
    fixed = [c.fixed for c in compare(frame, ROWS.names) if c.hyperparameter == "learning_rate"]
    assert len(fixed) > 1 and all("weight_decay" in one for one in fixed)


def test_hyperparameters_drawn_at_random_are_not_zipped() -> None:
    """Each value of one has one of the other, too."""
    frame = rows(width=[16])
    frame["weight_decay"] = 0.01 * 2.0 ** np.array([3, 0, 5, 1, 6, 2, 4])[: len(frame)]
    assert {c.hyperparameter for c in compare(frame, ROWS.names)} == {"learning_rate", "weight_decay"}


def test_a_value_that_went_through_a_logarithm_is_the_same_value() -> None:
    frame = rows(width=[16])
    again = frame.assign(learning_rate=2.0 ** np.log2(frame["learning_rate"] * 3), seed=1)
    both = pd.concat([frame.assign(learning_rate=frame["learning_rate"] * 3), again])
    (curve,) = curves_along(both, "width", "learning_rate")
    assert len(curve.x) == frame["learning_rate"].nunique() and len(curve.seeds) == 2


def test_seeds_are_averaged_and_their_shift_is_not_noise() -> None:
    (curve,) = curves_along(rows(width=[16], seed=[0, 1, 2]), "width", "learning_rate")
    assert (len(curve.seeds), curve.trials) == (3, 21)
    assert min(curve.y) == 2.01
    assert np.abs(curve.scatter_SP).max() < 1e-12


def test_a_value_where_most_seeds_diverged_is_diverged() -> None:
    frame = rows(width=[16], seed=[0, 1, 2])
    frame.loc[(frame["learning_rate"] == 0.25) & (frame["seed"] < 2), ["status", "loss"]] = ("diverged", None)
    frame.loc[(frame["learning_rate"] == 2.0**-8) & (frame["seed"] < 1), ["status", "loss"]] = (
        "diverged",
        None,
    )
    (curve,) = curves_along(frame, "width", "learning_rate")
    assert np.isinf(curve.y[-1])
    assert np.isfinite(curve.y[0])
    assert curve.diverged == 3


def test_zero_has_no_place_on_a_log_axis() -> None:
    frame = rows(width=[16], learning_rate=[0.01], weight_decay=[0.0, 0.1, 0.2, 0.4])
    (curve,) = curves_along(frame, "width", "weight_decay")
    assert len(curve.x) == 3


def test_trials_at_zero_that_no_curve_has_are_named() -> None:
    frame = rows(width=[16, 32, 64], learning_rate=[0.01], weight_decay=[0.0, 0.1, 0.2, 0.4, 0.8])
    frame["loss"] = 2 + 0.1 * np.log2(frame["weight_decay"].replace(0, 0.2) / 0.2) ** 2
    lower = (frame["weight_decay"] == 0) & (frame["width"] > 16)
    frame.loc[frame["weight_decay"] == 0, "loss"] += 0.1
    frame.loc[lower, "loss"] -= 0.2
    (comparison,) = found(frame)
    said = "left out: 3 with a weight decay of 0, which has no logarithm; "
    said += "the lowest loss is theirs at scale 32, 64"
    assert comparison.drift.reasons[0] == said
    frame = frame[frame["weight_decay"] > 0]
    assert not any("logarithm" in reason for reason in found(frame)[0].drift.reasons)


def test_rows_older_than_a_column_stay_in_their_sweep() -> None:
    """A sweep that gained points after the schema gained columns is still one family."""
    files = Path(__file__).parent.parent / "benchmarks/evidence"
    rows = pd.read_parquet(files / "width-transformer-adamw.parquet")
    together = compare(rows, ROWS.names)
    older = rows.copy()
    low = older["learning_rate"] < 2.0**-5
    for name in ("decay", "nesterov", "matrices", "gamma", "curvature_every", "precondition_every"):
        older[name] = older[name].astype(object).mask(low, None)
    found = compare(older, ROWS.names)
    assert [c.fixed for c in found] == [{}, {}]
    assert [c.drift.slope for c in found] == [c.drift.slope for c in together]


def test_rows_of_an_older_recipe_are_compared_apart() -> None:
    """They trained something else at the same point; those without a version are of the first."""
    files = Path(__file__).parent.parent / "benchmarks/evidence"
    older = pd.read_parquet(files / "width-transformer-adamw.parquet").query("parametrization == 'mup'")
    newer = older.assign(recipe_version=2, trial_id="new " + older["trial_id"], loss=older["loss"] + 1)
    found = compare(pd.concat([older.assign(recipe_version=None), newer]), ROWS.names)
    assert [c.fixed for c in found] == [{"recipe_version": 1}, {"recipe_version": 2}]
    old, new = (c.drift.optima[0].loss for c in found)
    assert old is not None and new is not None
    assert new > old + 0.9


def test_a_default_that_has_changed_splits_no_sweep_that_does_not_read_it() -> None:
    files = Path(__file__).parent.parent / "benchmarks/evidence"
    rows = pd.read_parquet(files / "width-transformer-adamw.parquet").query("parametrization == 'mup'")
    low = rows["learning_rate"] < 2.0**-5
    found = compare(rows.assign(gamma=rows["gamma"].where(low, 0.7)), ROWS.names)
    assert [c.fixed for c in found] == [{}]
    # Of others' rows nothing is known.
    theirs = rows.assign(gamma=rows["gamma"].where(low, 0.7), source="table.csv")
    assert {c.fixed["gamma"] for c in compare(theirs, ROWS.names)} == {0.05, 0.7}
    # Nor of a program's, which may read what our optimizer of that name does not.
    program = rows.assign(gamma=rows["gamma"].where(low, 0.7), vocab_size=None)
    assert {c.fixed["gamma"] for c in compare(program, ROWS.names)} == {0.05, 0.7}
