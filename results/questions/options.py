"""Whether the optimum survives a training option: the same sweep with an option at two values.

Anything that two comparisons differ in alone can be the option: precision, activation checkpointing,
schedule, dropout, learnable multipliers and so on. Batch size, sequence length and duration are scales, with
slopes of their own.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..statistics.curve import Floats
from ..statistics.interval import POSITION_OCTAVES, Estimate, percentiles
from ..statistics.paired import Difference, difference
from ..store.schema import BEFORE
from .comparison import Comparison
from .grouping import HYPERPARAMETERS, SCALE_AXES

Survival = Literal["survives", "moves", "inconclusive"]

SHIFT_TOLERANCE = 0.25
"""Octaves: an optimum that moves less than this has survived."""
TAIL = 2.5
"""Percent on either side of a 95 % interval."""
USUAL = {**BEFORE, "precision": "float32", "schedule": "cosine"}
"""What an option is compared with, where the sweep has it."""


@dataclass(frozen=True, slots=True)
class OptionShift:
    """An option's `value` against its `reference`. `shifts` are log2 of the optimum with the value minus
    that with the reference, in octaves, by scale; `shift` is their mean, weighted by precision.

    `moves`: the 95 % interval of the mean lies outside SHIFT_TOLERANCE, or that of one scale does, at 95 %
    for all scales together; else `survives`: the 90 % interval of the mean lies within. `loss` is the best
    loss with the value minus that with the reference, at the largest scale.
    """

    reference_of: Comparison
    value_of: Comparison
    option: str
    reference: Any
    value: Any
    shifts: tuple[tuple[float, Estimate], ...]
    shift: Estimate | None
    loss: Estimate | None
    verdict: Survival

    @property
    def fixed(self) -> dict[str, Any]:
        """The coordinates that both have, beside the option."""
        return without(self.option, self.reference_of)


def without(option: str, comparison: Comparison) -> dict[str, Any]:
    return {name: value for name, value in comparison.fixed.items() if name != option}


def option_shifts(comparisons: Sequence[Comparison]) -> list[OptionShift]:
    """Every option of the comparisons, each value against the reference, the rest being equal."""
    groups: dict[tuple[Any, ...], list[Comparison]] = defaultdict(list)
    for comparison in comparisons:
        for option in comparison.fixed:
            if option in SCALE_AXES or option in HYPERPARAMETERS:
                continue
            groups[option, *_rest(comparison, option)].append(comparison)
    return [
        _shift(option, reference, other)
        for (option, *_), members in groups.items()
        for reference, other in _pairs(option, members)
    ]


def _rest(comparison: Comparison, option: str) -> tuple[Any, ...]:
    """What else must be equal."""
    fixed = tuple(sorted((name, repr(value)) for name, value in without(option, comparison).items()))
    return (comparison.family, comparison.axis, comparison.hyperparameter, fixed)


def _pairs(option: str, members: Sequence[Comparison]) -> Iterator[tuple[Comparison, Comparison]]:
    """Each of the members against the one with the usual value, or the first: the lowest number."""
    usual = [member for member in members if member.fixed[option] == USUAL.get(option)]
    reference = (usual or list(members))[0]
    for member in members:
        if member is not reference:
            yield reference, member


def _shift(option: str, reference: Comparison, other: Comparison) -> OptionShift:
    fits = {fit.curve.scale: fit for fit in reference.drift.fitted.fits if fit.usable}
    pairs = [
        (fits[fit.curve.scale], fit)
        for fit in other.drift.fitted.fits
        if fit.usable and fit.curve.scale in fits
    ]
    differences = [difference(one, two, paired=True) for one, two in pairs]
    mean, mean_R = _pooled(differences)
    last = differences[-1] if differences else None
    return OptionShift(
        reference_of=reference,
        value_of=other,
        option=option,
        reference=reference.fixed[option],
        value=other.fixed[option],
        shifts=tuple(
            (one.curve.scale, Estimate(found.shift, percentiles(found.shift_R, found.shift)))
            for (one, _), found in zip(pairs, differences, strict=True)
        ),
        shift=None if mean_R is None else Estimate(mean, percentiles(mean_R, mean)),
        loss=None if last is None else Estimate(last.loss, percentiles(last.loss_R, last.loss)),
        verdict="inconclusive" if mean_R is None else _verdict(mean, mean_R, differences),
    )


def _pooled(differences: Sequence[Difference]) -> tuple[float, Floats | None]:
    """The mean shift, weighted by precision, and its draws."""
    if not differences:
        return 0.0, None
    drawn_RS = np.stack([found.shift_R for found in differences], axis=1)
    weight = 1 / np.maximum(drawn_RS.var(axis=0), POSITION_OCTAVES**2)
    weight /= weight.sum()
    mean_R: Floats = drawn_RS @ weight  # the scales' draws come from one joint fit: they stay together
    return float(np.array([found.shift for found in differences]) @ weight), mean_R


def _verdict(mean: float, mean_R: Floats, differences: Sequence[Difference]) -> Survival:
    """Shifts that undo each other across scales are no survival."""
    tail = TAIL / len(differences)
    intervals = [percentiles(found.shift_R, found.shift, tail) for found in differences]
    if any(map(_outside, [percentiles(mean_R, mean, TAIL), *intervals])):
        return "moves"
    low, high = percentiles(mean_R, mean, 5.0)
    return "survives" if low >= -SHIFT_TOLERANCE and high <= SHIFT_TOLERANCE else "inconclusive"


def _outside(interval: tuple[float, float]) -> bool:
    return interval[0] > SHIFT_TOLERANCE or interval[1] < -SHIFT_TOLERANCE
