"""The hand-over to the large run: tuned base hyperparameters and the values of every parameter there."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa
from ruamel.yaml import YAML

from ..models.parametrization.rules import ParameterRule, multipliers, rules_by_pattern
from ..models.recipe import (
    ARCHITECTURE_FIELDS,
    LATER_FIELDS,
    OPTIMIZER_FIELDS,
    Recipe,
    recipe_from_point,
    unread_fields,
)
from ..results.choice import tuned_log2, usable_optima
from ..results.comparison import FAMILY, Comparison
from ..results.contract import comparison_object
from ..results.schema import POINT

EXPORT_SCHEMA = 1
# None is a value of these.
NULLABLE = {"base_width", "base_depth", "head_dim", "heads", "kv_heads", "queries_per_kv", "final_norm"}
DECAY = {
    "coupled": "coupled: W <- W - learning_rate * (update + weight_decay * W)",
    "independent": "independent: W <- W - learning_rate * update - weight_decay * W",
}
UPDATE_CONVENTION = {
    "muon": "sqrt(fan_out/fan_in) * U V^T",
    "muon-kimi": "0.2 * sqrt(max(fan_in, fan_out)) * U V^T",
    "shampoo": "(L + eps)^(-1/4) G (R + eps)^(-1/4), statistics averaged with beta2, result with beta1",
    "soap": "Adam in the eigenbasis of Shampoo's statistics",
    "spectral-sphere": "sqrt(fan_out/fan_in) * msign(M + lambda u v^T), tangent to the spectral sphere",
    "sophia": "clip(m / max(gamma * h, eps), 1)",
}
"""What a learning rate multiplies, where libraries of the same name differ."""

MAX_SCALE_RATIO = 64.0
"""Beyond this ratio between the target and the largest measured scale the export warns."""


class ExportError(Exception):
    """The export cannot be made for this target or from these measurements; the message says why."""


def export_object(comparison: Comparison, rows: pd.DataFrame, width: int, depth: int) -> dict[str, Any]:
    """The export as plain values. Raises ExportError when the rows do not say how they were trained."""
    log2_rate, interval = tuned_log2(comparison)
    family = _family_rows(comparison, rows)
    tuned = replace(_recipe_behind(comparison, family), learning_rate=2.0**log2_rate)
    try:
        target = replace(tuned, shape=replace(tuned.shape, width=width, depth=depth))
    except ValueError as error:
        raise ExportError(f"the target does not fit: {error}") from None
    base, rules = target.base_shape(), rules_by_pattern(target)
    roles = {rule.parameter.role.value: rule for rule in reversed(rules.values())}
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
        "weight_decay_convention": DECAY[tuned.decay],
        "update_convention": UPDATE_CONVENTION.get(tuned.optimizer),
        "multipliers": {site.value: value for site, value in multipliers(target).items()},
        "roles": {role: _values(rule) for role, rule in reversed(roles.items())},
        "parameters": {pattern: _parameter(rule) for pattern, rule in rules.items()},
        "evidence": {
            "comparison": comparison_object(comparison),
            "steps": tuned.steps,
            "batch_size": tuned.batch_size,
            "sequence_length": tuned.shape.sequence_length,
            "data": tuned.data,
        },
        "warnings": _warnings(comparison, family, target),
    }


def export_text(handed: Mapping[str, Any], style: str) -> str:
    if style == "json":
        return json.dumps(handed, indent=1, allow_nan=False) + "\n"
    text = io.StringIO()
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(dict(handed), text)
    return text.getvalue()


def _family_rows(comparison: Comparison, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows behind a comparison."""
    members = rows
    for name, value in {**{name: getattr(comparison, name) for name in FAMILY}, **comparison.fixed}.items():
        members = members[members[name].isna() if value is None else members[name] == value]
    return members


def _recipe_behind(comparison: Comparison, family: pd.DataFrame) -> Recipe:
    """The recipe of the best trial of the comparison's largest usable scale."""
    largest = family[comparison.axis] == usable_optima(comparison)[-1].scale
    best = family[largest & (family["status"] == "finished")].sort_values("loss").iloc[0]
    point = {field.name: _plain(best[field.name], field.type) for field in POINT}
    if point["architecture"] in ARCHITECTURE_FIELDS and point["optimizer"] in OPTIMIZER_FIELDS:
        for name in unread_fields(point["optimizer"], point["architecture"]):
            del point[name]
    # Rows of sweeps that are older than a field have no value for it.
    point |= {name: old for name, old in LATER_FIELDS.items() if name in point and point[name] is None}
    missing = [name for name, value in point.items() if value is None and name not in NULLABLE]
    if missing:
        raise ExportError(
            f"the measurements do not say how they were trained ({', '.join(missing)} missing), so the "
            "values of each parameter cannot be derived; export works on sweeps that mutransfer ran"
        )
    return recipe_from_point(point)


def _other_hyperparameters(tuned: Recipe) -> dict[str, Any]:
    common = ["weight_decay", "grad_clip", "schedule", "warmup", "final_lr", "init", "init_scale"]
    return {name: getattr(tuned, name) for name in common + sorted(OPTIMIZER_FIELDS[tuned.optimizer])}


def _values(rule: ParameterRule) -> dict[str, Any]:
    return {
        "optimizer": rule.optimizer,
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


def _warnings(comparison: Comparison, family: pd.DataFrame, target: Recipe) -> list[str]:
    """What the target asks beyond the evidence."""
    verdict = comparison.drift.verdict
    warnings = []
    if verdict != "stable":
        warnings.append(f"the verdict is {verdict}, so the optimum at the target may be another")
    for name in ("width", "depth"):
        asked, measured = getattr(target.shape, name), sorted(int(value) for value in family[name].unique())
        if len(measured) == 1 and asked != measured[0]:
            warnings.append(f"{name} {asked}: only {name} {measured[0]} was measured")
        elif asked > MAX_SCALE_RATIO * measured[-1]:
            ratio = asked / measured[-1]
            warnings.append(f"{name} {asked} is {ratio:g} times the largest measured, {measured[-1]}")
    return warnings


def _plain(value: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 - a cell of any column
    """A cell as Python's own value; pandas holds integers with gaps as floats."""
    if pd.isna(value):
        return None
    return int(value) if pa.types.is_integer(kind) else getattr(value, "item", lambda: value)()
