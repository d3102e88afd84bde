"""Two comparisons against each other: which keeps its optimum better, and which reaches the lower loss.

Within one sweep equal seeds are equal batches, so the losses of a pair are compared seed by seed. Between two
sweeps, and for slopes and penalties, the draws of both fits are subtracted.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from ...models.recipe.family import Family
from ..statistics.interval import Estimate, percentiles
from ..statistics.paired import difference, independent
from ..statistics.penalty import Penalty, smaller_half, transfer_penalty
from .comparison import Comparison


@dataclass(frozen=True, slots=True)
class LossDifference:
    """The second's best loss minus the first's at one scale, in nats; `pairs` of seeds behind it."""

    scale: float
    difference: Estimate
    pairs: int


@dataclass(frozen=True, slots=True)
class Contrast:
    """Second minus first. `drift` is the difference of the slopes' sizes, octaves per doubling; `penalty` is
    over the scales that both have.

    `better` is the one whose transfer penalty is lower beyond doubt, None where neither is. `alike` says that
    the two differ, beyond doubt, by less than a transfer may cost.
    """

    first: Comparison
    second: Comparison
    differs: tuple[str, ...]
    drift: Estimate | None
    penalty: Estimate | None
    losses: tuple[LossDifference, ...]
    better: Literal["first", "second"] | None
    alike: bool


def contrasts(first: Sequence[Comparison], second: Sequence[Comparison] | None = None) -> list[Contrast]:
    """All pairs of one report that differ in architecture, optimizer or parametrization alone, or the
    closest pairs between two reports.
    """
    pairs = _within(first) if second is None else _between(first, second)
    return [_contrast(one, other, paired=second is None) for one, other in pairs]


def _contrast(first: Comparison, second: Comparison, paired: bool) -> Contrast:
    shared = _scales(first) & _scales(second)
    penalty = _difference(_transfer(first, shared), _transfer(second, shared))
    allowed = min(first.drift.allowed.loss, second.drift.allowed.loss)
    return Contrast(
        first,
        second,
        _differs(first, second) or ("sweep",),
        _size_difference(first, second),
        penalty,
        tuple(_loss_differences(first, second, paired)),
        _better(penalty),
        _within_allowed(penalty, allowed),
    )


def _scales(comparison: Comparison) -> set[float]:
    return {curve.scale for curve in comparison.drift.curves}


def _transfer(comparison: Comparison, scales: Set[float]) -> Penalty | None:
    """From the smaller half of these scales to the largest of them."""
    if scales == _scales(comparison):
        return comparison.drift.transfer
    fits = [fit for fit in comparison.drift.fitted.fits if fit.curve.scale in scales]
    return transfer_penalty(fits, smaller_half(fits))


def _within(comparisons: Sequence[Comparison]) -> list[tuple[Comparison, Comparison]]:
    return [
        (one, other)
        for one, other in combinations(comparisons, 2)
        if _comparable(one, other) and len(_differs(one, other)) == 1 and one.fixed == other.fixed
    ]


def _between(
    first: Sequence[Comparison], second: Sequence[Comparison]
) -> list[tuple[Comparison, Comparison]]:
    """For each of the first the comparable ones of the second that differ in the fewest things."""
    found = []
    for one in first:
        fitting = [other for other in second if _comparable(one, other)]
        least = min((len(_differs(one, other)) for other in fitting), default=0)
        found += [(one, other) for other in fitting if len(_differs(one, other)) == least]
    return found


def _comparable(one: Comparison, other: Comparison) -> bool:
    return (one.axis, one.hyperparameter) == (other.axis, other.hyperparameter)


def _differs(one: Comparison, other: Comparison) -> tuple[str, ...]:
    names = [name for name in Family._fields if getattr(one.family, name) != getattr(other.family, name)]
    shared = sorted({*one.fixed} & {*other.fixed})
    return (*names, *(name for name in shared if one.fixed[name] != other.fixed[name]))


def _difference(first: Penalty | None, second: Penalty | None) -> Estimate | None:
    """With a side open where either of the two is not bounded."""
    if first is None or second is None:
        return None
    if not (np.isfinite(first.least_R).all() and np.isfinite(second.least_R).all()):
        return None  # one of the two diverges where it is transferred to: the verdicts say it all
    value = second.estimate.value - first.estimate.value
    low, high = percentiles(independent(second.least_R) - first.least_R, value)
    open_low, open_high = first.estimate.interval[1] is None, second.estimate.interval[1] is None
    return Estimate(value, (None if open_low else low, None if open_high else high))


def _size_difference(first: Comparison, second: Comparison) -> Estimate | None:
    one, other = first.drift, second.drift
    if one.line is None or other.line is None:
        return None
    value = abs(other.line.estimate.value) - abs(one.line.estimate.value)
    drawn_R = np.abs(independent(other.line.slope_R)) - np.abs(one.line.slope_R)
    return Estimate(value, percentiles(drawn_R, value))


def _loss_differences(first: Comparison, second: Comparison, paired: bool) -> Iterator[LossDifference]:
    fits = {fit.curve.scale: fit for fit in first.drift.fitted.fits if fit.usable}
    for fit in second.drift.fitted.fits:
        if fit.usable and fit.curve.scale in fits:
            found = difference(fits[fit.curve.scale], fit, paired)
            estimate = Estimate(found.loss, percentiles(found.loss_R, found.loss))
            yield LossDifference(fit.curve.scale, estimate, found.pairs)


def _within_allowed(penalty: Estimate | None, allowed: float) -> bool:
    low, high = (None, None) if penalty is None else penalty.interval
    return low is not None and high is not None and max(-low, high) <= allowed


def _better(penalty: Estimate | None) -> Literal["first", "second"] | None:
    if penalty is None or not penalty.excludes_zero:
        return None
    low = penalty.interval[0]
    return "first" if low is not None and low > 0 else "second"
