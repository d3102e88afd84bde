"""Intervals cover and verdicts err as they promise: on synthetic sweeps whose truth is known.

Nothing here is tuned to a shape: the same defaults judge all of the design. The table of docs/verdict.md is
printed by `python tests/test_calibration.py`, in a quarter of an hour on one core.
"""

import itertools
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from synthetic import COARSE, DENSE, FINE, FIVE, SHAPES, UNLIKE_WALLS, Drawn, Truth, drifts

from mutransfer.results.statistics.drift import Drift
from mutransfer.results.statistics.interval import Interval
from mutransfer.results.statistics.tolerance import Tolerance

DESIGN: dict[str, list[Truth]] = {
    **{
        f"{shape}, noise {noise}": [
            Truth(shape=shape, grid=tuple(grid), noise=noise, seeds=seeds)
            for grid, seeds in itertools.product((COARSE, FINE), (1, 2, 4, 8))
        ]
        for shape, noise in itertools.product(SHAPES, (0.005, 0.01, 0.03))
    },
    **{
        f"valleys of {depth}, noise {noise}": [Truth(depth=depth, noise=noise, grid=tuple(FINE))]
        for depth, noise in ((0.01, 0.001), (0.01, 0.003), (0.03, 0.001), (0.03, 0.01), (0.1, 0.001))
    },
    **{
        f"divergence {octaves} octaves off": [
            Truth(diverges_at=octaves, grid=tuple(grid)) for grid in (COARSE, FINE)
        ]
        for octaves in (0.5, 1.0, 2.0)
    },
    **{
        f"finite blow-ups {octaves} octaves off": [
            Truth(diverges_at=octaves, blows_up=True, grid=tuple(FINE), depth=depth) for depth in (0.03, 0.1)
        ]
        for octaves in (0.5, 1.0, 2.0)
    },
    **{
        f"{shape} at the optimum": [
            Truth(shape=shape, noise=0.005, grid=tuple(grid)) for grid in (COARSE, FINE)
        ]
        for shape in UNLIKE_WALLS
    },
    "a lean that changes with scale": [Truth(lean_changes=True, grid=tuple(g)) for g in (COARSE, FINE)],
    "3 scales": [Truth(scales=3, grid=tuple(grid)) for grid in (COARSE, FINE)],
    "5 and 7 scales": [Truth(scales=scales, grid=tuple(FINE)) for scales in (5, 7)],
    "5 points": [Truth(grid=tuple(FIVE), noise=0.003)],
    "20 points": [Truth(grid=tuple(DENSE))],
    "the small scales' optima beyond the grid": [Truth(censored=2, grid=tuple(FINE), scales=5)],
    "all diverged at the largest": [Truth(all_diverge=True, grid=tuple(FINE))],
    "seeds with optima of their own": [Truth(seeds=3, seed_tilt=0.02, noise=0.005, grid=tuple(FINE))],
    **{
        f"{scales} scales whose optima scatter by {octaves} octaves": [
            Truth(scatter=octaves, scales=scales, noise=0.005, grid=tuple(FINE))
        ]
        for scales, octaves in ((3, 0.1), (4, 0.1), (4, 0.2), (6, 0.2))
    },
    "losses times 100": [Truth(unit=100.0, grid=tuple(FINE))],
}
ALWAYS_COSTS = ("all diverged at the largest",)


def covers(interval: Interval | None, truth: float) -> bool:
    if interval is None:
        return True
    low, high = interval
    return (low is None or low <= truth) and (high is None or truth <= high)


@dataclass(frozen=True)
class Cell:
    """Of one cell of the design: shares of intervals that hold the truth, and verdicts."""

    optimum: float
    slope: float
    penalty: float
    verdicts: Counter[str]

    @property
    def sweeps(self) -> int:
        return sum(self.verdicts.values())


def cell(truths: list[Truth], slope: float, sweeps: int) -> Cell:
    judged = [
        pair
        for seed, truth in enumerate(truths)
        for pair in drifts(replace(truth, slope=slope), sweeps, seed)
    ]
    return Cell(
        float(np.mean([held for drawn, drift in judged for held in _optima(drawn, drift)] or [True])),
        float(np.mean([drift.slope is None or covers(drift.slope.interval, slope) for _, drift in judged])),
        float(np.mean([_penalty(drawn, drift) for drawn, drift in judged])),
        Counter(drift.verdict for _, drift in judged),
    )


def _optima(drawn: Drawn, drift: Drift) -> list[bool]:
    found = zip(drawn.optima, drift.optima, strict=True)
    return [covers(entry.interval, true) for true, entry in found if entry.status == "ok"]


def _penalty(drawn: Drawn, drift: Drift) -> bool:
    if drift.transfer is None:
        return True
    (low, high), (least, most) = drift.transfer.estimate.interval, drawn.cost(drift.transfer.chosen)
    return (low is None or low <= most) and (high is None or high >= least)


def wrong(name: str, slope: float, verdicts: Counter[str]) -> int:
    """At slope 0 nothing moves or costs, but where all diverged; at -1 everything moves."""
    if name in ALWAYS_COSTS:
        return verdicts.total() - verdicts["drifts"] - verdicts["inconclusive"]
    return verdicts["drifts"] + verdicts["shifts"] if slope == 0 else verdicts["stable"]


@pytest.mark.slow
@pytest.mark.parametrize("slope", [0.0, -0.4, -1.0])
def test_intervals_cover_and_verdicts_hold(slope: float) -> None:
    """Of all cells together: the standard error of a share is below 1 %."""
    cells = {name: cell(truths, slope, sweeps=max(1, 4 // len(truths))) for name, truths in DESIGN.items()}
    for share in ("optimum", "slope", "penalty"):
        assert np.mean([getattr(found, share) for found in cells.values()]) >= 0.9, share
    if slope != -0.4:  # there the truth lies at the tolerance for some shapes
        count = sum(found.sweeps for found in cells.values())
        assert sum(wrong(name, slope, found.verdicts) for name, found in cells.items()) <= 0.05 * count


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.03, 0.06])
@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_false_verdicts_stay_rare_where_it_is_hard(slope: float, noise: float) -> None:
    """One seed, much noise, spikes, a cliff of divergence, and grids that end near an optimum."""
    hard = [
        Truth(noise=noise, spikes=1),
        Truth(noise=noise, diverges_at=0.8),
        Truth(noise=noise, trim=4),
        Truth(noise=noise, seeds=3, spikes=3),
        Truth(noise=noise, scales=3),
        Truth(noise=noise, shape="straight_walls"),
    ]
    found = cell(hard, slope, 20)
    assert wrong("", slope, found.verdicts) <= 0.05 * found.sweeps


@pytest.mark.slow
def test_optima_near_an_edge_and_beside_divergence_are_covered() -> None:
    for truth in (Truth(trim=4), Truth(diverges_at=0.8), Truth(spikes=1), Truth(trim=5, noise=0.03)):
        assert cell([truth], 0.0, 30).optimum >= 0.90, truth


@pytest.mark.slow
@pytest.mark.parametrize("shape", UNLIKE_WALLS)
def test_optima_that_are_corners_are_covered(shape: str) -> None:
    """Smooth curves alone hold one in nine to one in two of them."""
    corners = [Truth(shape=shape, noise=0.005, grid=tuple(grid)) for grid in (COARSE, FINE)]
    assert np.mean([cell(corners, slope, 8).optimum for slope in (0.0, -0.4, -1.0)]) >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize(("scales", "octaves"), [(3, 0.1), (4, 0.1), (4, 0.2), (6, 0.2)])
def test_slopes_through_optima_that_scatter_by_themselves_are_covered(scales: int, octaves: float) -> None:
    """Three or four tell little of how far they scatter: with what chance exceeds in a quarter of the cases
    left out, three in four slopes were held."""
    found = cell([Truth(scatter=octaves, scales=scales, noise=0.005, grid=tuple(FINE))], 0.0, 60)
    assert found.slope >= 0.85
    assert wrong("", 0.0, found.verdicts) <= 0.05 * found.sweeps


@pytest.mark.slow
def test_it_can_say_something() -> None:
    """Power: a clear truth, ordinary noise, one seed, a factor-2 grid."""
    assert cell([Truth()], 0.0, 40).verdicts["stable"] >= 36
    assert cell([Truth()], -1.0, 40).verdicts["drifts"] >= 36


@pytest.mark.slow
def test_what_costs_little_and_moves_shifts() -> None:
    """A slope of -0.5 in valleys of 0.01 nats."""
    shallow = Truth(depth=0.01, noise=0.0005, grid=tuple(FINE))
    judged = [drift for _, drift in drifts(replace(shallow, slope=-0.5), 30)]
    assert Counter(drift.questions["moves"].answer for drift in judged)["yes"] >= 29


def test_a_penalty_at_the_tolerance_is_called_by_neither_test_too_often() -> None:
    """The boundary case of both tests: a true penalty of 0.05 nats, where losses do not fall with scale."""
    # 0.1 * (2.5 * slope)^2 = 0.05, between the mean of the smaller half and the largest of four scales.
    slope = -float(np.sqrt(Tolerance().nats / 0.1)) / 2.5
    truth = Truth(shape="parabola", slope=slope, noise=0.02, seeds=2)
    # Curvatures differ by up to 15 %, and so do true penalties: either answer may be true.
    wrong_answers = Counter(
        drift.questions["costs"].answer
        for drawn, drift in drifts(truth, 60)
        if drift.transfer is not None
        and (drawn.cost(drift.transfer.chosen)[0] > drift.allowed.loss)
        == (drift.questions["costs"].answer == "no")
    )
    assert wrong_answers["no"] <= 5 and wrong_answers["yes"] <= 3


def main() -> None:
    print("| design | true slope | optima | slopes | penalties | stable | shifts | drifts | inconclusive |")
    print("|---|---|---|---|---|---|---|---|---|")
    for slope in (0.0, -0.4, -1.0):
        for name, truths in DESIGN.items():
            found = cell(truths, slope, max(10, 40 // len(truths)))
            shares = [
                found.verdicts[word] / found.sweeps for word in ("stable", "shifts", "drifts", "inconclusive")
            ]
            covered = " | ".join(f"{share:.0%}" for share in (found.optimum, found.slope, found.penalty))
            told = " | ".join(f"{share:.0%}" for share in shares)
            print(f"| {name} | {slope:g} | {covered} | {told} |", flush=True)


if __name__ == "__main__":
    main()
