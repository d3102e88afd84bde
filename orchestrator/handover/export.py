"""The hand-over to the large run: tuned base hyperparameters and the values of every parameter there."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ...models.architectures.registry import ARCHITECTURES
from ...models.handover.handover import SCHEMA, WHERE, Caution, Severity
from ...models.handover.values import model_fields, other_hyperparameters, sizes_of, values_of
from ...models.optimizers.registry import OPTIMIZERS
from ...models.recipe.budget import tokens_of
from ...models.recipe.family import family_of
from ...models.recipe.identity import IDLE, unread_fields
from ...models.recipe.inventory import parameter_count
from ...models.recipe.recipe import EXPERTS, FIELDS, Recipe, recipe_from_point
from ...models.recipe.version import CHANGES
from ...results.questions.choice import tuned_log2, usable_optima
from ...results.questions.comparison import Comparison, rows_behind
from ...results.report import words
from ...results.report.contract import comparison_object
from ...results.statistics.curve import scale_name
from ...results.statistics.prediction import predict
from ...results.store.schema import BEFORE, POINT
from ...sweeps.spec import GIVEN, check_value
from .budget import ruled
from .fault import ExportError
from .horizon import Adjustment, adjustments, widened

CONVENTIONS = ("tied", "learnable_multipliers", "weight_decay_convention", "update_convention")

OF_MODELS = ("width", "depth", *EXPERTS)
"""The scales that a large model's sizes are on."""
MAX_SCALE_RATIO = 64.0
"""Beyond this ratio between the target and the largest measured scale the export warns."""
MAX_OUTSIDE = 3.0
"""Doublings beyond the measured batches or durations that a slope is followed without --extrapolate."""
ROUNDED_SHARE = 0.01
"""Of the tokens that are asked for; what whole batches differ from them by more is said."""
MAX_TOKENS_RATIO = 4.0
"""Between the tokens for each parameter of target and proxy; beyond it the export warns."""


@dataclass(frozen=True, slots=True)
class Target:
    """The large run: its shape, and where they are given its batch, in sequences or in tokens, its horizon in
    tokens, its sequences, its vocabulary and its experts."""

    width: int
    depth: int
    batch: int | None = None
    tokens: int | None = None
    sequence_length: int | None = None
    batch_tokens: int | None = None
    vocabulary: int | None = None
    experts: int | None = None
    granularity: int | None = None


@dataclass(frozen=True, slots=True)
class Leave:
    """What the export may do beyond the evidence: the rules that it follows, and whether it extrapolates."""

    rules: tuple[str, ...] = ()
    extrapolate: bool = False


NO_LEAVE = Leave()


def export_object(
    comparison: Comparison,
    rows: pd.DataFrame,
    target: Target,
    others: Sequence[Comparison] = (),
    leave: Leave = NO_LEAVE,
) -> dict[str, Any]:
    """The export as plain values. `others` are the report's further comparisons, for batch and duration.

    Raises ExportError when the rows do not say how they were trained, when the target is impossible, and when
    it is further beyond what was measured than there is leave for.
    """
    must_be_of_rates(comparison)
    tuned_at, interval = tuned_log2(comparison)
    family = rows_behind(comparison, rows)
    measured = _recipe_behind(best_point(comparison, family))
    measured = replace(measured, learning_rate=2.0**tuned_at)
    large = _at_target(measured, target)
    moved, unmeasured = adjustments(comparison, others, measured, large)
    for one in moved if not leave.extrapolate else ():
        must_be_near(one.axis, f"{one.target}", one.outside, one.measured_range)
    log2_rate = tuned_at + sum(adjustment.octaves for adjustment in moved)
    interval = widened(interval, moved)
    large = replace(large, learning_rate=2.0**log2_rate)
    axes = tuple(adjustment.axis for adjustment in moved)
    large, followed, unfollowed = ruled(measured, large, leave.rules, axes)
    by_rules = large.learning_rate / 2.0**log2_rate
    tuned = replace(large, shape=measured.shape, steps=measured.steps, batch_size=measured.batch_size)
    base, values = large.base_shape(), values_of(large)
    return {
        "schema": SCHEMA,
        **family_of(large)._asdict(),
        "base": sizes_of(base),
        "target": {
            **sizes_of(large.shape),
            "head_size": large.shape.head_size,
            "batch_size": large.batch_size,
            "sequence_length": large.shape.sequence_length,
            "steps": large.steps,
            "tokens": large.steps * large.batch_size * large.shape.sequence_length,
        },
        "model": model_fields(large.shape),
        "hyperparameters": {
            "learning_rate": tuned.learning_rate,
            "learning_rate_interval": [None if end is None else 2.0**end * by_rules for end in interval],
            **other_hyperparameters(large),
        },
        **{name: values[name] for name in CONVENTIONS},
        "adjustments": [
            {"axis": a.axis, "measured": a.measured, "target": a.target, "octaves": round(a.octaves, 6),
             "interval": [round(a.octaves - a.reach, 6), round(a.octaves + a.reach, 6)],
             "measured_range": list(a.measured_range), "outside": round(a.outside, 3)}
            for a in moved
        ],
        "rules": followed,
        **{name: value for name, value in values.items() if name not in CONVENTIONS},
        "evidence": {
            "comparison": comparison_object(comparison),
            "steps": tuned.steps,
            "batch_size": tuned.batch_size,
            "sequence_length": tuned.shape.sequence_length,
            "data": tuned.data,
        },
        "places": {site: WHERE[site] for site in values["multipliers"]},
        "warnings": [
            *size_warnings(comparison, family, target, tuned_at), *cautions("warning", unmeasured),
            *cautions("warning", _far(moved)), *cautions("note", unfollowed),
            *cautions("warning", [*_changed(measured, family), *_differences(measured, large, target)]),
        ],
    }  # fmt: skip


def _at_target(measured: Recipe, target: Target) -> Recipe:
    """The recipe at the target; its steps are those that the tokens make with its batch."""
    try:
        shape = replace(
            measured.shape,
            width=target.width,
            depth=target.depth,
            sequence_length=target.sequence_length or measured.shape.sequence_length,
            vocab_size=target.vocabulary or measured.shape.vocab_size,
            experts=target.experts or measured.shape.experts,
            granularity=target.granularity or measured.shape.granularity,
        )
    except ValueError as error:
        raise ExportError(f"the target does not fit: {error}") from None
    if measured.shape.experts == 1 and (target.experts or target.granularity):
        raise ExportError("--experts, --granularity: the proxies have no experts, and none was measured")
    batch = target.batch or measured.batch_size
    if target.batch_tokens is not None:
        if target.batch is not None:
            raise ExportError("--batch, --batch-tokens: say one")
        batch, rest = divmod(target.batch_tokens, shape.sequence_length)
        if rest or not batch:
            raise ExportError(
                f"--batch-tokens {target.batch_tokens}: is no multiple of the {shape.sequence_length} tokens "
                "of a sequence (--sequence-length)"
            )
    steps = measured.steps
    if target.tokens is not None:
        steps = round(target.tokens / (batch * shape.sequence_length))
        if steps < 1:
            raise ExportError(f"the target does not fit: {target.tokens} tokens are less than one batch")
    return replace(_with_base(measured), shape=shape, batch_size=batch, steps=steps)


def _with_base(measured: Recipe) -> Recipe:
    """With the experts of its base, where the sweep left out that they are the proxies'."""
    if measured.shape.experts == 1:
        return measured
    return replace(
        measured,
        base_experts=measured.base_experts or measured.shape.experts,
        base_granularity=measured.base_granularity or measured.shape.granularity,
    )


def must_be_of_rates(comparison: Comparison) -> None:
    """Raises ExportError for a comparison of another hyperparameter: what follows from it is not known."""
    if comparison.hyperparameter != "learning_rate":
        raise ExportError(
            f"{comparison.hyperparameter}: values of each parameter follow from a learning rate alone; "
            "--target SCALE hands over the tuned value"
        )


def must_be_near(axis: str, target: str, outside: float, measured: tuple[float, float]) -> None:
    """Raises ExportError for a slope that is followed far beyond the scales that it was measured on:
    `outside` doublings."""
    if outside > MAX_OUTSIDE:
        low, high = measured
        raise ExportError(
            f"{axis} {target}: is {outside:.1f} doublings beyond what was measured ({scale_name(low)} to "
            f"{scale_name(high)}), and a slope holds for {MAX_OUTSIDE:g}; sweep {axis} further, or add "
            "--extrapolate"
        )


def _far(moved: Sequence[Adjustment]) -> list[str]:
    return [
        f"{a.axis} {a.target}: the learning rate is moved by {a.octaves:+.2f} octaves (95 % interval "
        f"{a.octaves - a.reach:+.2f} to {a.octaves + a.reach:+.2f}), {a.outside:.1f} doublings beyond what "
        f"was measured ({scale_name(a.measured_range[0])} to {scale_name(a.measured_range[1])})"
        for a in moved
        if a.outside > 0
    ]


def _differences(measured: Recipe, large: Recipe, target: Target) -> list[str]:
    """Between proxies and target in what moves the optimum and no rule here corrects for."""
    told = []
    ours, theirs = measured.shape, large.shape
    if ours.sequence_length != theirs.sequence_length:
        told.append(
            f"sequence_length {theirs.sequence_length}: {ours.sequence_length} was measured, at other "
            "numbers of tokens in a batch"
        )
    if ours.vocab_size != theirs.vocab_size:
        told.append(f"vocabulary {theirs.vocab_size}: {ours.vocab_size} was measured")
    trained = tokens_of(large)
    if target.tokens is not None and abs(trained / target.tokens - 1) > ROUNDED_SHARE:
        told.append(
            f"{target.tokens} tokens are no whole number of batches of {trained // large.steps}; the large "
            f"run trains on {trained}"
        )
    proxy, run = (tokens_of(one) / parameter_count(one.shape) for one in (measured, large))
    if target.tokens is not None and max(proxy / run, run / proxy) > MAX_TOKENS_RATIO:
        told.append(
            f"{run:.3g} tokens for each parameter: the largest proxies had {proxy:.3g}; sweep steps to see "
            "whether the optimum moves with them"
        )
    return told


def _changed(measured: Recipe, family: pd.DataFrame) -> list[str]:
    """What these recipes do now and did not when they were measured."""
    before = family.get("recipe_version", pd.Series(1)).min()
    changes = [change.what for change in CHANGES if change.since > before and change.concerns(measured)]
    return [f"{what}: the values are for that, and trials before it were measured" for what in changes]


def best_point(comparison: Comparison, family: pd.DataFrame) -> dict[str, Any]:
    """The point of the best trial of the comparison's largest usable scale; None for what it does not say."""
    largest = family[comparison.axis] == usable_optima(comparison)[-1].scale
    best = family[largest & (family["status"] == "finished")].sort_values("loss").iloc[0]
    return {field.name: _plain(best[field.name], field.type) for field in POINT}


def _recipe_behind(point: dict[str, Any]) -> Recipe:
    """The recipe at a point."""
    # Rows of sweeps that are older than a field have no value for it.
    point |= {name: old for name, old in BEFORE.items() if name in point and point[name] is None}
    if point["architecture"] in ARCHITECTURES and point["optimizer"] in OPTIMIZERS:
        idle = {name for name, idles in IDLE.items() if point[name] is None and idles(point)}
        for name in unread_fields(point) | idle:
            del point[name]
    missing = [name for name, value in point.items() if value is None and not FIELDS[name].nullable]
    if missing:
        raise ExportError(
            f"the measurements do not say how they were trained ({', '.join(missing)} missing), so the "
            "values of each parameter cannot be derived; --target SCALE hands over the value alone"
        )
    foreign = [
        f"{name} {reason}"
        for name, value in point.items()
        if name in GIVEN and value is not None and (reason := check_value(name, value))
    ]
    if foreign:
        raise ExportError(f"the measurements were not trained by rules that we know: {'; '.join(foreign)}")
    try:
        return recipe_from_point(point)
    except ValueError as error:
        raise ExportError(f"the measurements are of no training that we know: {error}") from None


def cautions(severity: Severity, texts: Iterable[str]) -> list[dict[str, str]]:
    return [asdict(Caution(severity, text)) for text in texts]


def verdict_warnings(comparison: Comparison) -> list[dict[str, str]]:
    verdict = comparison.drift.verdict
    told = f"the verdict is {verdict}, so the optimum at the target may be another"
    return [] if verdict == "stable" else cautions("danger" if verdict == "drifts" else "warning", [told])


def line_warnings(comparison: Comparison, scale: float, log2: float) -> list[dict[str, str]]:
    """Where the line through the optima goes elsewhere than what is handed over, and where that would cost
    more than a transfer may."""
    found = predict(comparison.drift, scale, log2)
    if found is None:
        return []
    at = f"{comparison.axis} {scale_name(scale)}"
    low, high = found.log2_optimum.interval
    told = []
    if (low is not None and log2 < low) or (high is not None and log2 > high):
        line = f"{words.power_of_two(found.log2_optimum.value)} {words.interval(found.log2_optimum.interval)}"
        told.append(
            f"{at}: the line through the optima says {line}, and {words.power_of_two(log2)} is handed over"
        )
    allowed = comparison.drift.allowed.loss
    if found.penalty is not None and found.penalty.value > allowed:
        cost = f"costs {' '.join(words.penalty(found.penalty)).strip()}, where {allowed:.3g} is allowed"
        cost = cost if np.isfinite(found.penalty.value) else "diverges"
        told.append(f"{at}: by that line and the largest scale's valley, what is handed over {cost}")
    return cautions("warning", told)


def size_warnings(
    comparison: Comparison, family: pd.DataFrame, target: Target, log2: float
) -> list[dict[str, str]]:
    """What the target asks beyond the evidence; `log2` of what is handed over."""
    warnings = list[str]()
    for name in OF_MODELS:
        asked = getattr(target, name)
        held = family[name].dropna().unique() if name in family else ()
        measured = sorted(int(value) for value in held)
        if not measured or asked is None:
            continue  # a program's, whose trials need not say it
        if len(measured) == 1 and asked != measured[0]:
            warnings.append(f"{name} {asked}: only {name} {measured[0]} was measured")
        elif asked > MAX_SCALE_RATIO * measured[-1]:
            ratio = asked / measured[-1]
            warnings.append(f"{name} {asked} is {ratio:g} times the largest measured, {measured[-1]}")
    asked = getattr(target, comparison.axis, None)
    line = [] if asked is None else line_warnings(comparison, float(asked), log2)
    return [*verdict_warnings(comparison), *line, *cautions("warning", warnings)]


def _plain(value: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 - a cell of any column
    """A cell as Python's own value; pandas holds integers with gaps as floats."""
    if pd.isna(value):
        return None
    return int(value) if pa.types.is_integer(kind) else getattr(value, "item", lambda: value)()
