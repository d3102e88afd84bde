"""Measurements that no smooth valley goes through: runs that blew up and ended finite, single spikes, and
lone lowest losses.

All are told from the curves of a family alone, in no unit: a blow-up by the gap that parts it from all other
heights, a spike by standing out of its neighbours far more than the curves are rough, a lone lowest loss by
lying as far below all others while the next lowest is not beside it. It stays: whether it was chance, a
further seed tells.

P points of one curve
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from .curve import Curve, Floats, Truths

GAP, HIGHER = 13.0, 3.0
"""Of the heights on one side of the lowest losses, those that are GAP times all lower ones and HIGHER times
the highest on the other side."""
SHEER = 50.0
"""Or so many times all lower ones, however high the other side is."""
FLAT, PLATEAU = 0.15, 3
"""Or so many of a curve that differ by no more than this share of the lowest of them, GAP times all lower
ones and above the other side, or at the upper end lower by no more than that share: what has blown up all
ends alike, and may end at what is known without learning, as does what has not learned yet."""
LONE = 3.0
"""A lone neighbour of the lowest point counts so many times its height: it may tie, and tells nothing."""
SPIKE = 8.0
"""A spike stands above both its neighbours by this many times the noise that the curves' roughness shows."""
FALLS = 0.25
"""And falls on both sides by at least this share of its height above the lower one: the first value of a
plateau beyond a cliff is none."""


def cleaned(curves: Sequence[Curve]) -> list[Curve]:
    """The curves, blow-ups infinite as if diverged, and spikes NaN, to be left out."""
    return [curve.settled for curve in _without_spikes(_without_blow_ups(curves))]


def _without_blow_ups(curves: Sequence[Curve]) -> list[Curve]:
    """On one side: what lies above the lowest gap, where that is the end of every curve. Where both sides
    look so, nothing blew up: something is learned in the middle that is not learned elsewhere."""
    above, below = _least(curves, 1), _least(curves, -1)
    if np.isfinite(above) == np.isfinite(below):
        return list(curves)
    step = 1 if np.isfinite(above) else -1
    return [_marked(curve, min(above, below), step) for curve in curves]


def _marked(curve: Curve, least: float, step: int) -> Curve:
    side = _side(curve, step)
    blown = np.zeros(len(curve.y), dtype=bool)
    blown[side] = np.isfinite(curve.y[side]) & (_height(curve)[side] >= least)
    if not blown.any():
        return curve
    values = (*curve.blown, *(float(x) for x in curve.x[blown]))
    return replace(curve, y=np.where(blown, np.inf, curve.y), blown=tuple(sorted(values)))


def _least(curves: Sequence[Curve], step: int) -> float:
    """The height from which runs on this side blew up; infinity where none did."""
    sides, others = ([_heights(curve, which) for curve in curves] for which in (step, -step))
    risen = np.sort(np.concatenate([side[side > 0] for side in sides] or [np.empty(0)]))
    first_steps = [_step(other, side) for other, side in zip(others, sides, strict=True) if len(other)]
    first_step = _median([first for first in first_steps if first > 0])
    top = _median([float(other.max()) for other in others if len(other)])
    for below, above in pairwise([first_step, *risen]):
        as_high = 1 - FLAT if step > 0 else 1.0
        flat = above > as_high * top and _flat(sides, above)
        gap = GAP if above > HIGHER * top or flat else SHEER
        if above > gap * max(below, first_step) and all(_ends_above(side, above) for side in sides):
            return float(above)
    return np.inf


def _flat(sides: Sequence[Floats], least: float) -> bool:
    """Whether what is as high is a plateau in every curve that has any of it, and of more than a few runs."""
    risen = [high for side in sides if len(high := side[side >= least])]
    return all(len(high) >= PLATEAU and np.ptp(high) <= FLAT * high.min() for high in risen)


def _step(other: Floats, side: Floats) -> float:
    """What the first step away from the lowest point comes to, as the other side tells it: of a parabola
    whose lowest two points tie, half of what the second point is above them. Where there is no second, this
    side's own first step, if the next is no smaller, as in a valley: what has blown up ends much alike."""
    if len(other) > 1:
        return max(float(other[0]), float(other[1]) / 2)
    own = float(side[0]) if len(side) > 1 and side[1] >= 2 * side[0] else 0.0
    return max(LONE * float(other[0]), own)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else np.inf


def _side(curve: Curve, step: int) -> slice:
    """Outwards from the lowest point, which is left out."""
    if not curve.usable.any():
        return slice(0, 0)
    if step > 0:
        return slice(curve.lowest + 1, None)
    return slice(curve.lowest - 1, None, -1) if curve.lowest else slice(0, 0)


def _heights(curve: Curve, step: int) -> Floats:
    """The finite ones on one side, outwards from the lowest point."""
    side = _height(curve)[_side(curve, step)]
    found: Floats = side[np.isfinite(side)]
    return found


def _height(curve: Curve) -> Floats:
    return curve.y - np.min(curve.y[curve.usable]) if curve.usable.any() else curve.y


def _ends_above(side: Floats, least: float) -> bool:
    """Whether, outwards, nothing comes back below once it was above."""
    above: Truths = side >= least
    return not np.any(np.diff(above.astype(int)) < 0)


def _without_spikes(curves: Sequence[Curve]) -> list[Curve]:
    rough = np.concatenate([np.abs(_third_differences(curve.y)) for curve in curves] or [np.empty(0)])
    if not len(rough):
        return list(curves)
    # Four times as much variance as the sum of squared weights, 20, gives a run's noise; 0.67 of a standard
    # deviation is the median of its size.
    noise = float(np.median(rough)) / (np.sqrt(20) * 0.6745)
    return [_without_its_spikes(curve, SPIKE * noise) for curve in curves]


def _without_its_spikes(curve: Curve, least: float) -> Curve:
    """Beside a lone lowest loss nothing spikes: it is that loss which stands out."""
    y = _spikes_out(curve.y, least)
    lone = _lone(y, least)
    if lone is None:
        return replace(curve, y=y)
    beside = slice(max(lone - 1, 0), lone + 2)
    y[beside] = curve.y[beside]
    return replace(curve, y=y, lone=float(curve.x[lone]))


def _lone(y: Floats, least: float) -> int | None:
    """Where the lowest loss is, if it is below all others by more than `least` and none beside it is the next
    lowest."""
    there = np.flatnonzero(np.isfinite(y))
    if len(there) < 3:
        return None
    first, second = np.argsort(y[there], kind="stable")[:2]
    alone = abs(first - second) > 1 and y[there[second]] - y[there[first]] > least
    return int(there[first]) if alone else None


def _third_differences(y: Floats) -> Floats:
    """Zero for parabolas, whatever their unit; of finite neighbours only."""
    with np.errstate(invalid="ignore"):
        found = np.diff(np.where(np.isfinite(y), y, np.nan), n=3)
    return found[np.isfinite(found)]


def _spikes_out(y: Floats, least: float) -> Floats:
    """NaN for a finite point that is above both of its finite neighbours by more than `least`, and falls on
    both sides."""
    if len(y) < 3:
        return y.copy()
    higher, lower = np.maximum(y[:-2], y[2:]), np.minimum(y[:-2], y[2:])
    told = np.isfinite(higher) & np.isfinite(y[1:-1])
    out = y.copy()
    with np.errstate(invalid="ignore"):
        stands = y[1:-1] - higher
        out[1:-1][told & (stands > least) & (stands >= FALLS * (y[1:-1] - lower))] = np.nan
    return out
