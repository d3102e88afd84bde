"""Another batch or duration than was swept: how far it moves the optimum, where that was measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...models.recipe.budget import follows_budget, tokens_of
from ...models.recipe.recipe import Recipe
from ...results.questions.comparison import Comparison
from ...results.statistics.interval import Interval

BUDGET_FIELDS = ("budget_rules", "horizon_exponent")


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What another batch or duration does to the optimum, as measured: octaves of the learning rate."""

    axis: str
    measured: int
    target: int
    octaves: float
    reach: float  # half of the 95 % interval
    measured_range: tuple[float, float]
    """Of the axis, where the slope was measured."""

    @property
    def outside(self) -> float:
        """Doublings of the target beyond that."""
        low, high = self.measured_range
        return max(0.0, math.log2(self.target / high), math.log2(low / self.target))


def adjustments(
    comparison: Comparison, others: Sequence[Comparison], measured: Recipe, large: Recipe
) -> tuple[list[Adjustment], list[str]]:
    """How far batch and duration move the optimum, by the slopes that were measured; and what was not."""
    found, missing = [], []
    alike = [
        other
        for other in others
        if other.hyperparameter == comparison.hyperparameter
        and other.family == comparison.family
        and all(other.fixed.get(n, getattr(measured, n)) == getattr(measured, n) for n in BUDGET_FIELDS)
        and other.drift.slope is not None
    ]
    duration = "tokens" if any(other.duration == "tokens" for other in alike) else "steps"
    for axis in ("batch_size", duration):
        before, after = _along(axis, measured), _along(axis, large)
        if before == after:
            continue
        slopes = [
            (other.drift.slope, tuple(entry.scale for entry in other.drift.optima))
            for other in alike
            if other.axis == axis and other.duration == duration and other.drift.slope is not None
        ]
        if not slopes:
            missing.append(f"{axis} {after}: {before} was measured, {_unmeasured(measured, axis)}")
            continue
        slope, scales = min(slopes, key=lambda told: _reach(told[0].interval))
        doublings = math.log2(after / before)
        reach = abs(doublings) * _reach(slope.interval)
        ends = (min(scales), max(scales))
        found.append(Adjustment(axis, before, after, slope.value * doublings, reach, ends))
    return found, missing


def _along(axis: str, recipe: Recipe) -> int:
    return tokens_of(recipe) if axis == "tokens" else int(getattr(recipe, axis))


def _unmeasured(measured: Recipe, axis: str) -> str:
    if follows_budget(measured):
        return f"and the sweep's rules are followed unmeasured; sweep {axis} to see whether they hold"
    return f"and the optimum moves with it; sweep {axis} to have it corrected for"


def _reach(interval: Interval) -> float:
    low, high = interval
    return math.inf if low is None or high is None else (high - low) / 2


def widened(interval: Interval, found: Sequence[Adjustment]) -> Interval:
    """Shifted by the adjustments, and wider by theirs, as independent errors add."""
    shift = sum(adjustment.octaves for adjustment in found)
    low, high = interval
    if low is None or high is None or not found:
        return (None if low is None else low + shift, None if high is None else high + shift)
    half = math.hypot((high - low) / 2, *(adjustment.reach for adjustment in found))
    return (low + high) / 2 + shift - half, (low + high) / 2 + shift + half
