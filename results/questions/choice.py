"""Which measurements speak for the large run: one family, and the value that it says."""

import math
from collections.abc import Sequence

from ...models.recipe.fault import NOTHING_TO_REPORT, Fault
from ..statistics.drift import ScaleOptimum
from ..statistics.interval import POSITION_OCTAVES, Interval
from .comparison import Comparison


class ChoiceError(Fault):
    """The request fits several families or none; the message lists what there is."""


class NothingTunedError(Fault):
    """No scale of the family has an interior optimum; the message says what stands in the way."""

    exit_code = NOTHING_TO_REPORT


def _is(held: str | None, asked: str) -> bool:
    """A table of the user's own may be asked for without its digest."""
    return held is not None and asked in (held, held.partition("@")[0])


def choose(
    comparisons: Sequence[Comparison],
    hyperparameter: str = "learning_rate",
    axes: Sequence[str] = (),
    **wanted: str | None,
) -> Comparison:
    """The comparison to hand over from: of one family, the one with the lowest loss, of those along `axes`
    where there are any.

    `wanted` names an architecture, optimizer or parametrization; None takes the only one. Raises
    ChoiceError and NothingTunedError.
    """
    swept = [c for c in comparisons if c.hyperparameter == hyperparameter]
    if not swept:
        readable = hyperparameter.replace("_", " ")
        raise ChoiceError(
            f"no {readable} was swept here; an export needs one with at least 3 values, and another than the "
            "learning rate by its name: --hyperparameter COLUMN"
        )
    asked = {name: value for name, value in wanted.items() if value is not None}
    fitting = [c for c in swept if all(_is(getattr(c.family, name), value) for name, value in asked.items())]
    families = _families(fitting)
    if len(families) != 1:
        problem = "several families fit" if families else "no family fits"
        choices = "\n".join(f"  {options}" for options in families or _families(swept))
        raise ChoiceError(f"{problem}; choose one of\n{choices}")
    tuned = [c for c in fitting if usable_optima(c)]
    if not tuned:
        reasons = "; ".join(dict.fromkeys(reason for c in fitting for reason in c.drift.reasons))
        raise NothingTunedError(f"no scale has an interior optimum to hand over: {reasons}")
    tuned = [c for c in tuned if c.axis in axes] or tuned
    return min(tuned, key=lambda c: (usable_optima(c)[-1].loss, -len(usable_optima(c))))


def tuned_log2(comparison: Comparison) -> tuple[float, Interval]:
    """log2 of the base value to hand over, and its range: two standard deviations over the scales.

    A parametrization that transfers has one optimum, so the mean over the scales is it. Where the
    optimum drifts, only the largest measured scale speaks for anything larger.
    """
    usable = usable_optima(comparison)
    if comparison.drift.verdict != "stable" or len(usable) == 1:
        last = usable[-1]
        assert last.log2_optimum is not None and last.interval is not None
        return last.log2_optimum, last.interval
    values = [entry.log2_optimum for entry in usable if entry.log2_optimum is not None]
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    reach = 2 * max(spread, POSITION_OCTAVES)
    return mean, (mean - reach, mean + reach)


def usable_optima(comparison: Comparison) -> list[ScaleOptimum]:
    return [entry for entry in comparison.drift.optima if entry.status == "ok"]


def _families(comparisons: Sequence[Comparison]) -> list[str]:
    """The options that pick each family."""
    named = [c.family._asdict().items() for c in comparisons]
    return sorted({" ".join(f"--{name} {value}" for name, value in one if value) for one in named})
