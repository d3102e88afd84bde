"""How much a transfer may cost: in nats, and in what a doubling of the scale brings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .optimum import Fit

MIN_SCALES, LAW_SCALES = 3, 4
"""With fewer than three scales a doubling has no price; with fewer than four, whose loss no law is
fitted to, a whole one is allowed."""


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
    loss = np.array([fit.loss for fit in fits if fit.loss is not None], dtype=float)
    if len(loss) < MIN_SCALES:
        return Allowed(asked.nats, None)
    scales = [fit.curve.scale for fit in fits if fit.loss is not None]
    gain = float(loss[0] - loss[-1]) / float(np.log2(scales[-1] / scales[0]))
    if gain <= 0:
        return Allowed(asked.nats, None)
    rises = float((loss - np.minimum.accumulate(loss)).max())
    share = asked.doublings if len(loss) >= LAW_SCALES else max(asked.doublings, 1.0)
    price = asked.doublings * gain
    told = share * gain
    if told < asked.nats and rises > price:
        told += (min(rises / price - 1, 1.0) if price else 1.0) * (asked.nats - told)
    return Allowed(min(asked.nats, told), gain if rises < 2 * price else None)
