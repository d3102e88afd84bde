"""The rule table of a sweep, for reading: as a table, as Markdown, as JSON."""

import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from ...models.parametrization.rules import ParameterRule, forward_multipliers, ratios, rules_by_pattern
from ...models.recipe.budget import MOVED, betas, budget_words, budgeted, follows_budget
from ...models.recipe.family import Family, family_of
from ...models.recipe.recipe import Recipe
from ...results.report.console import stdout

COLUMNS = (
    "parameter",
    "role",
    "shape",
    "init std",
    "learning rate",
    "weight decay",
    "epsilon",
    "multiplier",
    "row",
)
AFTER_EPSILON = COLUMNS.index("epsilon") + 1
PLAIN_WIDTH = 170


def families(recipes: Sequence[Recipe]) -> list[Recipe]:
    """The largest training of each family and its rules for batch and duration, in the sweep's order."""
    largest: dict[tuple[Family, str, float], Recipe] = {}
    for recipe in recipes:
        kind = family_of(recipe), recipe.budget_rules, recipe.horizon_exponent
        if kind not in largest or _size(recipe) > _size(largest[kind]):
            largest[kind] = recipe
    return list(largest.values())


def _size(recipe: Recipe) -> tuple[int, int, int, int]:
    return recipe.shape.width, recipe.shape.depth, recipe.batch_size * recipe.steps, recipe.batch_size


def print_families(recipes: Sequence[Recipe], style: str) -> None:
    if style == "json":
        print(
            json.dumps(
                {"schema": 1, "families": [family_object(recipe) for recipe in recipes]},
                indent=1,
                allow_nan=False,
            )
        )
        return
    console = stdout(PLAIN_WIDTH)
    for recipe in recipes:
        heads, cells = _table(recipe)
        if style == "markdown":
            print(f"### {_title(recipe)}\n\n{_sites(recipe)}\n")
            print(markdown_table(heads, cells) + "\n")
        else:
            table = Table(*heads, title=_title(recipe), title_justify="left", caption=_sites(recipe),
                          caption_justify="left", pad_edge=False)  # fmt: skip
            for row in cells:
                table.add_row(*row)
            console.print(table)


def family_object(recipe: Recipe) -> dict[str, Any]:
    held = ratios(recipe)
    return {
        **family_of(recipe)._asdict(),
        "width": recipe.shape.width,
        "depth": recipe.shape.depth,
        "width_ratio": held.width,
        "depth_ratio": held.depth,
        "base_learning_rate": recipe.learning_rate,
        "budget": _budget(recipe),
        "multipliers": {site.value: value for site, value in forward_multipliers(recipe).items()},
        "parameters": [
            {
                "name": rule.parameter.pattern,
                "role": rule.parameter.role.value,
                "shape": list(rule.parameter.shape),
                "optimizer": rule.optimizer,
                "init_std": rule.init_std,
                "learning_rate": rule.learning_rate,
                "weight_decay": rule.weight_decay,
                "epsilon": rule.epsilon,
                "gamma": rule.gamma,
                "multiplier": rule.multiplier,
                "row": rule.source,
            }
            for rule in rules_by_pattern(recipe).values()
        ],
    }


def _budget(recipe: Recipe) -> dict[str, Any] | None:
    """The rule for batch and duration, and what it makes of the base values; None where none is followed."""
    if not follows_budget(recipe):
        return None
    return {
        "rule": budget_words(recipe),
        "batch_size": recipe.batch_size,
        "steps": recipe.steps,
        "values": _moved_values(recipe),
    }


def _title(recipe: Recipe) -> str:
    m_w, m_l, *_ = ratios(recipe)
    family = ", ".join(name for name in family_of(recipe) if name)
    return (
        f"{family}: width {recipe.shape.width} (m_W = {m_w:g}), depth {recipe.shape.depth} (m_L = {m_l:g}), "
        f"base learning rate {recipe.learning_rate:g}{_moved(recipe)}"
    )


def _moved(recipe: Recipe) -> str:
    """What batch and duration make of the base values, where rules are followed."""
    if not follows_budget(recipe):
        return ""
    values = _moved_values(recipe).items()
    told = [f"{name} {value:.4g}" for name, value in values if value != getattr(recipe, name)]
    where = f"batch_size {recipe.batch_size}, steps {recipe.steps} by {budget_words(recipe)}"
    return f"; at {where}: {', '.join(told) or 'the same'}"


def _moved_values(recipe: Recipe) -> dict[str, float]:
    moved = budgeted(recipe)
    values = {name: getattr(moved, name) for name in MOVED}
    return values | dict(zip(("beta1", "beta2"), betas(moved), strict=True))


def _sites(recipe: Recipe) -> str:
    return "forward multipliers: " + ", ".join(
        f"{site.value} {value:.4g}" for site, value in forward_multipliers(recipe).items()
    )


def _table(recipe: Recipe) -> tuple[list[str], list[list[str]]]:
    """Heads and rows; gamma has a column where there is one."""
    rules, heads = rules_by_pattern(recipe).values(), [*COLUMNS]
    cells = [_cells(rule) for rule in rules]
    if any(rule.gamma is not None for rule in rules):
        heads.insert(AFTER_EPSILON, "gamma")
        for rule, row in zip(rules, cells, strict=True):
            row.insert(AFTER_EPSILON, "–" if rule.gamma is None else f"{rule.gamma:.3g}")
    return heads, cells


def _cells(rule: ParameterRule) -> list[str]:
    parameter = rule.parameter
    return [
        parameter.pattern,
        parameter.role.value,
        " x ".join(str(extent) for extent in parameter.shape),
        parameter.start if rule.init_std is None else f"{rule.init_std:.4g}",
        f"{rule.learning_rate:.4g}",
        f"{rule.weight_decay:.4g}",
        "–" if rule.epsilon is None else f"{rule.epsilon:.3g}",
        f"{rule.multiplier:.4g}",
        rule.source,
    ]


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
