"""Parametrizations of the user's own: `parametrization: mine.yaml`, one that ships (`tables/`), or one that
stands under `parametrizations`. A trial knows each by its name and the digest of its content."""

import os
from collections.abc import Mapping
from importlib import resources
from typing import Any

from ..models.parametrization.own import KEYS, TableFaults, make_known
from ..models.parametrization.parametrization import Parametrization
from ..models.parametrization.registry import BUILT_IN, NAME, OWN, plain_name
from .problem import Problem, SpecError
from .yaml_file import FileKind, located, plain, read_yaml

KEY = "parametrizations"
FIELD = "parametrization"
SUFFIXES = (".yaml", ".yml")
SHIPPED = "mutransfer.sweeps.tables"


def table_names() -> list[str]:
    """Those that ship, beside ours."""
    names = (entry.name for entry in resources.files(SHIPPED).iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def is_table(path: str) -> bool:
    """Whether it is meant as a table of a parametrization, and no sweep file."""
    if path in table_names():
        return True
    if not path.endswith(SUFFIXES) or not os.path.isfile(path):
        return False
    try:
        keys = {*read_yaml(path, _kind())}
    except SpecError:
        return False
    return bool(keys & {*KEYS}) and not keys & {"fixed", "axes"}


def own_table(path: str) -> dict[str, Parametrization]:
    """A table by its name. Raises SpecError."""
    known = read_own_table(path)
    return {known: OWN[known]}


def _kind() -> FileKind:
    remedy = f"give a YAML file, or one of {', '.join(table_names())}"
    return FileKind("a table of a parametrization", "source, init, multipliers and updates", remedy)


def read_own_table(path: str) -> str:
    """What the table of a file, or one that ships, is known by from now on. Raises SpecError."""
    shipped = path in table_names()
    name = path if shipped else os.path.splitext(os.path.basename(path))[0]
    text = resources.files(SHIPPED).joinpath(f"{path}.yaml").read_text(encoding="utf-8") if shipped else None
    raw = read_yaml(path, _kind(), text)
    if not NAME.fullmatch(name) or name in BUILT_IN:
        raise SpecError(path, [Problem((), f"{name} cannot name a table of your own; rename the file")])
    try:
        return make_known(name, plain(raw))
    except TableFaults as found:
        problems = [located(Problem(place, told), raw, ()) for place, told in found.faults]
        raise SpecError(path, problems) from None


def with_tables(raw: Mapping[str, Any], folder: str, problems: list[Problem]) -> Mapping[str, Any]:
    """The sweep file with the tables that it names made known, and with their contents in it: it is whole
    then, wherever it is read. Raises SpecError for a file that is no table."""
    inline = raw.get(KEY)
    if inline is not None and not isinstance(inline, Mapping):
        problems.append(Problem((KEY,), "is a mapping of names to tables"))
        return {key: value for key, value in raw.items() if key != KEY}
    held = _Held(dict(inline or {}), folder, problems)
    changed = dict(raw)
    for section in ("fixed", "axes"):
        entries = raw.get(section)
        if not isinstance(entries, Mapping) or FIELD not in entries:
            continue
        value = entries[FIELD]
        known = [held.known(one) for one in value] if isinstance(value, list) else held.known(value)
        changed[section] = {**entries, FIELD: known}
    if isinstance(out := raw.get("exclude"), list):
        changed["exclude"] = [
            {**one, FIELD: held.known(one[FIELD])} if isinstance(one, Mapping) and FIELD in one else one
            for one in out
        ]
    problems += [
        Problem((KEY, str(name)), "is no trial's parametrization; take it out, or name it under axes")
        for name in inline or {}
        if name not in held.used and name not in BUILT_IN
    ]
    problems += [
        Problem((KEY, str(name)), "is one of ours; give yours another name")
        for name in inline or {}
        if name in BUILT_IN
    ]
    if held.used:
        changed[KEY] = held.used
    else:
        changed.pop(KEY, None)
    return changed


class _Held:
    """The tables of a sweep file."""

    def __init__(self, inline: dict[str, Any], folder: str, problems: list[Problem]) -> None:
        self._inline, self._folder, self._problems = inline, folder, problems
        self.used: dict[str, Any] = {}

    def known(self, value: object) -> object:
        """What a trial calls it; the value itself where it names none."""
        if not isinstance(value, str) or value in BUILT_IN:
            return value
        name, _, digest = value.partition("@")
        if name in self._inline:
            return self._inline_known(name, value if digest else "")
        if value not in table_names() and not value.endswith(SUFFIXES):
            return value
        known = read_own_table(value if value in table_names() else os.path.join(self._folder, value))
        name = plain_name(known)
        if self.used.setdefault(name, _whole(known)) != _whole(known):
            told = f"{name} names two tables of this sweep; rename one of the files"
            self._problems.append(Problem(("axes", FIELD), told))
        return known

    def _inline_known(self, name: str, asked: str) -> object:
        try:
            if not NAME.fullmatch(name) or not isinstance(self._inline[name], Mapping):
                raise TableFaults([((), "is a mapping, under a name of letters, digits, '.', '_' and '-'")])
            known = make_known(name, self._inline[name])
        except TableFaults as found:
            self._problems += [Problem((KEY, name, *place), told) for place, told in found.faults]
            return "mup"  # stands in, so that the rest of the file is judged
        if asked and asked != known:
            told = f"is {known}, and the trials ask for {asked}; put it back as it was"
            self._problems.append(Problem((KEY, name), told))
        self.used[name] = _whole(known)
        return known


def _whole(known: str) -> Mapping[str, Any]:
    content = OWN[known].content
    assert content is not None
    return content
