"""The rule tables themselves, as powers of ratios: what docs/rules.md is made of."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from ...models.optimizers.registry import OPTIMIZERS
from ...models.parametrization.parametrization import Parametrization
from ...models.parametrization.power import Power
from ...models.parametrization.registry import BUILT_IN
from ...models.parametrization.row import UpdateTable
from ...models.recipe.role import Role, Site
from ...results.report.console import stdout
from .rules import markdown_table

PLAIN_WIDTH = 120
HEADS = ("role", "learning rate", "weight decay, coupled", "weight decay, independent", "epsilon")


Tables = Mapping[str, Parametrization]


def print_tables(style: str, held: Tables = BUILT_IN) -> None:
    """Every optimizer of some parametrizations, as a table, Markdown or JSON."""
    if style == "json":
        print(json.dumps(tables_object(held), indent=1, allow_nan=False))
    elif style == "markdown":
        print(tables_markdown(held), end="")
    else:
        for title, heads, rows in _tables(held):
            table = Table(*heads, title=title, title_justify="left", pad_edge=False)
            for row in rows:
                table.add_row(*row)
            stdout(PLAIN_WIDTH).print(table)


def tables_markdown(held: Tables = BUILT_IN) -> str:
    """The docs page, without the page's own words."""
    return "\n".join(f"## {title}\n\n{markdown_table(heads, rows)}\n" for title, heads, rows in _tables(held))


def tables_object(held: Tables = BUILT_IN) -> dict[str, Any]:
    """Powers as [of m_W, of m_L], and of m_B and m_T, and of m_E and m_G, where a row follows those."""
    return {
        "schema": 1,
        "init": {
            name: {role.value: _powers(power) for role, power in one.init.items()}
            for name, one in held.items()
        },
        "multipliers": {
            name: {site.value: _powers(power) for site, power in one.multiplier.items()}
            for name, one in held.items()
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
            for parametrization, one in held.items()
            for optimizer in OPTIMIZERS
            for role, row in _rows(one, optimizer).items()
        ],
        **({"betas": betas} if (betas := _betas(held)) else {}),
    }


def _rows(one: Parametrization, optimizer: str) -> UpdateTable:
    """None where a table of the user's own has none."""
    try:
        return one.update(optimizer)
    except KeyError:
        return {}


def _betas(held: Tables) -> dict[str, Any]:
    """Of 1 - beta, where a parametrization moves those."""
    return {
        name: {"beta1": _powers(one.beta1), "beta2": _powers(one.beta2)}
        for name, one in held.items()
        if one.of_budget
    }


def _tables(held: Tables) -> Iterator[tuple[str, tuple[str, ...], list[list[str]]]]:
    """Title, column heads and rows; optimizers with one and the same table share it."""
    scaled = {name: one for name, one in held.items() if one.needs_base}
    names = [*scaled]
    yield (
        "Initialisation: standard deviation",
        ("role", *names),
        [[role.value, *(str(one.init[role]) for one in scaled.values())] for role in Role],
    )
    yield (
        "Forward multipliers",
        ("where", *names),
        [[site.value, *(str(one.multiplier[site]) for one in scaled.values())] for site in Site],
    )
    for name in names:
        groups: dict[str, list[str]] = {}
        for optimizer in OPTIMIZERS:
            if rows := _rows(held[name], optimizer):
                groups.setdefault(repr(sorted(rows.items())), []).append(optimizer)
        for members in groups.values():
            yield f"{name}: {', '.join(members)}", *_update_table(held[name].update(members[0]))
        if held[name].of_budget:
            beta1, beta2 = held[name].beta1, held[name].beta2
            yield f"{name}: betas", ("of", "power"), [["1 - beta1", str(beta1)], ["1 - beta2", str(beta2)]]


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
    """As far as there are any beyond width and depth."""
    exponents = [float(exponent) for exponent in power]
    for end in (2, 4):
        if not any(exponents[end:]):
            return exponents[:end]
    return exponents
