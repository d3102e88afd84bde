"""The verdict from two questions: does the optimum move with scale, and does it cost to leave it there?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .curve import Curve, scale_name
from .optimum import MIN_POINTS, Fit
from .penalty import Penalty
from .slope import Slope

Answer = Literal["yes", "no", "open"]
Verdict = Literal["stable", "shifts", "drifts", "inconclusive"]

MOVES_OCTAVES, STAYS_OCTAVES = 0.2, 0.3
"""Octaves per doubling. The estimate says which may be claimed: from the first on, that the optimum moves,
which is sure where its interval excludes 0; below it, that it stays, which is sure where it moves by less
than the second."""
YES_SURE, NO_SURE = 0.975, 0.95
MIN_SCALES = 3
MIN_BENT, BENT_OCTAVES = 5, 0.2
"""Optima of so many scales tell a bend: by so many octaves per doubling, or more, between the two halves."""
PEAK_SHARE, PEAK_FALL = 0.3, 0.25
"""Of the variance of a curve's losses what a parabola leaves of one that it explains, and of their span what
both sides of a peak fall by."""


@dataclass(frozen=True, slots=True)
class Question:
    """An answer, and the probability of yes; None where nothing speaks of it."""

    answer: Answer
    probability: float | None


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    moves: Question
    costs: Question
    reasons: tuple[str, ...]


def decide(fits: Sequence[Fit], slope: Slope | None, penalty: Penalty | None, allowed: float) -> Judgement:
    """`stable`: stays, and costs nothing; `shifts`: moves, and costs nothing yet; `drifts`: costs;
    `inconclusive`: open, with what is open."""
    reasons = [reason for fit in fits for reason in _told(fit, allowed)]
    if (peaks := sum(map(_is_peak, fits))) > len(fits) / 2:
        told = f"{peaks} of {len(fits)} curves are highest inside, and lowest at an end"
        reasons.append(f"{told}: are these scores, of which more is better? Then give their negative")
    if (bent := _bend(fits)) is not None:
        reasons.append(bent)
    moves, costs = _moves(slope), _costs(penalty, allowed)
    if (largest := fits[-1].loss) is not None and 0 < largest <= allowed < np.inf:
        told = f"a transfer may cost {allowed:.3g}, and the largest scale's best loss is {largest:.3g}"
        reasons.append(f"{told}; give the tolerance in the losses' unit")
    speaking = sum(fit.status in ("ok", "at_edge") for fit in fits)
    if speaking and fits[-1].status == "all_diverged":
        speaking += 1  # it says that the smaller ones' values do not transfer
    if speaking < MIN_SCALES:
        why = f"{speaking} usable scale{'' if speaking == 1 else 's'}; at least {MIN_SCALES} are needed"
        return Judgement("inconclusive", moves, costs, (why, *reasons))
    if costs.answer == "yes":
        return Judgement("drifts", moves, costs, tuple(reasons))
    if costs.answer == "no" and moves.answer != "open":
        return Judgement("shifts" if moves.answer == "yes" else "stable", moves, costs, tuple(reasons))
    if all(fit.curve.usable.sum() <= MIN_POINTS and fit.curve.runs.max() == 1 for fit in fits):
        most = max(int(fit.curve.usable.sum()) for fit in fits)
        reasons.append(f"{most} values a scale, of one run each, tell no noise; add values or seeds")
    return Judgement("inconclusive", moves, costs, (*_open(moves, costs, penalty, allowed), *reasons))


def _is_peak(fit: Fit) -> bool:
    """Whether the highest finite loss is inside, well above both ends, of which one is the lowest, and a
    parabola explains most of the curve."""
    x, y = (values[fit.curve.usable] for values in (fit.curve.x, fit.curve.y))
    if len(x) < MIN_POINTS + 1 or np.ptp(y) == 0 or y.argmin() not in (0, len(y) - 1):
        return False
    if y.max() - max(y[0], y[-1]) < PEAK_FALL * np.ptp(y):
        return False
    left = y - np.polyval(np.polyfit(x - x.mean(), y, 2), x - x.mean())
    return bool(left.var() < PEAK_SHARE * y.var())


def _bend(fits: Sequence[Fit]) -> str | None:
    """What to say where the optima of the smaller and of the larger scales follow no one line."""
    known = [fit for fit in fits if fit.usable and fit.vertex_R is not None]
    if len(known) < MIN_BENT:
        return None
    scale_S = np.log2([fit.curve.scale for fit in known])
    vertex_RS = np.stack([fit.vertex_R for fit in known if fit.vertex_R is not None], axis=1)
    middle = len(known) // 2
    small_R, large_R = (
        np.polyfit(scale_S[part], vertex_RS[:, part].T, 1)[0]
        for part in (slice(None, middle + 1), slice(middle, None))
    )
    low, high = np.percentile(large_R - small_R, [2.5, 97.5])
    if low <= BENT_OCTAVES and high >= -BENT_OCTAVES:
        return None
    small, large = (f"{float(np.median(slope_R)):+.2f}".replace("-", "−") for slope_R in (small_R, large_R))
    told = f"the optima bend: {small} octaves per doubling up to {scale_name(known[middle].curve.scale)}"
    return f"{told}, {large} from there on; beyond the largest scale one line says little"


def _moves(slope: Slope | None) -> Question:
    if slope is None:
        return Question("open", None)
    size_R = np.abs(slope.slope_R)
    further = float(np.mean(size_R > MOVES_OCTAVES))
    value = slope.estimate.value
    if abs(value) >= MOVES_OCTAVES:
        same_side = float(np.mean(slope.slope_R * value > 0))
        return Question("yes" if same_side >= YES_SURE else "open", further)
    stays = float(np.mean(size_R < STAYS_OCTAVES))
    return Question("no" if stays >= NO_SURE else "open", further)


def _costs(penalty: Penalty | None, allowed: float) -> Question:
    if penalty is None:
        return Question("open", None)
    costs, cheap = float(np.mean(penalty.least_R > allowed)), float(np.mean(penalty.most_R <= allowed))
    answer: Answer = "yes" if costs >= YES_SURE else "no" if cheap >= NO_SURE else "open"
    return Question(answer, costs)


def _open(moves: Question, costs: Question, penalty: Penalty | None, allowed: float) -> list[str]:
    """What is open, in words."""
    found = []
    if costs.answer == "open":
        found.append(
            "no value to transfer, or no scale to transfer it to"
            if penalty is None
            else f"open whether transferring costs more than {allowed:.3g}: {_chance(penalty, allowed)}"
        )
        if penalty is not None and penalty.beyond:
            told = (
                f"the value that is transferred, 2^{penalty.chosen:.1f}, lies beyond what was measured there"
            )
            found.append(f"{told}: measure it at the largest scale")
    if moves.answer == "open":
        found.append(
            "fewer than two scales have an optimum inside their grid"
            if moves.probability is None
            else f"open whether the optimum moves by more than {MOVES_OCTAVES} octaves per doubling: "
            f"probability {moves.probability:.0%}"
        )
    return found


def _chance(penalty: Penalty, allowed: float) -> str:
    """From what transferring costs at least to what it may cost, where nothing was measured."""
    least, most = (f"{np.mean(lost_R > allowed):.0%}" for lost_R in (penalty.least_R, penalty.most_R))
    return f"probability {least}" if least == most else f"probability {least} at least, {most} at most"


def _told(fit: Fit, allowed: float) -> list[str]:
    """What is to be said of one scale."""
    scale, curve = scale_name(fit.curve.scale), fit.curve
    reasons = []
    ridges = [x for x in curve.spiked if _in_every_run(curve, x)]
    if spikes := [x for x in curve.spiked if x not in ridges]:
        reasons.append(f"scale {scale}: the loss spikes at {_values(spikes)}; left out")
    if ridges:
        told = f"the loss is higher at {_values(ridges)} than beside it in every run, which is no chance"
        reasons.append(f"scale {scale}: {told}; left out, as of a valley with two floors")
    if curve.blown:
        reasons.append(f"scale {scale}: blew up at {_values(curve.blown)}; taken for diverged")
    if curve.lone is not None:
        told = f"the lowest loss, at {_values([curve.lone])}, is far below what lies beside it, and the next"
        reasons.append(
            f"scale {scale}: {told} lowest is elsewhere; a further seed tells whether that was chance"
        )
    if between := _diverged_between(curve):
        told = f"diverged at {_values(between)}, between values that did not"
        reasons.append(f"scale {scale}: {told}; a further seed tells whether that was chance")
    if curve.pruned:
        reasons.append(f"scale {scale}: stopped early at {_values(curve.pruned)}, being far behind")
    match fit.status:
        case "ok":
            pass
        case "at_edge" if fit.spread <= allowed < np.inf and curve.usable.sum() >= MIN_POINTS:
            told = (
                f"the loss differs by {fit.spread:.2g} over the whole grid, no more than a transfer may cost"
            )
            reasons.append(f"scale {scale}: {told}")
        case "at_edge":
            end = "lowest" if fit.edge == "low" else "highest"
            reasons.append(f"scale {scale}: the optimum is at the {end} value of the grid; extend it")
        case "all_diverged":
            reasons.append(f"scale {scale}: every trial diverged; add lower values")
        case "too_few":
            reasons.append(f"scale {scale}: too few points around the minimum; refine the grid")
    return reasons


def _in_every_run(curve: Curve, x: float) -> bool:
    """Whether each of several runs at a value ended above all of those at the values beside it."""
    there = np.flatnonzero(np.isfinite(curve.losses_SP).any(axis=0))
    place = int(np.argmin(np.abs(curve.x[there] - x)))
    beside = [there[index] for index in (place - 1, place + 1) if 0 <= index < len(there)]
    here = curve.losses_SP[:, there[place]]
    here = here[np.isfinite(here)]
    return len(here) > 1 and bool(here.min() > np.nanmax(curve.losses_SP[:, beside]))


def _diverged_between(curve: Curve) -> list[float]:
    """log2 of the values that diverged although some to either side did not."""
    there = np.flatnonzero(curve.usable)
    inside = range(there[0], there[-1]) if len(there) else range(0)
    gone = (float(curve.x[index]) for index in inside if np.isposinf(curve.y[index]))
    return [x for x in gone if x not in (*curve.blown, *curve.pruned)]


def _values(values: Sequence[float]) -> str:
    return ", ".join(f"2^{x:g}" for x in values)
