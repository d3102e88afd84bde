"""A parametrization of the user's own: read from plain values, checked to be complete, known by its content.

```yaml
source: arXiv:2512.22382, table 1
extends: mup                  # rows and quantities that are not given are those of this one; optimizers,
                              # where there are no updates at all (muon: {} takes its rows)
init: {output: m_W^-1}        # standard deviations, by role
multipliers: {readout: 1}     # forward multipliers, by site
updates:                      # by optimizer and role
  adamw:
    output: {learning_rate: m_W^-1, weight_decay: m_W, epsilon: 1}
betas: {beta1: m_B m_T^-1}    # of 1 - beta, for all roles
```
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any, TypeVar

from ..optimizers.registry import BESIDE, OPTIMIZERS
from ..recipe.role import Role, Site
from .experts import LIKE, expert_init, expert_row
from .parametrization import Parametrization
from .power import ONE, Power
from .registry import BUILT_IN, OWN, plain_name
from .row import Update, UpdateTable
from .rules import MATRICES

KEYS = ("source", "extends", "init", "multipliers", "updates", "betas")
WORDS = ("source", "extends")
ALWAYS, WHERE_READ = ("learning_rate", "weight_decay"), ("epsilon", "gamma")
BETAS = ("beta1", "beta2")
DIGITS = 8

Place = tuple[str, ...]
Fault = tuple[Place, str]
Held = TypeVar("Held", Power, Update)


class TableFaults(ValueError):
    """Everything that is wrong with a table, each with its place in it."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{'.'.join(place)}: {told}" for place, told in faults))


def make_known(name: str, content: Mapping[str, Any]) -> str:
    """The name by which it is a parametrization from now on: `name@digest`, whose digest is that of the
    powers which are written in it, and not of words. Raises TableFaults."""
    table = read_table(content)
    digest = hashlib.sha256(json.dumps(_powers(table.content), sort_keys=True).encode()).hexdigest()
    known = f"{name}@{digest[:DIGITS]}"
    OWN[known] = table
    return known


def contents(names: set[str]) -> dict[str, Mapping[str, Any]]:
    """Of those of the user's own among some parametrizations, what makes them known elsewhere."""
    return {name: held.content for name, held in sorted(OWN.items()) if name in names and held.content}


def make_contents_known(held: Mapping[str, Mapping[str, Any]]) -> None:
    """As `contents` gave them."""
    for name, content in held.items():
        make_known(plain_name(name), content)


def read_table(content: Mapping[str, Any]) -> Parametrization:
    """Raises TableFaults for a table that is not complete, and for what is no table."""
    return _Reading(content).table()


class _Reading:
    """A table as it is read: what is wrong with it gathers on the way."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._faults: list[Fault] = []
        self._content = content
        self._base = self._extended()
        source = content.get("source")
        self._source = source if isinstance(source, str) else "a table of your own"

    def table(self) -> Parametrization:
        roles, sites = {role.value: role for role in Role}, {site.value: site for site in Site}
        self._unknown((), self._content, KEYS)
        init = self._init(roles)
        before = None if self._base is None else self._base.multiplier
        multiplier = self._part("multipliers", sites, sites, before)
        updates = self._updates()
        betas = self._section("betas", self._content.get("betas"))
        self._unknown(("betas",), betas, BETAS)
        beta1, beta2 = (self._beta(name, betas.get(name, "1")) for name in BETAS)
        if self._faults:
            raise TableFaults([*dict.fromkeys(self._faults)])  # a section that is read twice is told once
        table = Parametrization(
            init=init, multiplier=multiplier, update=updates.__getitem__, gradients=updates[BESIDE],
            beta1=beta1, beta2=beta2,
        )  # fmt: skip
        powers = [*init.values(), *multiplier.values(), beta1, beta2]
        powers += [power for rows in updates.values() for row in rows.values() for power in _of(row).values()]
        return replace(
            table,
            of_budget=any(power.of_budget for power in powers),
            content=_written(self._content),
        )

    def _extended(self) -> Parametrization | None:
        name = self._content.get("extends")
        if name is None:
            return None
        if not isinstance(name, str) or name not in BUILT_IN or not BUILT_IN[name].needs_base:
            known = ", ".join(one for one, held in BUILT_IN.items() if held.needs_base)
            self._faults.append((("extends",), f"{name!r} is not one of {known}"))
            return None
        return BUILT_IN[name]

    def _init(self, roles: Mapping[str, Role]) -> dict[Any, Power]:
        """Those of experts follow from the others, where these are given and they are not."""
        before = {} if self._base is None else dict(self._base.init)
        given = self._section("init", self._content.get("init"))
        plain = {name: role for name, role in roles.items() if role not in LIKE or name in given}
        found = self._part("init", roles, plain, before or None)
        for role, like in LIKE.items():
            if role not in found and like in found:
                found[role] = _followed(role, found, before or None, expert_init)
        return found

    def _part(
        self,
        part: str,
        names: Collection[str],
        known: Mapping[str, Any],
        before: Mapping[Any, Power] | None,
    ) -> dict[Any, Power]:
        """The powers of one quantity by role or site: of those `known`, where others of `names` may be
        given, too."""
        given = self._section(part, self._content.get(part))
        self._unknown((part,), given, names)
        rows: dict[Any, Power] = {}
        for name, key in known.items():
            if name in given:
                rows[key] = self._power((part, name), given[name])
            elif before is not None:
                rows[key] = before[key]
            elif self._content.get("extends") is None:
                self._faults.append(
                    ((part, name), "has no power; give one, 1 for what stays, or extends: mup")
                )
        return rows

    def _updates(self) -> dict[str, UpdateTable]:
        given = self._section("updates", self._content.get("updates"))
        self._unknown(("updates",), given, OPTIMIZERS)
        found: dict[str, UpdateTable] = {}
        for optimizer in OPTIMIZERS:
            before = None if self._base is None else self._base.update(optimizer)
            if optimizer in given or (before is not None and self._content.get("updates") is None):
                found[optimizer] = self._rows(optimizer, given.get(optimizer), before)
        if BESIDE not in found and not self._faults:
            told = "has no rows; it takes what a matrix optimizer leaves, and says how gradients scale"
            self._faults.append((("updates", BESIDE), told))
        return found

    def _rows(self, optimizer: str, rows: object, before: UpdateTable | None) -> UpdateTable:
        place = ("updates", optimizer)
        given = self._section(".".join(place), rows)
        wanted = MATRICES["all"] if OPTIMIZERS[optimizer].matrices else _all_roles(optimizer)
        self._unknown(place, given, [role.value for role in Role if role in wanted])
        found: dict[Role, Update] = {}
        follows = partial(expert_row, optimizer)
        for role in Role:
            if role not in wanted:
                continue
            held = None if before is None else before.get(role)
            if LIKE.get(role) in found:
                held = _followed(role, found, before, follows)
            if role.value in given:
                found[role] = self._row((*place, role.value), given[role.value], held, optimizer)
            elif held is not None:
                found[role] = held
            elif role not in LIKE:  # else the row that it follows is missing, too, and named
                told = "has no row; give learning_rate and weight_decay, 1 for what stays"
                self._faults.append(((*place, role.value), told))
        return found

    def _row(self, place: Place, row: object, before: Update | None, optimizer: str) -> Update:
        given = self._section(".".join(place), row)
        reads = OPTIMIZERS[optimizer].reads
        quantities = [*ALWAYS, *(name for name in WHERE_READ if name in reads)]
        self._unknown(place, given, (*quantities, "source"))
        powers: dict[str, Power] = {} if before is None else dict(_of(before))
        powers |= {name: self._power((*place, name), given[name]) for name in quantities if name in given}
        for name in quantities:
            if name not in powers:
                self._faults.append(((*place, name), "is missing; give a power, 1 for what stays"))
        source = given.get("source", self._source)
        return Update(
            learning_rate=powers.get("learning_rate", ONE),
            weight_decay=powers.get("weight_decay", ONE),
            epsilon=powers.get("epsilon"),
            source=str(source),
            gamma=powers.get("gamma"),
        )

    def _power(self, place: Place, text: object) -> Power:
        written = text if isinstance(text, str) else repr(text)
        try:
            return Power.read(written)
        except ValueError as error:
            self._faults.append((place, str(error)))
            return ONE

    def _beta(self, name: str, text: object) -> Power:
        power = self._power(("betas", name), text)
        if replace(power, batch=ONE.batch, tokens=ONE.tokens) != ONE:
            self._faults.append((("betas", name), f"{text}: betas follow m_B and m_T alone"))
        return power

    def _section(self, place: str, value: object) -> Mapping[str, Any]:
        if value is None or isinstance(value, Mapping):
            return value or {}
        self._faults.append((tuple(place.split(".")), "is a mapping, such as {hidden: m_W^-1}"))
        return {}

    def _unknown(self, place: Place, given: Mapping[str, Any], known: Collection[str]) -> None:
        names = [*known]
        self._faults += [
            ((*place, str(name)), f"is not one of {', '.join(names)}") for name in given if name not in names
        ]


def _followed(
    role: Role,
    found: Mapping[Role, Held],
    before: Mapping[Role, Held] | None,
    follows: Callable[[Role, Mapping[Role, Held]], Held],
) -> Held:
    """What an expert has that is not given, from what it is like: as in the table that is extended; in one
    that stands by itself, as in ours."""
    if before is None or before[role] == follows(role, before):
        return follows(role, found)
    like = LIKE[role]
    return found[like] if before[role] == before[like] else before[role]


def _all_roles(optimizer: str) -> frozenset[Role]:
    """Learnable multipliers are AdamW's, whatever the optimizer of the rest."""
    return frozenset(Role) if optimizer == BESIDE else frozenset(Role) - {Role.MULTIPLIER}


def _of(row: Update) -> dict[str, Power]:
    """The powers that a row has."""
    return {
        field.name: power for field in fields(row) if isinstance(power := getattr(row, field.name), Power)
    }


def _written(content: Mapping[str, Any]) -> dict[str, Any]:
    """A table as it is written, each power in one form."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            found[name] = _written(value)
        elif name in WORDS or value is None:
            found[name] = value
        else:
            found[name] = str(Power.read(str(value)))
    return found


def _powers(content: Any) -> Any:  # noqa: ANN401 - plain values
    """Without what says where a row comes from."""
    if not isinstance(content, Mapping):
        return content
    return {name: _powers(value) for name, value in content.items() if name != "source"}
