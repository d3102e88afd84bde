"""Optimum, slope, penalty and verdict: exact cases, laws, published tables, synthetic calibration."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mutransfer.results.questions.comparison import Comparison, compare
from mutransfer.results.report.contract import report_object
from mutransfer.results.sources.importing import read_measurements
from mutransfer.results.statistics.curve import Curve, curve_of
from mutransfer.results.statistics.drift import _excess, judge
from mutransfer.results.statistics.optimum import Fit, fit_family
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
    assert fit.vertex == pytest.approx(-5.3, abs=1e-6)
    assert fit.loss == pytest.approx(2.0, abs=1e-6)


def test_a_constant_added_to_all_losses_moves_nothing() -> None:
    one, other = judge(family([-4, -4.7, -5.2])), judge(family([-4, -4.7, -5.2], floor=7.0))
    assert [o.log2_optimum for o in one.optima] == pytest.approx([o.log2_optimum for o in other.optima])
    assert one.slope is not None and other.slope is not None
    assert one.slope.value == pytest.approx(other.slope.value)
    assert one.penalty is not None and other.penalty is not None
    assert one.penalty.value == pytest.approx(other.penalty.value)


def test_slope_and_penalty_of_exact_curves() -> None:
    """Centers -4, -5, -6, -7: slope -1, shift -3; the small half says about -4.5, which costs 0.1 * 2.5^2."""
    drift = judge(family([-4, -5, -6, -7]))
    assert drift.slope is not None and drift.shift is not None
    assert drift.slope.value == pytest.approx(-1, abs=1e-6)
    assert drift.shift.value == pytest.approx(-3, abs=1e-6)
    assert drift.transferred_log2 == pytest.approx(-4.5, abs=0.1)  # weighted by precision
    assert drift.penalty is not None and drift.smallest_penalty is not None
    # Outside the fitted window the loss is interpolated between grid points: 0.4 to 0.9 there.
    assert 0.4 <= drift.penalty.value <= 0.9
    assert drift.smallest_penalty.value == pytest.approx(0.9, abs=1e-6)
    assert drift.verdict == "drifts"


def test_equal_curves_are_stable() -> None:
    drift = judge(family([-5, -5, -5, -5]))
    assert drift.verdict == "stable"
    assert drift.slope is not None
    assert drift.slope.value == pytest.approx(0, abs=1e-6)
    assert drift.penalty is not None and drift.penalty.interval[1] is not None
    assert 0 < drift.penalty.interval[1] < 0.05  # noise is never taken as zero


def test_an_optimum_at_the_edge_is_only_bounded() -> None:
    fit = fit_optimum(parabola(-12.0))
    assert (fit.status, fit.edge, fit.vertex) == ("at_edge", "low", -10.0)
    drift = judge([*family([-5, -5, -5]), parabola(-12.0, scale=128)])
    assert drift.optima[3].interval == (None, -9.0)
    assert drift.verdict == "inconclusive"
    assert any("scale 128: the optimum is at the lowest value of the grid" in r for r in drift.reasons)


def test_drift_into_the_edge_still_drifts() -> None:
    """The largest scale's own minimum is beyond the grid, so the penalty is at least what is seen."""
    drift = judge([*family([-4, -6, -8]), parabola(-12.0, scale=128)])
    assert drift.penalty is not None and drift.penalty.interval[1] is None
    assert drift.verdict == "drifts"


def test_a_scale_where_everything_diverged() -> None:
    drift = judge([*family([-5, -5, -5]), curve(np.full(9, np.inf), scale=128)])
    last = drift.optima[3]
    assert (last.status, last.log2_optimum, last.loss, last.interval) == ("all_diverged", None, None, None)
    assert drift.verdict == "inconclusive"
    assert "scale 128: every trial diverged; add lower values" in drift.reasons


def test_transferring_into_divergence_is_drift() -> None:
    """The small scales' choice diverges at the largest: the penalty has no upper end."""
    y = parabola(-8.0).y.copy()
    y[GRID > -6.5] = np.inf
    drift = judge([*family([-4, -5.3, -6.7]), curve(y, scale=128)])
    assert drift.penalty is not None and drift.penalty.interval[1] is None
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
    assert (
        drift.slope is not None
        and drift.slope.interval[0] is not None
        and drift.slope.interval[1] is not None
    )
    assert drift.slope.interval[1] - drift.slope.interval[0] > 0.3
    assert np.isfinite(drift.slope.value)
    assert drift.verdict == "inconclusive"


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_scales_are_inconclusive(count: int) -> None:
    drift = judge(family([-4, -8][:count]))
    assert drift.verdict == "inconclusive"
    assert drift.reasons[0] == f"{count} usable scales; at least 3 are needed"


def test_too_few_points() -> None:
    fit = fit_optimum(curve(np.array([np.inf, 2.0, np.inf]), x=GRID[:3]))
    assert fit.status == "too_few"


def test_moving_far_at_little_cost_is_inconclusive() -> None:
    drift = judge(family([-4, -4.5, -5, -5.5], curvature=0.004))
    assert drift.verdict == "inconclusive"
    assert "octaves per doubling" in drift.reasons[-1]


def published(name: str) -> Comparison:
    (path,) = PUBLISHED.glob(f"*{name}*.csv")
    (found,) = compare(read_measurements(path).to_pandas(), ROWS.names)
    return found


@pytest.mark.parametrize(
    ("table", "axis", "verdict"),
    [
        ("table15", "width", "drifts"),
        ("table16", "width", "stable"),
        ("table18", "depth", "stable"),
        ("table19", "depth", "drifts"),
    ],
)
def test_published_tables_get_their_authors_verdicts(table: str, axis: str, verdict: str) -> None:
    found = published(table)
    assert (found.axis, found.drift.verdict) == (axis, verdict)


def test_published_figures() -> None:
    """Slopes and regrets of the same tables, worked out elsewhere with other estimators."""
    expected = {
        "table15": (-0.63, (1.7, 2.4)),
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
        "penalty_from_smallest_interval", "noise_nats", "metrics", "verdict", "reasons",
    ]  # fmt: skip
    assert (entry["architecture"], entry["optimizer"], entry["axis"]) == (None, "muon-kimi", "width")
    assert [optimum["scale"] for optimum in entry["optima"]] == [128, 256, 512, 1024, 2048, 4096]
    assert set(entry["optima"][0]) == {
        "scale", "status", "log2_optimum", "interval", "loss", "at_edge", "trials", "diverged", "accuracy"
    }  # fmt: skip


def test_the_penalty_does_not_hang_on_the_rounding_of_the_value_transferred() -> None:
    """At the end of the fitted window, and at the last value before divergence."""
    y = parabola(-5.0).y.copy()
    y[GRID > -3.0] = np.inf
    fit = judge([parabola(-5.0), curve(y + 0.1 * np.abs(np.sin(GRID)), scale=64)]).fitted.fits[-1]
    for value in (fit.curve.x[fit.window][-1], -3.0):
        found = [_excess(fit, np.array([value + nudge]), drawn=False) for nudge in (-1e-12, 0.0, 1e-12)]
        assert [float(excess[0]) for excess, _ in found] == pytest.approx(
            [float(found[1][0][0])] * 3, abs=1e-9
        )
        assert len({bool(known[0]) for _, known in found}) == 1
