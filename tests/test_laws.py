"""The estimator knows no unit: what may be done to losses and grids without changing what is said of them."""

from collections.abc import Callable

import numpy as np
import pytest
from synthetic import DENSE, FINE, Truth, draw

from mutransfer.results.statistics.curve import Curve, curve_of
from mutransfer.results.statistics.drift import Drift, judge
from mutransfer.results.statistics.interval import POSITION_OCTAVES
from mutransfer.results.statistics.tolerance import Tolerance

TRUTHS = (
    Truth(slope=-0.3, grid=tuple(FINE), noise=0.003, seeds=2),
    Truth(shape="steepening", noise=0.01, diverges_at=1.5),
    Truth(shape="straight_walls", slope=-1, seeds=3, noise=0.005),
)


def curves_of(truth: Truth, change: Callable[[Curve], Curve] = lambda curve: curve) -> list[Curve]:
    return [change(curve) for curve in draw(truth, np.random.default_rng(0)).curves]


def remade(curve: Curve, losses: np.ndarray, x: np.ndarray) -> Curve:
    order = np.argsort(x)
    diverged = np.broadcast_to(curve.failed > 0, losses.shape)
    return curve_of(curve.scale, x[order], curve.seeds, losses[:, order], diverged[:, order])


def told(drift: Drift) -> list[float]:
    """Optima, their intervals, slope and its interval: all in octaves."""
    found = [value for o in drift.optima for value in (o.log2_optimum, *(o.interval or (None, None)))]
    assert drift.slope is not None
    found += [drift.slope.value, *drift.slope.interval]
    return [np.nan if value is None else value for value in found]


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize(("factor", "shift"), [(100.0, 0.0), (1 / 700, 0.0), (1.0, 5.0), (2.5, -40.0)])
def test_another_unit_says_the_same(truth: Truth, factor: float, shift: float) -> None:
    one = judge(curves_of(truth))
    other = judge(
        curves_of(truth, lambda c: remade(c, factor * c.losses_SP + shift, c.x)), Tolerance(0.05 * factor)
    )
    np.testing.assert_allclose(told(other), told(one), atol=1e-6)
    assert other.verdict == one.verdict
    assert other.penalty is not None and one.penalty is not None
    assert other.penalty.value == pytest.approx(factor * one.penalty.value, rel=1e-6, abs=1e-9 * factor)


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_mirrored_axis_mirrors_the_answer(truth: Truth) -> None:
    """Up to the draws' own randomness."""
    one, other = judge(curves_of(truth)), judge(curves_of(truth, lambda c: remade(c, c.losses_SP, -c.x)))
    assert one.slope is not None and other.slope is not None
    assert other.slope.value == pytest.approx(-one.slope.value, abs=0.02)
    assert other.verdict == one.verdict
    for left, right in zip(one.optima, other.optima, strict=True):
        assert left.log2_optimum is not None and right.log2_optimum is not None
        assert right.log2_optimum == pytest.approx(-left.log2_optimum, abs=0.03)


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("share", [0.5, 0.7])
def test_the_walls_move_no_optimum_by_more_than_its_interval(truth: Truth, share: float) -> None:
    """Without the points that are highest above the lowest."""

    def lower(curve: Curve) -> Curve:
        kept = curve.y <= np.quantile(curve.y[curve.usable], share)
        losses, diverged = curve.losses_SP[:, kept], np.zeros((len(curve.seeds), int(kept.sum())), dtype=bool)
        return curve_of(curve.scale, curve.x[kept], curve.seeds, losses, diverged)

    one, other = judge(curves_of(truth)), judge(curves_of(truth, lower))
    for whole, trimmed in zip(one.optima, other.optima, strict=True):
        assert whole.interval is not None and trimmed.log2_optimum is not None
        low, high = whole.interval
        assert (low is None or low <= trimmed.log2_optimum) and (high is None or trimmed.log2_optimum <= high)


@pytest.mark.parametrize("truth", TRUTHS)
def test_a_hair_on_every_loss_changes_nothing(truth: Truth) -> None:
    noise = np.random.default_rng(1)

    def shaken(curve: Curve) -> Curve:
        return remade(curve, curve.losses_SP + 1e-9 * noise.standard_normal(curve.losses_SP.shape), curve.x)

    one, other = judge(curves_of(truth)), judge(curves_of(truth, shaken))
    np.testing.assert_allclose(told(other), told(one), atol=5e-4)
    assert other.verdict == one.verdict


@pytest.mark.parametrize("factor", [1.0, 1000.0])
def test_valleys_of_any_depth(factor: float) -> None:
    """0.02 nats deep, or 20: the interval is as narrow in octaves."""
    truth = Truth(grid=tuple(FINE), noise=0.002)
    drift = judge(curves_of(truth, lambda c: remade(c, 3 + factor * (c.losses_SP - 3), c.x)))
    assert all(o.interval is not None and None not in o.interval for o in drift.optima)
    assert all(o.interval[1] - o.interval[0] < 0.3 for o in drift.optima)  # type: ignore[operator,index]


def test_a_lean_that_changes_with_scale_moves_no_optimum() -> None:
    """The left wall is the steeper at the smallest scale, the right one at the largest."""
    grid = np.arange(-8.0, -1.0)
    curves = []
    for index, share in enumerate((0.0, 0.33, 0.67, 1.0)):
        u = grid + 4.8
        right, left = np.exp(0.8 * u) - 0.8 * u - 1, np.exp(-0.8 * u) + 0.8 * u - 1
        y = 3 + 0.2 * (share * right + (1 - share) * left)
        curves.append(curve_of(32.0 * 2**index, grid, np.zeros(1), y[None], np.zeros((1, 7), dtype=bool)))
    for optimum in judge(curves).optima:
        assert optimum.log2_optimum == pytest.approx(-4.8, abs=0.1)


def blown(scale: float, *losses: float) -> Curve:
    y = np.array([losses])
    return curve_of(scale, np.arange(-8.0, -8.0 + y.size), np.zeros(1), y, np.zeros(y.shape, dtype=bool))


def test_finite_blow_ups_are_named_and_no_measurements() -> None:
    """No value of theirs pulls a loss below the lowest that was measured."""
    drift = judge([
        blown(16, 3.55, 3.529, 3.538, 7.781), blown(32, 3.272, 3.264, 7.76, 7.784),
        blown(64, 3.11, 7.837, 7.756, 7.68),
    ])  # fmt: skip
    assert [curve.blown for curve in drift.curves] == [(-5.0,), (-6.0, -5.0), (-7.0, -6.0, -5.0)]
    assert "scale 32: blew up at 2^-6, 2^-5; taken for diverged" in drift.reasons
    assert all(
        o.loss is not None and o.loss >= low - 0.02
        for o, low in zip(drift.optima, (3.529, 3.264, 3.11), strict=True)
    )
    assert drift.verdict == "drifts"


@pytest.mark.parametrize("rises", [(4, 6, 8), (4, 5, 6), (4, 3.9, 4.1), (5, 9)])
def test_blow_ups_beside_a_lone_neighbour(rises: tuple[float, ...]) -> None:
    """Whether they end alike or higher and higher, as no valley rises."""
    losses = (3.05, 3.0, *(3 + rise for rise in rises))
    drift = judge([blown(scale, *losses) for scale in (16, 32, 64)])
    assert [len(curve.blown) for curve in drift.curves] == [len(rises)] * 3


@pytest.mark.parametrize(
    "losses",
    [
        (3.56, 3.516, 3.747, 5.557, 6.159, 6.552),  # a wall
        (4.0, 3.9, 3.85, 3.9, 4.0, 4.2, 5.5),
        (2.9, 2.2, 2.025, 2.025, 2.2, 2.6, 3.0),  # two values tie for the lowest
        (3.235, 3.002, 3.0, 3.208, 3.718),  # or all but do
        (3.3, 3.0, 3.0),  # losses that were rounded
    ],
)
def test_walls_are_no_blow_ups(losses: tuple[float, ...]) -> None:
    assert judge([blown(scale, *losses) for scale in (16, 32, 64)]).curves[0].blown == ()


def test_the_floor_of_an_optimum_is_in_its_draws_and_so_in_the_slope() -> None:
    """Nearer than that no optimum is known: it adds to what the curve leaves open."""
    drift = judge(curves_of(Truth(grid=tuple(DENSE), noise=0.0005)))
    for fit in drift.fitted.fits:
        assert fit.vertex_R is not None and fit.valley is not None
        added = fit.vertex_R.var() - fit.valley.vertex_R.var()
        # 1000 draws tell a variance to 4 %, and the two are independent to 3 %.
        assert added == pytest.approx(POSITION_OCTAVES**2, rel=0.25)


def test_an_optimum_between_the_last_value_and_divergence_is_in_the_cost() -> None:
    """Parabolas whose optimum is a quarter of an octave above the last value that did not diverge."""
    x = np.arange(-9.0, -3.0)
    y = np.where(x <= -5, 3 + 0.1 * (x + 4.75) ** 2, np.nan)[None]
    drift = judge([curve_of(scale, x, np.zeros(1), y, np.isnan(y)) for scale in (16.0, 32.0, 64.0, 128.0)])
    assert drift.transfer is not None
    low, high = drift.transfer.estimate.interval
    cost = 0.1 * (drift.transfer.chosen + 4.75) ** 2
    assert cost > 0.005 and low is not None and low <= cost and (high is None or cost <= high)


def test_the_first_value_of_a_plateau_beyond_a_cliff_is_no_spike() -> None:
    losses = (7.9, 6.6, 5.5, 4.6, 3.9, 3.4, 3.1, 3.0, 7.543, 7.473, 7.416, 7.401)
    drift = judge([blown(scale, *losses) for scale in (16, 32, 64)])
    assert all(curve.spiked == () for curve in drift.curves)


def test_a_plateau_of_blow_ups_beyond_a_cliff_is_no_measurement() -> None:
    """Although the other wall is more than half as high; the optimum is at the last value before it."""
    losses = (5.5, 4.6, 3.9, 3.4, 3.1, 3.0, 7.595, 7.592, 7.543, 7.473, 7.416, 7.401)
    drift = judge([blown(scale, *losses) for scale in (16, 32, 64)])
    last = float(drift.curves[0].x[losses.index(3.0)])
    for curve, optimum in zip(drift.curves, drift.optima, strict=True):
        assert len(curve.blown) == 6 and optimum.log2_optimum is not None and optimum.loss is not None
        assert abs(optimum.log2_optimum - last) < 0.5 and optimum.loss > 2.9


def test_a_wall_that_levels_off_is_no_plateau_of_blow_ups() -> None:
    """It rises in steps like those before it."""
    losses = (3.9, 3.4, 3.1, 3.0, 3.1, 3.5, 4.4, 4.5, 4.55, 4.5)
    drift = judge([blown(scale, *losses) for scale in (16, 32, 64)])
    assert all(curve.blown == () for curve in drift.curves)


def test_what_is_open_of_the_cost_is_told_from_least_to_most() -> None:
    """Three values a scale leave it open, by more than one probability could say."""
    drift = judge([blown(scale, 3.5, 3.0, 3.5) for scale in (16, 32, 64)])
    assert drift.questions["costs"].answer == "open" and drift.transfer is not None
    draws = drift.transfer.least_R, drift.transfer.most_R
    least, most = (np.mean(lost_R > drift.allowed.loss) for lost_R in draws)
    told = [reason for reason in drift.reasons if "transferring costs" in reason]
    assert told[0].endswith(f"probability {least:.0%} at least, {most:.0%} at most") and least < most


def test_a_best_loss_is_what_the_points_allow() -> None:
    """All losses are above zero, and so is every best loss, however steep the valley."""
    drift = judge([
        blown(16, 3.1237, 2.7026, 1.5281, 0.1282, 0.0036, 0.0151, 0.117),
        blown(32, 3.0592, 2.3511, 1.0452, 0.0597, 0.0026, 0.0016, 0.0277),
    ])  # fmt: skip
    assert all(o.loss is not None and 0 < o.loss < 0.02 for o in drift.optima)


def test_a_barrier_that_every_run_meets_is_no_spike() -> None:
    x = np.arange(-10.0, -1.0)
    noise = np.random.default_rng(0).normal(0.0, 0.004, (3, len(x)))
    losses = 3 + np.minimum(0.1 * (x + 8) ** 2, 0.1 * (x + 4) ** 2 + 0.02) + noise

    def told() -> tuple[str, ...]:
        seeds, none = np.arange(3.0), np.zeros_like(losses, dtype=bool)
        return judge([curve_of(32.0 * 2**i, x, seeds, losses, none) for i in range(4)]).reasons

    assert sum("is higher at 2^-6 than beside it in every run" in reason for reason in told()) == 4
    losses[1:, x == -6.0] = 3.05  # of one run alone
    assert not any("in every run" in reason for reason in told())
