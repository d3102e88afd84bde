"""What is said of a scale that was not trained, and of losses in whatever unit."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from test_drift import GRID, curve, family, parabola

from mutransfer.models.recipe.family import Family
from mutransfer.results.questions.comparison import Comparison
from mutransfer.results.report.contract import report_object
from mutransfer.results.statistics.curve import Curve, scale_name
from mutransfer.results.statistics.drift import judge
from mutransfer.results.statistics.prediction import predict


def write(path: Path, slope: float, factor: float = 1.0) -> None:
    rows = ["width,lr,loss"]
    for index, width in enumerate((32, 64, 128, 256)):
        losses = factor * (3 + 8 * width**-0.3 + 0.05 * (np.arange(-12, -4) + 8 - slope * index) ** 2)
        rows += [f"{width},{2.0**x},{loss}" for x, loss in zip(range(-12, -4), losses, strict=True)]
    path.write_text("\n".join(rows))


def test_a_stable_value_is_handed_over_with_what_the_line_says(tmp_path: Path, mutransfer: Command) -> None:
    """It moves by less than counts, and far beyond the scales that is more than the scales' own spread."""
    write(tmp_path / "p.csv", -0.15)
    handed = json.loads(mutransfer("export", "p.csv", "--target", "65536", "-f", "json").stdout)
    assert handed["evidence"]["comparison"]["verdict"] == "stable"
    low, high = np.log2(handed["hyperparameters"]["learning_rate_interval"])
    value = np.log2(handed["hyperparameters"]["learning_rate"])
    assert low <= -8 - 0.15 * 11 <= high and value == pytest.approx(-8.22, abs=0.05)
    line, cost = (one["text"] for one in handed["warnings"][1:3])
    assert line.startswith("width 65536: the line through the optima says 2^−9.7")
    assert "and 2^−8.2 is handed over" in line
    assert "what is handed over costs 0.1" in cost and "where 0.05 is allowed" in cost
    write(tmp_path / "flat.csv", 0.0)
    handed = json.loads(mutransfer("export", "flat.csv", "--target", "65536", "-f", "json").stdout)
    assert not [one for one in handed["warnings"] if "line" in one["text"]]


def with_wall(center: float, scale: float) -> Curve:
    """Diverges a little above its optimum."""
    y = 2 + 0.05 * (GRID - center) ** 2
    return curve(np.where(center + 0.6 > GRID, y, np.inf), scale=scale)


def test_where_the_transfer_has_diverged_it_does_at_the_target_too() -> None:
    drift = judge([with_wall(center, 32 * 2**i) for i, center in enumerate((-4.0, -5.0, -6.0, -7.0))])
    found = predict(drift, 2048)
    assert drift.penalty is not None and np.isinf(drift.penalty.value)
    assert found is not None and found.penalty is not None
    assert np.isinf(found.penalty.value) and found.penalty.interval[1] is None
    one = Comparison(Family(None, None, None), "width", "learning_rate", {}, drift)
    (told,) = report_object([one], target=2048)["comparisons"]
    assert told["penalty_at_target"] is None and told["diverges_at_target"] is True


def test_where_all_of_the_largest_scale_diverged_nothing_transfers_beyond() -> None:
    gone = curve(np.full(len(GRID), np.inf), scale=512)
    drift = judge([*family([-5.0] * 4), gone])
    beyond, within = predict(drift, 1024), predict(drift, 256)
    assert beyond is not None and beyond.penalty is not None and np.isinf(beyond.penalty.value)
    assert within is not None and within.penalty is not None and within.penalty.value < 0.01


def test_a_value_that_follows_the_line_costs_nothing_by_it(tmp_path: Path, mutransfer: Command) -> None:
    write(tmp_path / "p.csv", -1.0)
    handed = json.loads(mutransfer("export", "p.csv", "--target", "1024", "-f", "json").stdout)
    assert handed["evidence"]["comparison"]["verdict"] == "drifts"
    assert not [one for one in handed["warnings"] if "line" in one["text"]]


def test_where_nothing_moves_nothing_may_be_lost() -> None:
    noise = np.random.default_rng(0)
    curves = [curve(parabola(-5.0).y + noise.normal(0, 0.003, len(GRID)), scale=32 * 2**i) for i in range(4)]
    found = predict(judge(curves), 2048)
    assert found is not None and found.penalty is not None
    low, high = found.penalty.interval
    assert low == 0.0 and high is not None and 0 < high < 0.1


def test_the_exponent_of_forgiveness_has_no_unit() -> None:
    def told(factor: float) -> float:
        curves = [
            curve(factor * (2 + 0.05 * 2 ** (i / 2) * (GRID + 5) ** 2), scale=32 * 2**i) for i in range(4)
        ]
        metrics = judge(curves).metrics
        assert metrics is not None
        return metrics.robustness

    assert told(1.0) == pytest.approx(0.5, abs=0.02)
    assert [told(factor) for factor in (1e-8, 1e-3, 1e5)] == pytest.approx([told(1.0)] * 3, abs=1e-3)


def test_small_losses_keep_their_digits(tmp_path: Path, mutransfer: Command) -> None:
    """In JSON, in the tables of metrics and of one against the other."""
    write(tmp_path / "a.csv", -1.0, 1e-8)
    (found,) = json.loads(mutransfer("report", "a.csv", "--out", "x", "-f", "json").stdout)["comparisons"]
    write(tmp_path / "b.csv", -1.0)
    (plain,) = json.loads(mutransfer("report", "b.csv", "--out", "x", "-f", "json").stdout)["comparisons"]
    assert found["transfer_penalty"] == pytest.approx(1e-8 * plain["transfer_penalty"], rel=1e-3)
    assert found["optima"][0]["loss"] == pytest.approx(1e-8 * plain["optima"][0]["loss"], rel=1e-5)
    write(tmp_path / "flat.csv", 0.0, 1e-8)
    told = json.loads(mutransfer("compare", "a.csv", "flat.csv", "-f", "json").stdout)["contrasts"][0]
    assert told["penalty_difference"] == pytest.approx(-found["transfer_penalty"], rel=0.05)
    said = mutransfer("compare", "a.csv", "flat.csv").stdout
    assert "−0.000 [" not in said and "+0.000 [" not in said


@pytest.mark.parametrize(
    ("scale", "told"),
    [
        (1024, "1024"),
        (0.5, "0.5"),
        (59.2e6, "59.2M"),
        (1.3e9, "1.3B"),
        (7e12, "7T"),
        (123456, "123456"),
        (999_999.6, "1M"),
        (999_999_960, "1B"),
        (1_048_576, "1.04858M"),
        (2.56e20, "2.56e+20"),
    ],
)
def test_scales_as_they_are_written(scale: float, told: str) -> None:
    assert scale_name(scale) == told


def test_a_shift_that_is_sure_costs_at_the_target() -> None:
    found = predict(judge(family([-4.0, -4.5, -5.0, -5.5])), 2048)
    assert found is not None and found.penalty is not None and found.penalty.excludes_zero
