"""Numbers and intervals as the report writes them: the same words in every format."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from ...models.recipe.family import Family
from ..questions.comparison import Comparison
from ..questions.facts import Facts
from ..questions.mixtures import SAME_LOSS
from ..questions.options import OptionShift
from ..questions.searched import Searched
from ..statistics.curve import Curve
from ..statistics.drift import ScaleOptimum
from ..statistics.interval import Estimate, Interval

MINUS = "−"
HUGE = 1e9
"""Numbers from here on are written with an exponent."""
MOST_DECIMALS = 9
ALL_TRIALS = "all trials"


def signed(value: float | None, digits: int | None = 2) -> str:
    if value is None:
        return "–"
    shown = value if digits is None else round(value, digits)
    return ("+" if shown >= 0 else "") + number(value, digits)


def number(value: float | None, digits: int | None = 3) -> str:
    """With so many decimals; None of them is an exponent."""
    if value is None:
        return "–"
    plain = digits is not None and abs(value) < HUGE
    told = f"{round(value, digits) + 0.0:.{digits}f}" if plain else f"{value:.3g}"
    return told.replace("-", MINUS)


def exponent(value: float) -> str:
    """A power of a rule: 0, −1, −0.5."""
    return f"{value:g}".replace("-", MINUS)


def interval(ends: Interval | None, digits: int | None = 2) -> str:
    """`[low, high]`; an open side is written as ∞."""
    if ends is None:
        return ""
    low, high = ends
    left = f"{MINUS}∞" if low is None else number(low, digits)
    right = "∞" if high is None else number(high, digits)
    return f"[{left}, {right}]"


def slope(estimate: Estimate | None) -> tuple[str, str]:
    """A slope and its interval."""
    return (signed(None), "") if estimate is None else (signed(estimate.value), interval(estimate.interval))


def bound(estimate: Estimate) -> str:
    """The sign before a value that is known on one side alone."""
    match estimate.interval:
        case (None, float()):
            return "≤ "
        case (float(), None):
            return "≥ "
    return ""


def penalty(estimate: Estimate | None) -> tuple[str, str]:
    """A loss difference and its interval; at least that, where it has no upper end."""
    if estimate is None:
        return number(None), ""
    if math.isinf(estimate.value):
        return "diverges", ""
    if estimate.value == 0 and estimate.interval == (0.0, None):
        return f"≥ {number(0.0, 3)}", ""
    digits = loss_digits(estimate.value, estimate.interval)
    return f"{bound(estimate)}{number(estimate.value, digits)}", interval(estimate.interval, digits)


def loss_digits(value: float, ends: Iterable[float | None] = ()) -> int | None:
    """Decimals of a loss or a difference of losses, and of its interval."""
    return decimals(max(abs(value), *(abs(end) for end in ends if end is not None), 0.0))


def decimals(value: float) -> int | None:
    """Three, or as many as show two digits of a small loss, in whatever unit it is; None where that is no
    number to be read."""
    digits = 3 if value >= 0.002 or value == 0 else 1 - math.floor(math.log10(value))
    return digits if digits <= MOST_DECIMALS else None


def power_of_two(log2: float | None) -> str:
    return "–" if log2 is None else f"2^{log2:.1f}".replace("-", MINUS)


def optimum(entry: ScaleOptimum) -> str:
    """One scale's optimum in a table cell."""
    match entry.status:
        case "ok":
            return power_of_two(entry.log2_optimum)
        case "at_edge":
            sign = "≤" if entry.interval and entry.interval[0] is None else "≥"
            return f"{sign} {power_of_two(entry.log2_optimum)}"
        case "all_diverged":
            return "all diverged"
        case "too_few":
            return "too few points"


def label(comparison: Comparison) -> str:
    """Which trials, without what is compared: unique within one report."""
    return family_label(comparison.family, comparison.fixed)


def family_label(family: Family, fixed: Mapping[str, object]) -> str:
    told = ", ".join(f"{name} {told_value(value)}" for name, value in fixed.items())
    return f"{family.title} ({told})".strip() if told else family.title or ALL_TRIALS


def option_family(entry: OptionShift) -> str:
    """Which trials an option is compared on, without the option."""
    return family_label(entry.reference_of.family, entry.fixed)


def told_value(value: object) -> str:
    """A coordinate as the sweep file writes it."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def group(comparison: Comparison) -> str:
    """What parametrizations are compared within."""
    named = " ".join(part for part in (comparison.family.architecture, comparison.family.optimizer) if part)
    return named or comparison.title


BARS, STOPPED = "▁▂▃▄▅▆▇█", "↑"


def sparkline(curve: Curve) -> str:
    """A loss curve in as many characters as it has points: low is good, × diverged, ↑ stopped early, · left
    out.

    The bars reach to twice the median height above the scale's best loss: what lies higher is as bad as bad
    can be.
    """
    finite = curve.y[curve.usable]
    if not finite.size:
        return "×" * len(curve.y)
    above = finite - finite.min()
    risen = above[above > SAME_LOSS * np.abs(finite.min())]
    reach = min(float(risen.max()), 2 * float(np.median(risen))) if risen.size else abs(finite.min()) or 1.0
    heights = (curve.y - finite.min()) / reach * (len(BARS) - 1)
    marks = {float(x): STOPPED for x in curve.pruned}
    return "".join(
        marks.get(float(x)) or _bar(float(height)) for x, height in zip(curve.x, heights, strict=True)
    )


def unit(facts: Facts) -> str:
    return "in nats" if facts.in_nats else "in the losses' unit"


def fates(held: Facts | Searched) -> str:
    """How many trials or points have no loss, and why."""
    stopped = f", {held.pruned:,} stopped early" if held.pruned else ""
    return f"{held.diverged:,} diverged{stopped}"


def _bar(height: float) -> str:
    if math.isnan(height):
        return "·"
    return "×" if math.isinf(height) else BARS[min(round(height), len(BARS) - 1)]


def heading(comparison: Comparison) -> str:
    """What was compared, in one line."""
    return f"{label(comparison)}, {readable(comparison.hyperparameter)} across {readable(comparison.axis)}"


def readable(name: str) -> str:
    return name.replace("_", " ")


def superscript(power: int) -> str:
    """2⁻⁵, for axes."""
    return "2" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
