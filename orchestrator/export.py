"""The hand-over to the large run: tuned base hyperparameters and the values of every parameter there."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import pyarrow as pa
from ruamel.yaml import YAML

from ..models.parametrization.rules import ParameterRule, multipliers, parameter_rules
from ..models.recipe import Recipe, recipe_from_point
from ..results.comparison import Comparison
from ..results.contract import comparison_object
from ..results.drift import ScaleOptimum
from ..results.schema import POINT

EXPORT_SCHEMA = 1
MAX_SCALE_RATIO = 64.0
"""Beyond this ratio between the target and the largest measured scale the export warns."""


class ExportError(Exception):
    """The export cannot be made from this directory as asked; the message lists the choices."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to export, where the directory holds several: None takes the only one."""

    architecture: str | None
    optimizer: str | None
    parametrization: str | None


def choose(comparisons: Sequence[Comparison], choice: Choice) -> Comparison:
    """The learning-rate comparison to export from: of one family, the one with the lowest loss.

    Raises ExportError when the choice leaves several families or none.
    """
    wanted = {name: getattr(choice, name) for name in ("architecture", "optimizer", "parametrization")}
    fitting = [
        c
        for c in comparisons
        if c.hyperparameter == "learning_rate"
        and all(value is None or getattr(c, name) == value for name, value in wanted.items())
    ]
    families = sorted({(c.architecture or "", c.optimizer or "", c.parametrization or "") for c in fitting})
    if len(families) != 1:
        held = families or sorted({(c.architecture or "", c.optimizer or "", c.parametrization or "")
                                   for c in comparisons})  # fmt: skip
        choices = "\n".join(f"  --architecture {a} --optimizer {o} --parametrization {p}" for a, o, p in held)
        problem = "several families fit" if families else "no family fits"
        raise ExportError(f"{problem}; choose one of\n{choices}")
    tuned = [c for c in fitting if _usable(c)]
    if not tuned:
        reasons = "; ".join(reason for c in fitting for reason in c.drift.reasons)
        raise ExportError(f"no scale has an interior optimum to export: {reasons}")
    return min(tuned, key=lambda c: (_usable(c)[-1].loss, -len(_usable(c))))


def export_object(comparison: Comparison, rows: pd.DataFrame, width: int, depth: int) -> dict[str, Any]:
    """The export as plain values. Raises ExportError when the rows do not say how they were trained."""
    log2_rate, interval = tuned_log2(comparison)
    tuned = replace(_recipe_behind(comparison, rows), learning_rate=2.0**log2_rate)
    try:
        target = replace(tuned, shape=replace(tuned.shape, width=width, depth=depth))
    except ValueError as error:
        raise ExportError(f"the target does not fit: {error}") from None
    base, rules = target.base_shape(), parameter_rules(target)
    return {
        "schema": EXPORT_SCHEMA,
        "architecture": target.shape.architecture,
        "optimizer": target.optimizer,
        "parametrization": target.parametrization,
        "base": {"width": base.width, "depth": base.depth},
        "target": {"width": width, "depth": depth},
        "hyperparameters": {
            "learning_rate": tuned.learning_rate,
            "learning_rate_interval": [None if end is None else 2.0**end for end in interval],
            **_other_hyperparameters(tuned),
        },
        "weight_decay_convention": "coupled: W <- W - learning_rate * (update + weight_decay * W)",
        "multipliers": {site.value: value for site, value in multipliers(target).items()},
        "roles": {rule.parameter.role.value: _values(rule) for rule in _first_by_role(rules)},
        "parameters": {rule.parameter.pattern: _parameter(rule) for rule in _first_by_pattern(rules)},
        "evidence": {
            "comparison": comparison_object(comparison),
            "steps": tuned.steps,
            "batch_size": tuned.batch_size,
            "sequence_length": tuned.shape.sequence_length,
            "data": tuned.data,
        },
        "warnings": _warnings(comparison, target),
    }


def export_text(handed: Mapping[str, Any], style: str) -> str:
    if style == "json":
        return json.dumps(handed, indent=1, allow_nan=False) + "\n"
    text = io.StringIO()
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(dict(handed), text)
    return text.getvalue()


def tuned_log2(comparison: Comparison) -> tuple[float, tuple[float | None, float | None]]:
    """log2 of the base learning rate to hand over, and its interval.

    A parametrization that transfers has one optimum, so the mean over the scales is it. Where the
    optimum drifts, only the largest measured scale speaks for anything larger.
    """
    usable = _usable(comparison)
    if comparison.drift.verdict != "stable" or len(usable) == 1:
        last = usable[-1]
        assert last.log2_optimum is not None and last.interval is not None
        return last.log2_optimum, last.interval
    values = [entry.log2_optimum for entry in usable if entry.log2_optimum is not None]
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return mean, (mean - 2 * spread, mean + 2 * spread)


def _usable(comparison: Comparison) -> list[ScaleOptimum]:
    return [entry for entry in comparison.drift.optima if entry.status == "ok"]


def _recipe_behind(comparison: Comparison, rows: pd.DataFrame) -> Recipe:
    """The recipe of the best trial of the comparison's largest usable scale."""
    wanted = {
        "status": "finished",
        comparison.axis: _usable(comparison)[-1].scale,
        "architecture": comparison.architecture,
        "optimizer": comparison.optimizer,
        "parametrization": comparison.parametrization,
        **comparison.fixed,
    }
    members = rows
    for name, value in wanted.items():
        members = members[members[name].isna() if value is None else members[name] == value]
    best = members.sort_values("loss").iloc[0]
    point = {field.name: _plain(best[field.name], field.type) for field in POINT}
    missing = [name for name in ("steps", "batch_size", "data", "vocab_size") if point.get(name) is None]
    if missing:
        raise ExportError(
            f"the measurements do not say how they were trained ({', '.join(missing)} missing), so the "
            "values of each parameter cannot be derived; export works on sweeps that mutransfer ran"
        )
    return recipe_from_point(point)


def _other_hyperparameters(tuned: Recipe) -> dict[str, Any]:
    named = ["weight_decay", "grad_clip", "schedule", "warmup", "final_lr", "init", "init_scale"]
    named += ["beta1", "beta2", "epsilon"] if tuned.optimizer == "adamw" else ["momentum"]
    return {name: getattr(tuned, name) for name in named}


def _values(rule: ParameterRule) -> dict[str, Any]:
    return {
        "init_std": rule.init_std,
        "learning_rate": rule.learning_rate,
        "weight_decay": rule.weight_decay,
        "epsilon": rule.epsilon,
        "source": rule.source,
    }


def _parameter(rule: ParameterRule) -> dict[str, Any]:
    parameter = rule.parameter
    return {
        "role": parameter.role.value,
        "shape": list(parameter.shape),
        **_values(rule),
        "multiplier": rule.multiplier,
    }


def _first_by_role(rules: Sequence[ParameterRule]) -> list[ParameterRule]:
    return list({rule.parameter.role: rule for rule in reversed(rules)}.values())[::-1]


def _first_by_pattern(rules: Sequence[ParameterRule]) -> list[ParameterRule]:
    return list({rule.parameter.pattern: rule for rule in reversed(rules)}.values())[::-1]


def _warnings(comparison: Comparison, target: Recipe) -> list[str]:
    drift, shape = comparison.drift, target.shape
    warnings = []
    if drift.verdict != "stable":
        warnings.append(f"the verdict is {drift.verdict}, so the optimum at the target may be another")
    largest = _usable(comparison)[-1].scale
    asked = float(getattr(shape, comparison.axis)) if comparison.axis in ("width", "depth") else largest
    if asked > MAX_SCALE_RATIO * largest:
        warnings.append(
            f"{comparison.axis} {asked:g} is {asked / largest:g} times the largest measured, {largest:g}"
        )
    for other in ({"width", "depth"} - {comparison.axis}) & {"width", "depth"}:
        measured = comparison.fixed.get(other, _common(target, other))
        if measured is not None and getattr(shape, other) != measured:
            warnings.append(
                f"{other} {getattr(shape, other)} was not swept: evidence is along {comparison.axis}"
            )
    return warnings


def _common(target: Recipe, name: str) -> int | None:
    return target.base_depth if name == "depth" else target.base_width


def _plain(value: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 - a cell of any column
    """A cell as Python's own value; pandas holds integers with gaps as floats."""
    if pd.isna(value):
        return None
    return int(value) if pa.types.is_integer(kind) else getattr(value, "item", lambda: value)()
