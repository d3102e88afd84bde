"""How much a transfer may cost: in nats, and in what a doubling of the scale brings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .optimum import Fit
from .verdict import MIN_SCALES

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
    not fall with this scale, and doublings of it have no price; from the share to twice it the loss alone
    comes in by degrees, so that no hair decides.
    """
    known = [fit for fit in fits if fit.loss is not None]
    if len(known) < MIN_SCALES:
        return Allowed(asked.nats, None)
    loss = np.array([fit.loss for fit in known], dtype=float)
    gain = float(loss[0] - loss[-1]) / float(np.log2(known[-1].curve.scale / known[0].curve.scale))
    if gain <= 0:
        return Allowed(asked.nats, None)
    rises = float((loss - np.minimum.accumulate(loss)).max())
    price = asked.doublings * gain
    told = price if len(known) >= LAW_SCALES else max(price, gain)
    if told < asked.nats and rises > price:
        told += (min(rises / price - 1, 1.0) if price else 1.0) * (asked.nats - told)
    return Allowed(min(asked.nats, told), gain if rises < 2 * price else None)
