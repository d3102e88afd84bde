"""Which fields a recipe reads: the rest is no part of its identity.

Two points that differ only in what neither reads are one trial.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ..architectures.architecture import Architecture
from ..architectures.registry import ARCHITECTURES, architecture_named
from ..mixers.registry import MIXERS
from ..optimizers.registry import BESIDE, OPTIMIZERS, optimizer_reads
from .field import Age, Point
from .fixed import normal_form as fixed_normal_form
from .placement import normal_form
from .recipe import FIELDS, Recipe, multiplied
from .version import recipe_version

WITHOUT_TRACE = {
    name: field.setting.before for name, field in FIELDS.items() if not isinstance(field.setting.before, Age)
}
"""Fields younger than recipe version 1 and the value that all older trials have: at that value they are left
out, so that finished trials keep their ids."""
IDLE = {name: field.setting.idle for name, field in FIELDS.items() if field.setting.idle is not None}


def canonical(recipe: Recipe) -> dict[str, Any]:
    """The fields that a recipe reads: equal exactly when two recipes are the same training."""
    values = recipe.point()
    unread = unread_fields(values)
    values["fixed_multipliers"] = fixed_normal_form(values["fixed_multipliers"])
    unread |= {name for name, idle in IDLE.items() if idle(values)}
    unread |= {name for name, old in WITHOUT_TRACE.items() if values[name] == old}
    read = {name: value for name, value in values.items() if name not in unread}
    if multiplied(values):
        read["learnable_multipliers"] = normal_form(values["learnable_multipliers"])
    return {**read, "recipe_version": recipe_version(recipe)}


def unread_fields(point: Point) -> set[str]:
    """Fields that belong to other optimizers and architectures than the point's; learnable multipliers are
    AdamW's, whatever the optimizer of the rest."""
    architecture = architecture_named(point["architecture"], point["code"])
    return _unread_by_optimizer(point["optimizer"], multiplied(point)) | _unread_by(architecture)


def unread_alike(architecture: str, optimizer: str, multipliers: bool) -> set[str]:
    """The fields that no trial of these two reads; `multipliers` where one of them has learnable ones."""
    of_optimizer = _unread_by_optimizer(optimizer, multipliers) if optimizer in OPTIMIZERS else set()
    known = architecture in ARCHITECTURES
    return of_optimizer | (_unread_by(ARCHITECTURES[architecture]) if known else set())


def _unread_by_optimizer(optimizer: str, multipliers: bool) -> set[str]:
    unread = _others(map(optimizer_reads, OPTIMIZERS), optimizer_reads(optimizer))
    return unread - OPTIMIZERS[BESIDE].reads if multipliers else unread


def _unread_by(architecture: Architecture) -> set[str]:
    return _others((one.reads for one in ARCHITECTURES.values()), architecture.reads)


def readers() -> Mapping[str, list[str]]:
    """The optimizers, mixers and architectures that read a field, where not all do."""
    reads = {name: optimizer_reads(name) for name in OPTIMIZERS}
    reads |= {name: mixer.reads for name, mixer in MIXERS.items()}
    of_mixers = frozenset[str]().union(*(mixer.reads for mixer in MIXERS.values()))
    found: dict[str, list[str]] = {}
    for reader, names in reads.items():
        for name in names:
            found.setdefault(name, []).append(reader)
    for reader, architecture in ARCHITECTURES.items():
        for name in architecture.reads - of_mixers:
            found.setdefault(name, []).append(reader)
    return found


def _others(reads: Iterable[frozenset[str]], own: frozenset[str]) -> set[str]:
    """Fields that belong to the alternatives of the chosen one and not to it."""
    return set().union(*reads) - own
