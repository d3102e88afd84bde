"""Stable, drifts or inconclusive: two claims, each made by a test, and the reasons where neither holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .optimum import Fit, Interval

Verdict = Literal["stable", "drifts", "inconclusive"]

PENALTY_TOLERANCE_NATS = 0.05
"""Losing less than this by taking the small models' value is called the same."""
SLOPE_TOLERANCE = 0.3
"""Octaves per doubling: an optimum that moves less may be called stable, if it costs nothing."""
MIN_SCALES = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval; a side that the measurements do not bound is None."""

    value: float
    interval: Interval

    @property
    def excludes_zero(self) -> bool:
        low, high = self.interval
        return (low is not None and low > 0) or (high is not None and high < 0)


def decide(
    fits: Sequence[Fit],
    slope: Estimate | None,
    bounds: tuple[float, float] | None,
    penalty: Estimate | None,
) -> tuple[Verdict, list[str]]:
    """Both claims are made by tests; what neither test decides is inconclusive, with the reasons."""
    reasons = [reason for fit in fits for reason in _unusable(fit)]
    usable = sum(fit.usable for fit in fits)
    if usable < MIN_SCALES:
        return "inconclusive", [f"{usable} usable scales; at least {MIN_SCALES} are needed", *reasons]
    if slope is None or bounds is None or penalty is None:
        return "inconclusive", ["the largest scale has no optimum to compare with", *reasons]
    low, high = penalty.interval
    assert low is not None
    cheap = high is not None and high <= PENALTY_TOLERANCE_NATS
    still = bounds[0] >= -SLOPE_TOLERANCE and bounds[1] <= SLOPE_TOLERANCE
    if cheap and still:
        return "stable", reasons
    if low > PENALTY_TOLERANCE_NATS and slope.excludes_zero:
        return "drifts", reasons
    if low > PENALTY_TOLERANCE_NATS:
        reasons.append("transferring costs, but the slope's interval holds 0")
    elif not cheap:
        reasons.append(
            f"the transfer penalty's interval holds the tolerance of {PENALTY_TOLERANCE_NATS} nats"
        )
    elif bounds[1] < -SLOPE_TOLERANCE or bounds[0] > SLOPE_TOLERANCE:
        reasons.append(
            f"the optimum moves by more than {SLOPE_TOLERANCE} octaves per doubling at little cost"
        )
    else:
        reasons.append(f"the slope's interval holds the tolerance of {SLOPE_TOLERANCE} octaves per doubling")
    return "inconclusive", reasons


def _unusable(fit: Fit) -> list[str]:
    """What is to be said of one scale."""
    scale = f"{fit.curve.scale:g}"
    spikes = ", ".join(f"2^{x:g}" for x in fit.curve.spiked)
    reasons = [f"scale {scale}: the loss spikes at {spikes}; left out"] if spikes else []
    match fit.status:
        case "ok":
            pass
        case "at_edge":
            end = "lowest" if fit.edge == "low" else "highest"
            reasons.append(f"scale {scale}: the optimum is at the {end} value of the grid; extend it")
        case "all_diverged":
            reasons.append(f"scale {scale}: every trial diverged; add lower values")
        case "too_few":
            reasons.append(f"scale {scale}: too few points around the minimum; refine the grid")
    return reasons
