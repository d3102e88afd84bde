"""Intervals cover and verdicts err as they promise: on synthetic sweeps whose truth is known.

Nothing here is tuned to a shape: the same defaults judge five shapes, two grids, three noises and one to
eight seeds. `python tests/test_calibration.py` prints the table of docs/verdict.md.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from synthetic import COARSE, FINE, SHAPES, Truth, drifts

from mutransfer.results.statistics.drift import Drift
from mutransfer.results.statistics.optimum import Interval
from mutransfer.results.statistics.verdict import PENALTY_TOLERANCE_NATS

DESIGN = [
    Truth(shape=shape, grid=tuple(grid), noise=noise, seeds=seeds)
    for shape, grid, noise, seeds in itertools.product(
        SHAPES, (COARSE, FINE), (0.005, 0.01, 0.03), (1, 2, 4, 8)
    )
]


def covers(interval: Interval | None, truth: float) -> bool:
    if interval is None:
        return True
    low, high = interval
    return (low is None or low <= truth) and (high is None or truth <= high)


def coverage(slope: float, sweeps: int) -> tuple[float, float, list[Drift]]:
    """The shares of optimum and slope intervals that hold the truth, over the whole design."""
    optimum, of_slope, judged = [], [], []
    for cell, truth in enumerate(DESIGN):
        for optima, drift in drifts(replace(truth, slope=slope), sweeps, seed=cell):
            found = zip(optima, drift.optima, strict=True)
            optimum += [covers(entry.interval, true) for true, entry in found]
            of_slope.append(drift.slope is not None and covers(drift.slope.interval, slope))
            judged.append(drift)
    return float(np.mean(optimum)), float(np.mean(of_slope)), judged


def false_verdicts(slope: float, judged: list[Drift]) -> int:
    """At slope 0 nothing drifts; at -1 every shape of the design costs more than the tolerance."""
    wrong = "drifts" if slope == 0 else "stable"
    return sum(drift.verdict == wrong for drift in judged)


@pytest.mark.slow
@pytest.mark.parametrize("slope", [0.0, -0.4, -1.0])
def test_intervals_cover_and_verdicts_hold(slope: float) -> None:
    """120 cells x 3 sweeps x 4 scales; the standard error of a share is below 1 %."""
    optimum, of_slope, judged = coverage(slope, sweeps=3)
    assert 0.90 <= optimum <= 0.98
    assert 0.90 <= of_slope <= 0.985
    if slope != -0.4:  # there the truth lies at the tolerance for some shapes
        assert false_verdicts(slope, judged) <= 0.05 * len(judged)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.03, 0.06])
@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_false_verdicts_stay_rare_where_it_is_hard(slope: float, noise: float) -> None:
    """One seed, much noise, spikes, a cliff of divergence, and grids that end near an optimum."""
    hard = [
        Truth(slope=slope, noise=noise, spikes=1),
        Truth(slope=slope, noise=noise, diverges_at=0.8),
        Truth(slope=slope, noise=noise, trim=4),
        Truth(slope=slope, noise=noise, seeds=3, spikes=3),
        Truth(slope=slope, noise=noise, scales=3),
        Truth(slope=slope, noise=noise, shape="straight_walls"),
    ]
    judged = [drift for truth in hard for _, drift in drifts(truth, 30)]
    assert false_verdicts(slope, judged) <= 0.05 * len(judged)


@pytest.mark.slow
def test_optima_near_an_edge_and_beside_divergence_are_covered() -> None:
    for truth in (Truth(trim=4), Truth(diverges_at=0.8), Truth(spikes=1), Truth(trim=5, noise=0.03)):
        found = [
            covers(entry.interval, true)
            for optima, drift in drifts(truth, 40)
            for true, entry in zip(optima, drift.optima, strict=True)
        ]
        assert np.mean(found) >= 0.90, truth


@pytest.mark.slow
def test_it_can_say_something() -> None:
    """Power: a clear truth, ordinary noise, one seed, a factor-2 grid."""
    stable = [drift.verdict for _, drift in drifts(Truth(slope=0.0), 40)]
    moving = [drift.verdict for _, drift in drifts(Truth(slope=-1.0), 40)]
    assert stable.count("stable") >= 36
    assert moving.count("drifts") >= 36


def test_a_penalty_at_the_tolerance_is_called_by_neither_test_too_often() -> None:
    """The boundary case of both tests: a true penalty of 0.05 nats; each may err in 2.5 % on its side."""
    # 0.1 * (2.5 * slope)^2 = 0.05, between the mean of the smaller half and the largest of four scales.
    slope = -float(np.sqrt(PENALTY_TOLERANCE_NATS / 0.1)) / 2.5
    judged = [drift for _, drift in drifts(Truth(shape="parabola", slope=slope, noise=0.02, seeds=2), 120)]
    assert sum(drift.verdict == "stable" for drift in judged) <= 0.05 * len(judged) + 4
    # Curvatures differ by up to 15 %, and so do true penalties: a drift may be true there.
    assert sum(drift.verdict == "drifts" for drift in judged) <= 0.15 * len(judged)


if __name__ == "__main__":
    print("| true slope | optimum intervals that cover | slope intervals | stable | drifts | inconclusive |")
    print("|---|---|---|---|---|---|")
    for slope in (0.0, -0.4, -1.0):
        optimum, of_slope, judged = coverage(slope, sweeps=40)
        shares = [np.mean([d.verdict == v for d in judged]) for v in ("stable", "drifts", "inconclusive")]
        print(
            f"| {slope:g} | {optimum:.1%} | {of_slope:.1%} | " + " | ".join(f"{s:.1%}" for s in shares) + " |"
        )
