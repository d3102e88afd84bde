"""The rule tables themselves, as powers of m_W and m_L: what docs/rules.md is made of."""

import json
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from ...models.optimizers.registry import OPTIMIZERS
from ...models.parametrization.power import Power
from ...models.parametrization.registry import PARAMETRIZATIONS
from ...models.parametrization.row import UpdateTable
from ...models.recipe.role import Role, Site
from ...results.report.console import stdout
from .rules import markdown_table

PLAIN_WIDTH = 120
HEADS = ("role", "learning rate", "weight decay, coupled", "weight decay, independent", "epsilon")


def print_tables(style: str) -> None:
    """Every parametrization and optimizer, as a table, Markdown or JSON."""
    if style == "json":
        print(json.dumps(tables_object(), indent=1, allow_nan=False))
    elif style == "markdown":
        print(tables_markdown(), end="")
    else:
        for title, heads, rows in _tables():
            table = Table(*heads, title=title, title_justify="left", pad_edge=False)
            for row in rows:
                table.add_row(*row)
            stdout(PLAIN_WIDTH).print(table)


def tables_markdown() -> str:
    """The docs page, without the page's own words."""
    return "\n".join(f"## {title}\n\n{markdown_table(heads, rows)}\n" for title, heads, rows in _tables())


def tables_object() -> dict[str, Any]:
    """Powers as [of m_W, of m_L]."""
    return {
        "schema": 1,
        "init": {
            name: {role.value: _powers(power) for role, power in held.init.items()}
            for name, held in PARAMETRIZATIONS.items()
        },
        "multipliers": {
            name: {site.value: _powers(power) for site, power in held.multiplier.items()}
            for name, held in PARAMETRIZATIONS.items()
        },
        "updates": [
            {
                "parametrization": parametrization,
                "optimizer": optimizer,
                "role": role.value,
                "learning_rate": _powers(row.learning_rate),
                "weight_decay_coupled": _powers(row.weight_decay),
                "weight_decay_independent": _powers(row.independent_decay),
                "epsilon": None if row.epsilon is None else _powers(row.epsilon),
                "gamma": None if row.gamma is None else _powers(row.gamma),
                "row": row.source,
            }
            for parametrization, held in PARAMETRIZATIONS.items()
            for optimizer in OPTIMIZERS
            for role, row in held.update(optimizer).items()
        ],
    }


def _tables() -> Iterator[tuple[str, tuple[str, ...], list[list[str]]]]:
    """Title, column heads and rows; optimizers with one and the same table share it."""
    scaled = {name: held for name, held in PARAMETRIZATIONS.items() if held.needs_base}
    names = [*scaled]
    yield (
        "Initialisation: standard deviation",
        ("role", *names),
        [[role.value, *(str(held.init[role]) for held in scaled.values())] for role in Role],
    )
    yield (
        "Forward multipliers",
        ("where", *names),
        [[site.value, *(str(held.multiplier[site]) for held in scaled.values())] for site in Site],
    )
    for name in names:
        groups: dict[str, list[str]] = {}
        for optimizer in OPTIMIZERS:
            rows = PARAMETRIZATIONS[name].update(optimizer)
            groups.setdefault(repr(sorted(rows.items())), []).append(optimizer)
        for members in groups.values():
            yield f"{name}: {', '.join(members)}", *_update_table(PARAMETRIZATIONS[name].update(members[0]))


def _update_table(table: UpdateTable) -> tuple[tuple[str, ...], list[list[str]]]:
    """Heads and rows; gamma has a column where there is one."""
    curved = any(row.gamma is not None for row in table.values())
    rows = [
        [
            role.value,
            str(row.learning_rate),
            str(row.weight_decay),
            str(row.independent_decay),
            "–" if row.epsilon is None else str(row.epsilon),
            *([str(row.gamma or "–")] if curved else []),
            row.source,
        ]
        for role, row in table.items()
    ]
    return (*HEADS, *(["gamma"] if curved else []), "row"), rows


def _powers(power: Power) -> list[float]:
    return [float(power.width), float(power.depth)]
