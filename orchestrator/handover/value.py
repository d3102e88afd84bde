"""The hand-over of a value alone: of measurements that do not say how each parameter was trained."""

import math
from typing import Any

from ...models.handover.handover import SCHEMA
from ...results.questions.choice import NothingTunedError, tuned_log2, usable_optima
from ...results.questions.comparison import Comparison
from ...results.report.contract import comparison_object
from ...results.statistics.curve import scale_name
from ...results.statistics.interval import Interval
from ...results.statistics.prediction import predict
from .export import MAX_SCALE_RATIO, cautions, line_warnings, must_be_near, verdict_warnings


def value_object(comparison: Comparison, target: float, *, extrapolate: bool = False) -> dict[str, Any]:
    """The tuned hyperparameter at a scale of the comparison's axis: where the optimum is stable the mean over
    the scales, else what the line through the optima says. Raises NothingTunedError where one scale alone
    has an optimum, ExportError for a line that is followed further than there is leave for."""
    predicted = predict(comparison.drift, target)
    (first, *others) = usable_optima(comparison)
    if not others and first.scale != target:
        raise NothingTunedError(
            f"only {comparison.axis} {scale_name(first.scale)} has an optimum inside its grid; nothing says "
            f"what it becomes at {scale_name(target)}"
        )
    if comparison.drift.verdict == "stable" or predicted is None:
        log2, interval = tuned_log2(comparison)
        if predicted is not None:
            interval = _hull(interval, predicted.log2_optimum.interval)
    else:
        if not extrapolate:
            optima = usable_optima(comparison)
            low, high = optima[0].scale, optima[-1].scale
            outside = max(math.log2(target / high), math.log2(low / target))
            must_be_near(comparison.axis, scale_name(target), outside, (low, high))
        log2, interval = predicted.log2_optimum.value, predicted.log2_optimum.interval
    name = comparison.hyperparameter
    return {
        "schema": SCHEMA,
        **comparison.family._asdict(),
        "target": {comparison.axis: target},
        "hyperparameters": {
            name: 2.0**log2,
            f"{name}_interval": [None if end is None else 2.0**end for end in interval],
        },
        "evidence": {"comparison": comparison_object(comparison)},
        "warnings": _warnings(comparison, target, log2),
    }


def _hull(one: Interval, other: Interval) -> Interval:
    """What holds both; an open end stays open."""
    lows, highs = zip(one, other, strict=True)
    return (
        None if None in lows else min(low for low in lows if low is not None),
        None if None in highs else max(high for high in highs if high is not None),
    )


def _warnings(comparison: Comparison, target: float, log2: float) -> list[dict[str, str]]:
    largest = usable_optima(comparison)[-1].scale
    far = []
    if target > MAX_SCALE_RATIO * largest:
        times = f"{target / largest:g} times the largest measured, {scale_name(largest)}"
        far = [f"{comparison.axis} {scale_name(target)} is {times}"]
    alone = "the value alone: what each parameter gets from it is for you to say"
    beyond = [*line_warnings(comparison, target, log2), *cautions("warning", far)]
    return [*cautions("note", [alone]), *verdict_warnings(comparison), *beyond]
