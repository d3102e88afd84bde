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

from .comparison import FAMILY, HYPERPARAMETERS, SCALE_AXES, Comparison
from .contrast import shuffled
from .curve import Floats
from .drift import percentiles
from .optimum import POSITION_OCTAVES, Fit
from .schema import BEFORE
from .verdict import Estimate

Survival = Literal["survives", "moves", "inconclusive"]

SHIFT_TOLERANCE = 0.25
"""Octaves: an optimum that moves less than this has survived."""
USUAL = {**BEFORE, "precision": "float32", "schedule": "cosine"}
"""What an option is compared with, where the sweep has it."""


@dataclass(frozen=True, slots=True)
class OptionShift:
    """An option's `value` against its `reference`. `shifts` are log2 of the optimum with the value minus
    that with the reference, in octaves, by scale; `shift` is their mean, weighted by precision.

    `survives`: the 90 % interval of the mean lies within SHIFT_TOLERANCE; `moves`: its 95 % interval lies
    outside. `loss` is the best loss with the value minus that with the reference, at the largest scale.
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
    fixed = tuple(sorted((name, repr(value)) for name, value in comparison.fixed.items() if name != option))
    names = tuple(getattr(comparison, name) for name in FAMILY)
    return (*names, comparison.axis, comparison.hyperparameter, fixed)


def _pairs(option: str, members: Sequence[Comparison]) -> Iterator[tuple[Comparison, Comparison]]:
    """Each of the members against the one with the usual value, or the first: the lowest number."""
    usual = [member for member in members if member.fixed[option] == USUAL.get(option)]
    reference = (usual or list(members))[0]
    for member in members:
        if member is not reference:
            yield reference, member


def _shift(option: str, reference: Comparison, other: Comparison) -> OptionShift:
    fits = {fit.curve.scale: fit for fit in reference.drift.family.fits if fit.usable}
    pairs = [
        (fits[fit.curve.scale], fit)
        for fit in other.drift.family.fits
        if fit.usable and fit.curve.scale in fits
    ]
    drawn = [_drawn(one, two) for one, two in pairs]
    mean, mean_R = _pooled(drawn)
    last = pairs[-1] if pairs else None
    return OptionShift(
        reference_of=reference,
        value_of=other,
        option=option,
        reference=reference.fixed[option],
        value=other.fixed[option],
        shifts=tuple(
            (one.curve.scale, Estimate(value, percentiles(value_R, value)))
            for (one, _), (value, value_R) in zip(pairs, drawn, strict=True)
        ),
        shift=None if mean_R is None else Estimate(mean, percentiles(mean_R, mean)),
        loss=None if last is None else _loss(*last),
        verdict="inconclusive" if mean_R is None else _verdict(mean, mean_R),
    )


def _drawn(one: Fit, two: Fit) -> tuple[float, Floats]:
    """The shift of one scale and its draws; the two fits' draws are independent."""
    assert one.vertex is not None and two.vertex is not None
    assert one.vertex_R is not None and two.vertex_R is not None
    return two.vertex - one.vertex, shuffled(two.vertex_R) - one.vertex_R


def _pooled(drawn: Sequence[tuple[float, Floats]]) -> tuple[float, Floats | None]:
    if not drawn:
        return 0.0, None
    weight = np.array([1 / max(float(value_R.var()), POSITION_OCTAVES**2) for _, value_R in drawn])
    weight /= weight.sum()
    # The scales' draws come from one joint fit: they stay together.
    mean_R: Floats = np.stack([value_R for _, value_R in drawn], axis=1) @ weight
    return float(np.array([value for value, _ in drawn]) @ weight), mean_R


def _verdict(mean: float, mean_R: Floats) -> Survival:
    low, high = percentiles(mean_R, mean, 5.0)
    if low >= -SHIFT_TOLERANCE and high <= SHIFT_TOLERANCE:
        return "survives"
    low, high = percentiles(mean_R, mean)
    return "moves" if low > SHIFT_TOLERANCE or high < -SHIFT_TOLERANCE else "inconclusive"


def _loss(one: Fit, two: Fit) -> Estimate:
    assert one.loss is not None and two.loss is not None
    value = two.loss - one.loss
    return Estimate(value, percentiles(shuffled(two.loss_R) - one.loss_R, value))
