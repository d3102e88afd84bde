"""How much a transfer may cost: in nats, and in what a doubling of the scale brings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .optimum import Fit
from .verdict import MIN_SCALES

LUCK = 0.25
"""A fall of the best loss by no more than this share of its standard error is none."""
LAW_SCALES = 4
"""With fewer scales, whose loss no law is fitted to, a whole doubling is allowed."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The stricter of a loss, in nats or whatever unit losses have, and a share of what a doubling of the
    scale brings. Infinity asks for neither."""

    nats: float = 0.05
    doublings: float = 0.25


@dataclass(frozen=True, slots=True)
class Allowed:
    """`loss` in the unit of the losses, `doubling` what a doubling brought, None where losses do not fall."""

    loss: float
    doubling: float | None


def allowed(fits: Sequence[Fit], asked: Tolerance) -> Allowed:
    """What a doubling brings is told by the best losses of the scales: on average, from first to last.

    Where a larger scale's best is above a smaller's by twice the share that is asked for, or more, losses do
    not fall with this scale, and doublings of it have no price; nor where their fall is a small share of its
    error. From either share to twice it the loss alone comes in by degrees, so that no hair decides.
    """
    known = [fit for fit in fits if fit.loss is not None]
    if len(known) < MIN_SCALES:
        return Allowed(asked.nats, None)
    loss = np.array([fit.loss for fit in known], dtype=float)
    fall = float(loss[0] - loss[-1])
    gain = fall / float(np.log2(known[-1].curve.scale / known[0].curve.scale))
    if gain <= 0:
        return Allowed(asked.nats, None)
    rises = float((loss - np.minimum.accumulate(loss)).max())
    price = asked.doublings * gain
    told = price if len(known) >= LAW_SCALES else max(price, gain)
    flat = max(min(rises / price - 1, 1.0) if price else float(rises > 0), _unsure(known, fall), 0.0)
    if flat and told < asked.nats:
        told += flat * (asked.nats - told)
    return Allowed(min(asked.nats, told), gain if flat < 1 else None)


def _unsure(known: Sequence[Fit], fall: float) -> float:
    """Whether losses fall by luck: 1 up to a share of the fall's error, 0 from twice that on."""
    first, last = known[0], known[-1]
    if first.valley is None or last.valley is None:
        return 0.0
    error = float(np.hypot(first.loss_R.std(), last.loss_R.std()))
    return min(max(2 - fall / (LUCK * error), 0.0), 1.0) if error else 0.0
