"""The norm-scale probe judged: what the loss of a part's matrices loses at extremes of their norm.

Weight decay and the noise of gradients hold a matrix at a norm near S = sqrt(lr / decay), whatever would be
best (arXiv:2601.04890). The probe moves S at a constant sqrt(lr decay), which keeps the pace of learning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...models.recipe.family import Family

PROBE_SCHEMA = 1
MIN_DEGRADATION = 0.05
"""Nats: where less is lost without multipliers, there is nothing to keep, and seeds decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One S. `loss` is the mean over seeds in nats, None where a trial diverged; the norms are root mean
    squares of the entries of the part's matrices, without and with their multipliers."""

    scale: float
    loss: float | None
    norm: float | None
    effective_norm: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One placement of learnable multipliers, `none` for none; points by ascending S."""

    multipliers: str
    points: tuple[Point, ...]

    @property
    def best(self) -> float | None:
        """The lowest loss over S."""
        return min((point.loss for point in self.points if point.loss is not None), default=None)

    @property
    def degradation(self) -> float | None:
        """Loss at the worse of the two ends minus the lowest, in nats; None where an end diverged."""
        ends = [self.points[0].loss, self.points[-1].loss]
        known = [loss for loss in ends if loss is not None]
        return max(known) - self.best if len(known) == 2 and self.best is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One family, with all placements that were tried."""

    family: Family
    part: str
    steps: int
    seeds: int
    curves: tuple[Curve, ...]

    @property
    def title(self) -> str:
        return f"{self.family.title}, {self.part}"

    def kept(self, curve: Curve) -> float | None:
        """The share of the degradation without multipliers that is left with them; None where that is less
        than MIN_DEGRADATION."""
        without = next((other.degradation for other in self.curves if other.multipliers == "none"), None)
        if curve.degradation is None or curve.multipliers == "none":
            return None
        if without is None or without < MIN_DEGRADATION:
            return None
        return curve.degradation / without


def probe_object(probes: Sequence[Probe]) -> dict[str, Any]:
    """The JSON of `probe norm-scale -f json`."""
    return {"schema": PROBE_SCHEMA, "probes": [_object(probe) for probe in probes]}


def _object(probe: Probe) -> dict[str, Any]:
    return {
        **probe.family._asdict(),
        "part": probe.part,
        "steps": probe.steps,
        "seeds": probe.seeds,
        "curves": [
            {
                "multipliers": curve.multipliers,
                "degradation": _rounded(curve.degradation),
                "kept": _rounded(probe.kept(curve)),
                "points": [
                    {
                        "scale": _rounded(point.scale),
                        "status": "diverged" if point.loss is None else "ok",
                        "loss": _rounded(point.loss),
                        "norm": _rounded(point.norm),
                        "effective_norm": _rounded(point.effective_norm),
                    }
                    for point in curve.points
                ],
            }
            for curve in probe.curves
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
