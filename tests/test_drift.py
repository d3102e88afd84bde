"""Optimum, slope, penalty and verdict: exact cases, laws, published tables, synthetic calibration."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mutransfer.models.recipe.family import Family
from mutransfer.results.questions.comparison import Comparison, compare
from mutransfer.results.questions.wanted import reach
from mutransfer.results.report.contract import comparison_object, report_object
from mutransfer.results.sources.importing import read_measurements
from mutransfer.results.statistics.curve import Curve, curve_of
from mutransfer.results.statistics.drift import judge
from mutransfer.results.statistics.optimum import Fit, fit_family
from mutransfer.results.statistics.penalty import _lost
from mutransfer.results.statistics.prediction import predict
from mutransfer.results.statistics.tolerance import Tolerance, allowed
from mutransfer.results.statistics.walls import meeting
from mutransfer.results.store.schema import ROWS

PUBLISHED = Path(__file__).parent / "published"
GRID = np.arange(-10.0, -1.0)


def parabola(
    center: float, *, curvature: float = 0.1, floor: float = 2.0, scale: float = 32, x: np.ndarray = GRID
) -> Curve:
    return curve(floor + curvature * (x - center) ** 2, scale=scale, x=x)


def curve(y: np.ndarray, *, scale: float = 32, x: np.ndarray = GRID) -> Curve:
    diverged = ~np.isfinite(y)
    return curve_of(scale, x, np.zeros(1), np.where(diverged, np.nan, y)[None], diverged[None])


def fit_optimum(curve: Curve) -> Fit:
    (fit,) = fit_family([curve]).fits
    return fit


def family(centers: Sequence[float], **options: float) -> list[Curve]:
    return [parabola(center, scale=16.0 * 2**i, **options) for i, center in enumerate(centers)]  # type: ignore[arg-type]


def test_the_vertex_of_an_exact_parabola() -> None:
    fit = fit_optimum(parabola(-5.3))
    assert fit.status == "ok"
    assert fit.vertex == pytest.approx(-5.3, abs=0.03)
    assert fit.loss == pytest.approx(2.0, abs=0.002)


def test_the_tolerance_does_not_jump_where_losses_hardly_fall() -> None:
    """The third of four scales' best losses rises above the second's: 0 to 0.05 nats, of 0.06 in three
    doublings, a quarter of which each is 0.005."""
    bumps = np.arange(0.0, 0.0501, 0.0005)
    told = []
    for bump in bumps:
        losses = (2.06, 2.03, 2.03 + bump, 2.0)
        curves = [parabola(-5, floor=loss, scale=16.0 * 2**i) for i, loss in enumerate(losses)]
        fits = [replace(fit, loss=loss) for fit, loss in zip(fit_family(curves).fits, losses, strict=True)]
        told.append(allowed(fits, Tolerance()).loss)
    assert told == pytest.approx(0.005 + np.clip(bumps / 0.005 - 1, 0, 1) * 0.045)
    level = fit_family(family([-5, -5, -5, -5])).fits
    for doublings in (0.0, 0.25, np.inf):
        assert allowed(level, Tolerance(doublings=doublings)).loss in (0.0, 0.05)


def test_slope_and_penalty_of_exact_curves() -> None:
    """Centers -4, -5, -6, -7: slope -1, shift -3; the small half says -4.5, which costs 0.1 * 2.5^2."""
    drift = judge(family([-4, -5, -6, -7]))
    assert drift.slope is not None and drift.shift is not None and drift.transfer is not None
    assert drift.slope.value == pytest.approx(-1, abs=0.02)
    assert drift.shift.value == pytest.approx(-3, abs=0.05)
    assert drift.transfer.chosen == pytest.approx(-4.5, abs=0.03)
    assert drift.transfer.estimate.value == pytest.approx(0.625, abs=0.02)
    assert drift.smallest_penalty is not None
    assert drift.smallest_penalty.value == pytest.approx(0.9, abs=0.02)
    assert drift.verdict == "drifts"


def test_equal_curves_are_stable() -> None:
    drift = judge(family([-5, -5, -5, -5]))
    assert drift.verdict == "stable"
    assert drift.slope is not None
    assert drift.slope.value == pytest.approx(0, abs=0.01)
    assert drift.penalty is not None and drift.penalty.interval[1] is not None
    assert 0 < drift.penalty.interval[1] < 0.01  # noise is never taken as zero


def test_an_optimum_at_the_edge_is_only_bounded() -> None:
    fit = fit_optimum(parabola(-12.0))
    assert (fit.status, fit.edge, fit.vertex) == ("at_edge", "low", -10.0)
    drift = judge([*family([-5, -5, -5]), parabola(-12.0, scale=128)])
    assert drift.optima[3].interval == (None, -9.0)
    assert any("scale 128: the optimum is at the lowest value of the grid" in r for r in drift.reasons)


def test_a_bounded_optimum_takes_part_in_the_slope() -> None:
    """Centers 1, 0 and -1 lie beyond the grid, which ends at -2: the line through the others may pass there,
    and a line that says they were at -2 may not."""
    drift = judge(family([1, 0, -1, -3, -4, -5]))
    assert [optimum.status for optimum in drift.optima] == ["at_edge"] * 3 + ["ok"] * 3
    assert drift.slope is not None and drift.slope.value == pytest.approx(-1, abs=0.1)
    low = judge(family([-9.3, -9.3, -13]))  # at the edge where two others see no movement
    assert low.slope is not None and low.slope.value < -0.2


def test_who_tunes_at_the_edge_transfers_the_edge() -> None:
    """The small scales' best is the grid's last value, -2, which costs 0.1 * 4^2 at the largest."""
    drift = judge(family([-1, -1, -1, -4, -5, -6]))
    assert drift.transfer is not None and drift.transfer.chosen == pytest.approx(-2, abs=0.1)
    assert drift.transfer.estimate.value == pytest.approx(1.6, abs=0.15)
    assert drift.verdict == "drifts"


def test_drift_into_the_edge_still_drifts() -> None:
    """The largest scale's own minimum is beyond the grid, so the penalty is at least what is seen."""
    drift = judge([*family([-4, -6, -8]), parabola(-12.0, scale=128)])
    assert drift.penalty is not None and drift.penalty.interval[1] is None
    assert drift.verdict == "drifts"


def test_where_everything_diverged_nothing_transfers() -> None:
    drift = judge([*family([-5, -5, -5]), curve(np.full(9, np.inf), scale=128)])
    last = drift.optima[3]
    assert (last.status, last.log2_optimum, last.loss, last.interval) == ("all_diverged", None, None, None)
    assert drift.penalty is not None and drift.penalty.value == np.inf
    assert drift.verdict == "drifts"
    assert "scale 128: every trial diverged; add lower values" in drift.reasons
    comparison = Comparison(Family(None, None, None), "width", "learning_rate", {}, drift)
    json.dumps(comparison_object(comparison), allow_nan=False)  # raises for an infinite number


def test_transferring_into_divergence_is_drift() -> None:
    """The small scales' choice diverges at the largest."""
    y = parabola(-8.0).y.copy()
    y[GRID > -6.5] = np.inf
    drift = judge([*family([-4, -5.3, -6.7]), curve(y, scale=128)])
    assert drift.penalty is not None and drift.penalty.value == np.inf
    assert drift.verdict == "drifts"


def test_a_hole_of_divergence_is_not_bridged() -> None:
    """The transferred value diverges at the largest scale, though values on both sides of it do not."""
    y = parabola(-7.0, curvature=0.02).y.copy()
    y[GRID == -6.0] = np.inf
    drift = judge([*family([-6, -6, -6.2], curvature=0.02), curve(y, scale=128)])
    assert drift.penalty is not None and drift.penalty.interval[1] is None
    assert drift.verdict != "stable"


def test_an_asymmetric_cliff_keeps_the_optimum_inside_its_cell() -> None:
    y = np.array([4.0, 3.5, 3.0, 2.5, 2.2, 2.1, np.inf, np.inf, np.inf])
    fit = fit_optimum(curve(y))
    assert fit.status == "ok"
    assert fit.vertex is not None and -6.0 <= fit.vertex <= -4.0


def test_an_optimum_beside_divergence_is_not_known_exactly() -> None:
    """Losses fall straight into a cliff: the optimum lies between the last value and what diverged."""
    cliffs = [
        curve(np.where(-5 + shift < GRID, np.inf, 4 - 0.3 * (GRID - shift)), scale=16.0 * 2**i)
        for i, shift in enumerate((0, 0, -1, -1))
    ]
    drift = judge(cliffs)
    assert drift.optima[0].interval is not None
    assert drift.optima[0].interval[1] == -4  # up to the value that diverged
    assert drift.slope is not None
    low, high = drift.slope.interval
    assert low is not None and high is not None and high - low > 0.3
    assert np.isfinite(drift.slope.value)
    # The smaller half's value, beyond -5, diverges at the larger half.
    assert drift.penalty is not None and drift.penalty.interval[1] is None


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_scales_are_inconclusive(count: int) -> None:
    drift = judge(family([-4, -8][:count]))
    assert drift.verdict == "inconclusive"
    assert drift.reasons[0] == f"{count} usable scale{'s' * (count > 1)}; at least 3 are needed"


def test_scales_that_all_diverged_are_no_usable_ones() -> None:
    gone = [curve(np.full(9, np.inf), scale=scale) for scale in (16, 32, 64)]
    assert judge(gone).reasons[0] == "0 usable scales; at least 3 are needed"
    assert judge([parabola(-5, scale=8), gone[0]]).reasons[0] == "2 usable scales; at least 3 are needed"


def test_a_flat_curve_is_no_reason_for_a_wider_grid() -> None:
    """Its lowest loss is at the end of the grid, and all others are within what a transfer may cost."""
    flat = curve(np.linspace(2.0, 2.01, 9), scale=128)
    (reason,) = [one for one in judge([*family([-5, -5, -5]), flat]).reasons if "scale 128" in one]
    assert (
        reason == "scale 128: the loss differs by 0.01 over the whole grid, no more than a transfer may cost"
    )
    steep = curve(np.linspace(2.0, 2.9, 9), scale=128)
    assert any("lowest value of the grid; extend it" in one for one in judge([*family([-5]), steep]).reasons)


def test_too_few_points() -> None:
    fit = fit_optimum(curve(np.array([np.inf, 2.0, np.inf]), x=GRID[:3]))
    assert fit.status == "too_few"


def corner(optimum: float, left: float, right: float, x: np.ndarray = GRID) -> Curve:
    return curve(2.0 + np.where(x < optimum, left * (optimum - x), right * (x - optimum)), x=x)


def test_walls_that_meet_are_held_by_the_interval() -> None:
    """Exactly where two straight ones do; where a parabola has no corner it stays as narrow as it was."""
    held = meeting(corner(-4.7, 0.04, 0.3), noise=1e-4)
    assert held is not None and held == pytest.approx((-4.7, -4.7), abs=0.03)
    assert held[0] <= -4.7 <= held[1]
    halves = meeting(curve(2.0 + np.where(GRID < -4.7, 0.03, 0.09) * (GRID + 4.7) ** 2), noise=1e-4)
    assert halves is not None and halves == pytest.approx((-4.7, -4.7), abs=0.03)
    assert meeting(parabola(-5.3), noise=1e-3) == pytest.approx((-5.3, -5.3), abs=0.05)
    assert meeting(corner(-9.8, 0.04, 0.3), noise=1e-4) is None  # a lone value to the left


def test_where_walls_meet_does_not_hang_on_rounding() -> None:
    """Two lowest values that are equal, or differ by a hair, either way."""
    y = np.array([3.0, 2.6, 2.2, 2.0, 2.0, 2.5, 3.1, 3.9, 4.5])
    found = []
    for hair in (0.0, 1e-9, -1e-9):
        y[4] = 2.0 + hair
        found.append(meeting(curve(y, x=np.arange(-8.0, 1.0)), noise=0.05))
    assert found[0] is not None
    assert found[1] == pytest.approx(found[0], abs=1e-6) and found[2] == pytest.approx(found[0], abs=1e-6)


def test_two_values_beside_divergence_enclose_an_optimum() -> None:
    fit = fit_optimum(curve(np.array([2.1, 2.0, np.inf]), x=GRID[:3]))
    assert fit.status == "ok" and fit.vertex is not None and GRID[0] < fit.vertex < GRID[2]


def test_what_follows_at_the_large_runs_scale() -> None:
    """Centers -4 to -5.5 at 16 to 128, half an octave per doubling: -7 at 1024, 2.75 octaves below what the
    small half says."""
    found = predict(judge(family([-4, -4.5, -5, -5.5])), 1024)
    assert found is not None and found.penalty is not None
    assert found.log2_optimum.value == pytest.approx(-7, abs=0.05)
    assert found.penalty.value == pytest.approx(0.1 * 2.75**2, abs=0.03)
    low, high = found.log2_optimum.interval
    assert low is not None and high is not None and low <= -7 <= high and high - low < 0.5


def test_moving_far_at_little_cost_shifts() -> None:
    drift = judge(family([-4, -4.5, -5, -5.5], curvature=0.004))
    assert drift.verdict == "shifts"
    assert (drift.questions["moves"].answer, drift.questions["costs"].answer) == ("yes", "no")


def published(name: str) -> Comparison:
    (path,) = PUBLISHED.glob(f"*{name}*.csv")
    (found,) = compare(read_measurements(path).to_pandas(), ROWS.names)
    return found


@pytest.mark.parametrize(
    ("table", "axis", "verdict"),
    [
        ("table15", "width", "drifts"),
        ("table16", "width", "stable"),
        ("table17", "depth", "stable"),
        ("table18", "depth", "stable"),
        ("table19", "depth", "drifts"),
        ("table26", "width", "drifts"),
    ],
)
def test_published_tables_get_their_authors_verdicts(table: str, axis: str, verdict: str) -> None:
    found = published(table)
    assert (found.axis, found.drift.verdict) == (axis, verdict)


def test_published_figures() -> None:
    """Slopes and regrets of the same tables, worked out elsewhere with other estimators."""
    expected = {
        "table15": (-0.63, (1.7, 2.8)),
        "table16": (-0.19, (0.0, 0.05)),
        "table18": (-0.08, (0.0, 0.05)),
        "table19": (0.37, (0.09, 0.36)),
    }
    for table, (slope, (least, most)) in expected.items():
        drift = published(table).drift
        assert drift.slope is not None
        assert drift.slope.value == pytest.approx(slope, abs=0.1)
        # From the base scale's argmin to the smaller half's mean, whichever says what is transferred.
        assert drift.penalty is not None and least <= drift.penalty.value <= most


def test_the_json_contract() -> None:
    entry = report_object([published("table15")])["comparisons"][0]
    assert list(entry) == [
        "architecture", "optimizer", "parametrization", "axis", "hyperparameter", "fixed", "optima",
        "slope_per_doubling", "slope_interval", "total_shift", "total_shift_interval",
        "transfer_penalty", "transfer_penalty_interval", "penalty_from_smallest",
        "penalty_from_smallest_interval", "noise_nats", "metrics", "verdict", "moves", "costs", "tolerance",
        "reasons",
    ]  # fmt: skip
    assert (entry["architecture"], entry["optimizer"], entry["axis"]) == (None, "muon-kimi", "width")
    assert [optimum["scale"] for optimum in entry["optima"]] == [128, 256, 512, 1024, 2048, 4096]
    assert set(entry["optima"][0]) == {
        "scale", "status", "log2_optimum", "interval", "loss", "at_edge", "trials", "diverged", "accuracy",
        "busiest_expert",
    }  # fmt: skip


def test_the_penalty_does_not_hang_on_the_rounding_of_the_value_transferred() -> None:
    """At the last value before divergence, and at a diverged one."""
    y = parabola(-5.0).y.copy()
    y[GRID > -3.0] = np.inf
    fit = judge([parabola(-5.0), curve(y, scale=64)]).fitted.fits[-1]
    for value in (-3.0, -2.0):
        found = [_lost(fit, value + nudge) for nudge in (-1e-12, 0.0, 1e-12)]
        assert [lost for lost, *_ in found] == pytest.approx([found[1][0]] * 3, abs=1e-9)
        assert len({bool(np.isfinite(most_R).all()) for *_, most_R in found}) == 1


@pytest.mark.parametrize(
    ("value", "loss"), [(-10.0, 4.0), (-10.0, 9.0), (-9.0, 4.0), (-9.0, 9.0), (-7.0, 9.0)]
)
def test_a_run_that_crashed_and_ended_finite_says_nothing_of_the_other_runs(
    value: float, loss: float
) -> None:
    """One of two seeds: its value is left out, or taken for diverged, and so is what it says of its seed."""
    x = np.arange(-13.0, -6.0)
    curves = []
    for index, scale in enumerate((128.0, 256.0, 512.0, 1024.0)):
        rank = np.arange(len(x))
        noise = [0.002 * ((rank + 3 * index + 5 * seed) % 3 - 1) for seed in range(2)]
        runs = 3.6 - 0.2 * index + 0.02 * (x + 10) ** 2 + np.stack(noise)
        if scale == 1024:
            runs[1, x == value] = loss
        curves.append(curve_of(scale, x, np.arange(2.0), runs, np.zeros(runs.shape, dtype=bool)))
    drift = judge(curves)
    assert drift.verdict == "stable" and drift.noise is not None and drift.noise < 0.004
    assert all(reach(optimum) <= 0.15 for optimum in drift.optima)


def test_what_collapses_ends_where_nothing_is_learned() -> None:
    """At the height of rates that are too low to learn: with those, or without, it is told."""
    x = np.arange(-10.0, 2.0)
    curves = []
    for index, scale in enumerate((64.0, 128.0, 256.0, 512.0)):
        u = x + 4
        loss = np.where(u < 2, np.minimum(90, 8 - 0.5 * index + 3 * u**2), 90.0)
        curves.append(curve(loss + 0.01 * ((7 * x + 3 * index) % 3 - 1), x=x, scale=scale))
    whole = judge(curves, Tolerance(1.0))
    assert whole.verdict == "stable" and "blew up at 2^-2, 2^-1, 2^0, 2^1" in whole.reasons[0]
    for optimum in whole.optima:
        assert optimum.log2_optimum == pytest.approx(-4, abs=0.06) and reach(optimum) <= 0.25


def test_rates_too_low_to_learn_did_not_blow_up() -> None:
    """Although they all end alike, higher than anything else."""
    losses = np.array([2.303, 2.303, 2.302, 0.15, 0.05, 0.07, 0.12, 0.4, 1.2, 2.5])
    x = np.arange(-12.0, -2.0)
    curves = [
        curve(np.where(losses < 2, losses - 0.005 * i, losses), x=x, scale=64.0 * 2**i) for i in range(4)
    ]
    assert all(not one.blown for one in judge(curves).curves)


def test_optima_that_bend_are_said() -> None:
    """Three doublings at -0.6, then none; a line of as many scales does not bend."""
    bent = judge(family([-4, -4.6, -5.2, -5.8, -5.8, -5.8, -5.8]))
    (told,) = (reason for reason in bent.reasons if "bend" in reason)
    assert told.startswith("the optima bend: −0.6") and "up to 128, +0.0" in told
    for slope in (0.0, -0.4):
        straight = judge(family([-4 + slope * i for i in range(7)]))
        assert not any("bend" in reason for reason in straight.reasons)


def test_curves_that_are_peaks_are_asked_about() -> None:
    """Scores that somebody took for losses; and a valley, or a curve that ends at an edge, is none."""
    family_ = family([-5, -5.1, -5.2])
    upside_down = [curve(-one.y, scale=one.scale) for one in family_]
    assert any("are highest inside, and lowest at an end" in told for told in judge(upside_down).reasons)
    saturates = np.array([3.05, 4.37, 6.4, 8.43, 9.75, 10.38, 10.64, 10.74, 10.7])
    edges = [curve(saturates, scale=one.scale) for one in family_]
    assert not any("highest inside" in told for told in judge(edges).reasons)
    edges = [curve(np.log(2.0 + np.arange(len(one.y))), scale=one.scale) for one in family_]
    for curves in (family_, edges):
        assert not any("highest inside" in told for told in judge(curves).reasons)


@pytest.mark.parametrize("ends", ["diverged", "grid"])
@pytest.mark.parametrize("noise", [0.0003, 0.001])
def test_two_lowest_that_tie_beside_the_last_value_make_no_blow_up(noise: float, ends: str) -> None:
    """The optimum is between the last two finite values, of the same loss at all scales but for noise: what
    the lone neighbour is above the lowest is noise, and tells nothing of the steps on the other side."""
    x = np.arange(-13.0, -3.0)
    curves = []
    for index in range(4):
        losses = 3 - 0.1 * index + 0.06 * (x + 8.5) ** 2 + noise * ((7 * x + 3 * index) % 5 - 2) / 2
        losses, at = (np.where(x > -8, np.inf, losses), x) if ends == "diverged" else (losses[:6], x[:6])
        curves.append(curve(losses, x=at, scale=64.0 * 2**index))
    drift = judge(curves)
    assert all(not one.blown for one in drift.curves)
    if ends == "diverged":
        assert drift.verdict == "stable"


def test_a_tolerance_without_bound_leaves_the_share_of_a_doubling() -> None:
    curves = [parabola(-5 - i, curvature=0.02, floor=3 - 0.1 * i, scale=64.0 * 2**i) for i in range(4)]
    drift = judge(curves, Tolerance(nats=np.inf))
    assert drift.allowed.loss == pytest.approx(0.025, rel=0.05) and drift.verdict == "drifts"


def test_losses_that_fall_by_luck_do_not_fall() -> None:
    """By a share of the error that they are known to; what is allowed goes over by degrees."""
    noise = 0.002 * np.random.default_rng(3).standard_normal((3, len(GRID)))
    curves = [curve(3 + 0.02 * (GRID + 5) ** 2 + noise[i], scale=128.0 * 2**i) for i in range(3)]
    fits = fit_family(curves).fits
    error = float(np.hypot(fits[0].loss_R.std(), fits[-1].loss_R.std()))
    told = []
    for fall in (0.1, 0.25, 0.375, 0.5, 1.0):
        losses = np.array([3.0, 3.0 - fall * error / 2, 3.0 - fall * error])
        known = [replace(fit, loss=float(loss)) for fit, loss in zip(fits, losses, strict=True)]
        told.append(allowed(known, Tolerance()))
    assert [one.doubling is None for one in told] == [True, True, False, False, False]
    price = 0.375 * error / 2
    assert [one.loss for one in told] == pytest.approx(
        [0.05, 0.05, (0.05 + price) / 2, 0.5 * error / 2, error / 2]
    )


def test_what_diverged_between_values_that_did_not_is_said() -> None:
    gone = parabola(-5, scale=64)
    place = gone.lowest
    hole = curve(np.where(np.arange(len(gone.y)) == place, np.inf, gone.y), scale=64)
    reasons = judge([*family([-5, -5]), hole]).reasons
    told = f"scale 64: diverged at 2^{gone.x[place]:g}, between values that did not; a further seed tells"
    assert any(reason.startswith(told) for reason in reasons)


def test_three_values_of_one_run_each_tell_no_noise() -> None:
    x = np.array([-12.0, -10.0, -8.0])
    curves = [curve(np.array([3.6, 3.4, 3.6]) - 0.2 * i, x=x, scale=128.0 * 2**i) for i in range(4)]
    assert "3 values a scale, of one run each, tell no noise; add values or seeds" in judge(curves).reasons


@pytest.mark.parametrize("values", [1, 2])
def test_a_training_at_a_new_scale_takes_no_verdict_back(values: int) -> None:
    curves = family([-5.0, -5.0, -5.0, -5.0])
    assert judge(curves).verdict == "stable"
    grid = GRID[4 : 4 + values] + 1.0
    more = parabola(-5.0, scale=256, x=grid, floor=1.99)
    drift = judge([*curves, more])
    assert drift.verdict == "inconclusive"
    told = "one value" if values == 1 else "2 values"
    assert drift.reasons[0] == f"open by the {told} at scale 256; up to scale 128: stable"
    assert "up to scale" not in judge(curves[:2]).reasons[0]
    broken = curve(np.where(GRID < -7, more.y.min() + 0.1 * (GRID + 9) ** 2, np.inf), scale=256)
    assert not any("up to scale" in reason for reason in judge([*curves, broken]).reasons)  # all were tried
