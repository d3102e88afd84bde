"""What is said of a field of a recipe, once: where it is declared, as `Annotated[type, Setting(...)]`.

From it follow the checks of a recipe and of a sweep file, what trials of one group share, what identity
leaves out, the columns of the store, what may be searched, and the table of docs/sweep-file.md.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from functools import cached_property
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

Point = Mapping[str, Any]
"""The fields of a recipe side by side, by name."""


class Age(Enum):
    """How rows that are older than a field know it."""

    FIRST = "no row is older"
    UNKNOWN = "older rows do not say"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The values that a number may have, and what is said of another."""

    holds: Callable[[Any], bool]
    fault: str
    told: str


POSITIVE = Bounds(lambda value: value > 0, "is not positive", "> 0")
COUNT = Bounds(lambda value: value >= 1, "is not a positive integer", ">= 1")
NON_NEGATIVE = Bounds(lambda value: value >= 0, "is negative", ">= 0")
SHARE = Bounds(lambda value: 0 < value <= 1, "is outside (0, 1]", "in (0, 1]")
FRACTION = Bounds(lambda value: 0 <= value < 1, "is outside [0, 1)", "in [0, 1)")


@dataclass(frozen=True, slots=True)
class Setting:
    """What is declared of a field beside its type and default.

    `says`: its meaning, with the unit. `bounds` hold for every value but None; `choices` is a registry;
    `own`: a name of the user's own that fits is a choice, too.
    `shared`: trials of one group must have it in common (fields of the shape always do).
    `scale`: it may be the axis along which an optimum is followed. `tuned`: it may be the hyperparameter
    whose optimum that is, and be searched; `searched`: it may only be searched.
    `before`: what rows older than the field were trained with. At that value identity leaves it out, so that
    finished trials keep their ids.
    `idle`: whether it does nothing beside the values of other fields; it is no part of the identity then.
    `decided_by`: the section of a sweep file that decides it; it cannot be given under fixed or axes.
    """

    says: str
    bounds: Bounds | None = None
    choices: Collection[str] | None = None
    own: re.Pattern[str] | None = None
    shared: bool = False
    scale: bool = False
    tuned: bool = False
    searched: bool = False
    before: object = Age.FIRST
    idle: Callable[[Point], bool] | None = None
    decided_by: Literal["data", "base", "model"] | None = None


@dataclass(frozen=True)
class Field:
    """A declared field: `kind` is its type without None."""

    name: str
    kind: Any
    nullable: bool
    default: object
    setting: Setting

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @cached_property
    def choices(self) -> tuple[str, ...] | None:
        """The words that it may be, where they are listed."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else None

    def fault(self, value: object) -> str | None:
        """What is wrong with a value of the right type, or None."""
        if value is None:
            return None
        bounds = self.setting.bounds
        if bounds is not None and not bounds.holds(value):
            return f"{value} {bounds.fault}"
        if not self.chosen(value):
            return f"{value!r} is not one of {', '.join(self.listed or ())}"
        return None

    def chosen(self, value: object) -> bool:
        """Whether it is one of the registry's names, where that decides."""
        choices = self.setting.choices
        if choices is None or value in choices:
            return True
        own = self.setting.own
        return own is not None and isinstance(value, str) and own.fullmatch(value) is not None

    @property
    def listed(self) -> tuple[str, ...] | None:
        """Its choices in their order; a registry's are as many as are registered now."""
        return self.choices if self.setting.choices is None else tuple(self.setting.choices)


def declared_fields(owner: type) -> dict[str, Field]:
    """The fields of a dataclass that have a Setting, in their order."""
    hints = get_type_hints(owner, include_extras=True)
    found = {}
    for field in fields(owner):
        hint = hints[field.name]
        if get_origin(hint) is Annotated:
            plain, setting = get_args(hint)
            nullable = type(None) in get_args(plain)
            kind = next(part for part in get_args(plain) if part is not type(None)) if nullable else plain
            found[field.name] = Field(field.name, kind, nullable, field.default, setting)
    return found


def check_fields(owner: object, declared: Iterable[Field]) -> None:
    """Raises ValueError, naming the field, for a value that its declaration does not allow."""
    for field in declared:
        if reason := field.fault(getattr(owner, field.name)):
            raise ValueError(f"{field.name}: {reason}")
