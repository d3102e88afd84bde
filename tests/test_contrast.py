"""One against the other, seed by seed; width and depth as a plane; the law of the best loss."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from test_choice import rows
from test_drift import GRID, curve, family, parabola

from mutransfer.models.recipe.recipe import Recipe
from mutransfer.results.questions.comparison import compare
from mutransfer.results.questions.contrast import contrasts
from mutransfer.results.questions.plane import MAX_INFLATION, _inflation, fit_plane, joint
from mutransfer.results.report.contract import compare_object
from mutransfer.results.report.tables import contrast_table
from mutransfer.results.statistics.drift import judge
from mutransfer.results.store.schema import ROWS


def noisy(recipe: Callable[..., Recipe], shift: float, offset: float, **changes: object) -> pd.DataFrame:
    """Three seeds whose common shifts are far larger than what tells the two sides apart."""
    generator = np.random.default_rng(0)
    parts = []
    for seed in range(3):
        frame = rows(recipe, [-5 + shift * i for i in range(4)], seed=seed, **changes)
        frame["loss"] += 0.3 * seed + offset + 0.002 * generator.standard_normal(len(frame))
        parts.append(frame)
    return pd.concat(parts)


def test_pairs_of_one_report(recipe: Callable[..., Recipe]) -> None:
    both = pd.concat([noisy(recipe, -1, 0.0, parametrization="sp"), noisy(recipe, 0, -0.02)])
    (found,) = contrasts(compare(both.reset_index(drop=True), ROWS.names))
    assert (found.first.family.parametrization, found.second.family.parametrization) == ("sp", "mup")
    assert (found.differs, found.better) == (("parametrization",), "second")
    assert found.drift is not None and found.drift.value == pytest.approx(-1, abs=0.05)
    assert found.penalty is not None and found.penalty.excludes_zero
    for loss in found.losses:
        assert loss.pairs == 3
        # The seeds' shifts of 0.3 nats cancel: 0.02 nats are told apart.
        assert loss.difference.value == pytest.approx(-0.02, abs=0.005)
        low, high = loss.difference.interval
        assert low is not None and high is not None and high < 0 and high - low < 0.04
    entry = compare_object([found], ["one"])["contrasts"][0]
    assert entry["better"] == "second" and entry["losses"][0]["scale"] == 8


def test_penalties_are_compared_over_the_scales_that_both_have(recipe: Callable[..., Recipe]) -> None:
    """Both move alike; one was measured over two doublings more, over which its transfer costs more."""
    far = rows(recipe, [-5 - 0.5 * i for i in range(6)])
    near = rows(recipe, [-5 - 0.5 * i for i in range(6)], parametrization="sp")
    both = compare(pd.concat([far, near[near["width"] <= 64]], ignore_index=True), ROWS.names)
    (found,) = contrasts(both)
    penalties = [one.drift.penalty for one in (found.first, found.second)]
    assert None not in penalties and abs(np.diff([one.value for one in penalties if one])[0]) > 0.05
    assert found.penalty is not None and abs(found.penalty.value) < 0.002
    assert (found.better, found.alike) == (None, True)


def test_what_is_not_known_to_be_alike_is_open(recipe: Callable[..., Recipe]) -> None:
    frames = [noisy(recipe, 0, 0.0, parametrization="sp"), noisy(recipe, 0, 0.0)]
    generator = np.random.default_rng(1)
    for frame in frames:
        frame["loss"] += 0.4 * generator.standard_normal(len(frame))
    (found,) = contrasts(compare(pd.concat(frames, ignore_index=True), ROWS.names))
    assert (found.better, found.alike) == (None, False)
    assert compare_object([found], ["one"])["contrasts"][0]["alike"] is False
    (row,) = contrast_table([found]).rows
    assert row[1] == "open"
    one_scale = [frame[frame["width"] == 8] for frame in frames]
    for found in contrasts(compare(pd.concat(one_scale, ignore_index=True), ROWS.names)):
        assert contrast_table([found]).rows[0][1] == "–"


def test_two_sweeps_are_matched_to_the_closest(recipe: Callable[..., Recipe]) -> None:
    first = compare(rows(recipe, [-5] * 4), ROWS.names)
    second = compare(
        pd.concat([rows(recipe, [-5] * 4), rows(recipe, [-5] * 4, parametrization="sp")], ignore_index=True),
        ROWS.names,
    )
    (found,) = contrasts(first, second)
    assert (found.second.family.parametrization, found.differs, found.better) == ("mup", ("sweep",), None)
    assert found.penalty is not None and not found.penalty.excludes_zero


def grid(recipe: Callable[..., Recipe], width_slope: float, depth_slope: float) -> pd.DataFrame:
    parts = [
        rows(recipe, [-5 + width_slope * i + depth_slope * np.log2(depth) for i in range(3)], depth=depth)
        for depth in (1, 2, 4)
    ]
    return pd.concat(parts, ignore_index=True)


def test_a_plane_over_width_and_depth(recipe: Callable[..., Recipe]) -> None:
    (found,) = joint(grid(recipe, -0.5, 0.25), ROWS.names)
    slopes = {axis: slope.value for axis, slope in found.plane.slopes.items()}
    assert slopes == pytest.approx({"width": -0.5, "depth": 0.25}, abs=5e-3)
    assert found.plane.misfit == pytest.approx(0, abs=0.005)
    assert len(found.plane.cells) == 9
    assert found.plane.penalty is not None


def test_no_plane_without_two_directions(recipe: Callable[..., Recipe]) -> None:
    assert joint(rows(recipe, [-5] * 4), ROWS.names) == []
    diagonal = pd.concat([rows(recipe, [-5], depth=1), rows(recipe, [-5, -5], depth=2).iloc[9:]])
    assert joint(diagonal.reset_index(drop=True), ROWS.names) == []


def test_depths_that_nearly_follow_the_width_make_no_plane() -> None:
    """256 x 4, 512 x 8, 1024 x 12, 2048 x 20: a slope for each would be of the misfit alone."""
    assert _inflation([(256, 4), (512, 8), (1024, 12), (2048, 20)]) > MAX_INFLATION
    assert _inflation([(256, 4), (512, 8), (512, 4), (1024, 8)]) < 2.5
    assert _inflation([(256, 4), (256, 8)]) == np.inf
    sizes = [(256, 4), (512, 8), (1024, 12), (2048, 20)]
    curves = {size: parabola(-5.0 - index / 2) for index, size in enumerate(sizes)}
    lost = curve(np.full(len(GRID), np.inf))
    assert fit_plane(curves) is None
    assert fit_plane({**curves, (256, 20): lost, (2048, 4): lost}) is None  # which tell nothing of the two
    crossed = {size: parabola(-5.0) for size in [(256, 4), (512, 8), (512, 4), (256, 8)]}
    assert fit_plane(crossed) is not None


def test_the_law_of_the_best_loss() -> None:
    """loss = 2 + 0.8 * (scale / 16)^-0.5, curvature growing as the square root of the scale."""
    curves = [
        parabola(-5, floor=2 + 0.8 * 2 ** (-0.5 * i), curvature=0.1 * 2 ** (0.5 * i), scale=16.0 * 2**i)
        for i in range(5)
    ]
    drift = judge(curves)
    assert drift.metrics is not None and drift.metrics.law is not None
    law = drift.metrics.law
    assert law.asymptote == pytest.approx(2, abs=0.01)
    assert law.amplitude == pytest.approx(0.8, abs=0.01)
    assert law.exponent == pytest.approx(0.5, abs=0.02)
    assert drift.metrics.robustness == pytest.approx(0.5, abs=0.1)
    assert drift.metrics.fit_error == pytest.approx(0, abs=0.02)


def test_the_fit_error_is_of_scales_left_out() -> None:
    metrics = judge(family([-5, -5, -6, -5])).metrics
    assert metrics is not None and metrics.fit_error > 0.5


def test_a_spike_is_left_out_and_named() -> None:
    y = 2 + 0.1 * (GRID + 5) ** 2
    y[GRID == -6] += 1.0
    drift = judge([*family([-5, -5]), curve(y, scale=64)])
    assert drift.optima[2].log2_optimum == pytest.approx(-5, abs=0.05)
    assert "scale 64: the loss spikes at 2^-6; left out" in drift.reasons
    assert not any("lowest loss" in reason for reason in drift.reasons)


@pytest.mark.parametrize(("at", "told"), [(-9, True), (-2, True), (-4, False), (-5, False)])
def test_a_lone_lowest_loss_stays_and_is_named(at: float, told: bool) -> None:
    """Not where the next lowest is beside it: that is what a valley looks like. What lies between a lone
    lowest loss and the valley is no spike."""
    y = 2 + 0.1 * (GRID + 5) ** 2
    y[at == GRID] = 1.0
    drift = judge([*family([-5, -5]), curve(y, scale=64)])
    assert not any("spikes" in reason for reason in drift.reasons)
    assert drift.optima[2].loss is not None and drift.optima[2].loss < 2
    assert any(f"scale 64: the lowest loss, at 2^{at}, " in reason for reason in drift.reasons) == told


def test_families_without_a_seed_in_common_are_compared_unpaired(recipe: Callable[..., Recipe]) -> None:
    one, other = rows(recipe, [-5] * 4), rows(recipe, [-5] * 4, optimizer="lion", seed=1)
    (found,) = contrasts(compare(pd.concat([one, other], ignore_index=True), ROWS.names))
    assert [loss.pairs for loss in found.losses] == [0] * 4
