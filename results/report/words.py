"""Numbers and intervals as the report writes them: the same words in every format."""

from ..comparison import Comparison
from ..drift import Estimate, ScaleOptimum
from ..optimum import Interval

MINUS = "−"


def signed(value: float | None, digits: int = 2) -> str:
    if value is None:
        return "–"
    return f"{value:+.{digits}f}".replace("-", MINUS)


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def exponent(value: float) -> str:
    """A power of a rule: 0, −1, −0.5."""
    return f"{value:g}".replace("-", MINUS)


def interval(ends: Interval | None, digits: int = 2) -> str:
    """`[low, high]`; an open side is written as ∞."""
    if ends is None:
        return ""
    low, high = ends
    left = f"{MINUS}∞" if low is None else f"{low:.{digits}f}".replace("-", MINUS)
    right = "∞" if high is None else f"{high:.{digits}f}".replace("-", MINUS)
    return f"[{left}, {right}]"


def slope(estimate: Estimate | None) -> tuple[str, str]:
    """A slope and its interval."""
    return (signed(None), "") if estimate is None else (signed(estimate.value), interval(estimate.interval))


def penalty(estimate: Estimate | None) -> tuple[str, str]:
    """A loss difference in nats and its interval."""
    return (
        (number(None), "") if estimate is None else (number(estimate.value), interval(estimate.interval, 3))
    )


def power_of_two(log2: float | None) -> str:
    return "–" if log2 is None else f"2^{log2:.1f}".replace("-", MINUS)


def scale_name(scale: float) -> str:
    return f"{scale:g}"


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
    fixed = ", ".join(f"{name} {value}" for name, value in comparison.fixed.items() if value is not None)
    return f"{comparison.title} ({fixed})" if fixed else comparison.title


def heading(comparison: Comparison) -> str:
    """What was compared, in one line."""
    return f"{label(comparison)}, {readable(comparison.hyperparameter)} across {readable(comparison.axis)}"


def readable(name: str) -> str:
    return name.replace("_", " ")


def superscript(power: int) -> str:
    """2⁻⁵, for axes."""
    return "2" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
