"""How much a transfer may cost: in nats, and in what a doubling of the scale brings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .optimum import Fit

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

    Where a larger scale's best is above a smaller's by more than the share that is asked for, losses do not
    fall with this scale, and doublings of it have no price.
    """
    known = [fit for fit in fits if fit.loss is not None]
    doubling = _doubling(known, asked.doublings)
    share = asked.doublings if len(known) >= LAW_SCALES else max(asked.doublings, 1.0)
    return Allowed(asked.nats if doubling is None else min(asked.nats, share * doubling), doubling)


def _doubling(known: Sequence[Fit], share: float) -> float | None:
    if len(known) < 3:
        return None
    loss = np.array([fit.loss for fit in known], dtype=float)
    doublings = float(np.log2(known[-1].curve.scale / known[0].curve.scale))
    gain = float(loss[0] - loss[-1]) / doublings
    rises = float((loss - np.minimum.accumulate(loss)).max())
    return gain if gain > 0 and rises <= share * gain else None
