"""How the optimum of one family moves with scale, what transferring it costs, and the verdict.

All intervals are 95 % unless they say otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .curve import Curve, scale_name
from .interval import Estimate, Interval, percentiles
from .optimum import FamilyFit, Fit, Status, fit_family, optimum_interval
from .penalty import Penalty, smaller_half, transfer_penalty
from .scaling import Metrics, metrics
from .slope import Slope, slope_of
from .tolerance import Allowed, Tolerance, allowed
from .verdict import Judgement, Question, Verdict, decide


@dataclass(frozen=True, slots=True)
class ScaleOptimum:
    """The optimum at one scale with its interval; None where it is not known."""

    scale: float
    status: Status
    log2_optimum: float | None
    interval: Interval | None
    loss: float | None
    trials: int
    diverged: int

    @property
    def at_edge(self) -> bool:
        return self.status == "at_edge"


@dataclass(frozen=True, slots=True)
class Drift:
    """The judgement of one comparison.

    `line` is in octaves per doubling of the scale, `shift` in octaves from the smallest usable scale to the
    largest; `transfer` (what the verdict uses: the optima of the smaller half) and `smallest_penalty` (the
    value chosen on the smallest scale alone) are in the unit of the losses, as is what is `allowed`.
    """

    optima: tuple[ScaleOptimum, ...]
    fitted: FamilyFit
    line: Slope | None
    shift: Estimate | None
    transfer: Penalty | None
    smallest_penalty: Estimate | None
    allowed: Allowed
    metrics: Metrics | None
    judgement: Judgement

    @property
    def curves(self) -> tuple[Curve, ...]:
        return tuple(fit.curve for fit in self.fitted.fits)

    @property
    def noise(self) -> float | None:
        return self.fitted.noise

    @property
    def slope(self) -> Estimate | None:
        return None if self.line is None else self.line.estimate

    @property
    def penalty(self) -> Estimate | None:
        return None if self.transfer is None else self.transfer.estimate

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    @property
    def reasons(self) -> tuple[str, ...]:
        return self.judgement.reasons

    @property
    def questions(self) -> dict[str, Question]:
        return {"moves": self.judgement.moves, "costs": self.judgement.costs}


def judge(curves: Sequence[Curve], tolerance: Tolerance | None = None) -> Drift:
    """Optimum per scale, slope, transfer penalty and verdict of curves ordered by scale.

    Where the largest has fewer values than any other and leaves the verdict open, a reason tells that of the
    others: a single training at a new scale takes nothing back.
    """
    drift = _of_all(curves, tolerance)
    values = [len(curve.x) for curve in curves]  # those that diverged were tried, too
    if drift.verdict != "inconclusive" or len(curves) < 2 or values[-1] >= min(values[:-1]):
        return drift
    smaller = _of_all(curves[:-1], tolerance).verdict
    if smaller == "inconclusive":
        return drift
    few = "one value" if values[-1] == 1 else f"{values[-1]} values"
    before, last = (scale_name(curve.scale) for curve in curves[-2:])
    told = f"open by the {few} at scale {last}; up to scale {before}: {smaller}"
    return replace(drift, judgement=replace(drift.judgement, reasons=(told, *drift.reasons)))


def _of_all(curves: Sequence[Curve], tolerance: Tolerance | None) -> Drift:
    fitted = fit_family(curves)
    fits = fitted.fits
    usable = [fit for fit in fits if fit.usable]
    line, limit = slope_of(fits), allowed(fits, tolerance or Tolerance())
    tuned_on = smaller_half(fits)
    transfer, smallest = transfer_penalty(fits, tuned_on), transfer_penalty(fits, tuned_on[:1])
    return Drift(
        optima=tuple(_scale_optimum(fit) for fit in fits),
        fitted=fitted,
        line=line,
        shift=_shift(usable),
        transfer=transfer,
        smallest_penalty=None if smallest is None else smallest.estimate,
        allowed=limit,
        metrics=metrics(usable),
        judgement=decide(fits, line, transfer, limit.loss),
    )


def _scale_optimum(fit: Fit) -> ScaleOptimum:
    return ScaleOptimum(
        fit.curve.scale,
        fit.status,
        fit.vertex,
        optimum_interval(fit),
        fit.loss,
        fit.curve.trials,
        fit.curve.diverged,
    )


def _shift(fits: Sequence[Fit]) -> Estimate | None:
    """The largest usable scale's optimum minus the smallest's."""
    if len(fits) < 2:
        return None
    first, last = fits[0], fits[-1]
    assert first.vertex_R is not None and last.vertex_R is not None
    assert first.vertex is not None and last.vertex is not None
    shift = last.vertex - first.vertex
    return Estimate(shift, percentiles(last.vertex_R - first.vertex_R, shift))
