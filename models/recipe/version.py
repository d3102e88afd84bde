"""Which recipes train differently than they did: their trials have other ids than older ones, and their rows
are told apart by `recipe_version`.

Add a `Change` whenever the same recipe would train differently. What it does not concern keeps its id; it may
concern some that train as before, such as at the base, where little would be kept by telling them apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ..architectures.built.architecture import BuiltArchitecture
from ..architectures.registry import architecture_of
from .recipe import Recipe, without_base


@dataclass(frozen=True, slots=True)
class Change:
    """What is trained since a version, and which recipes that concerns."""

    since: int
    what: str
    concerns: Callable[[Recipe], bool]


def _maps_experts(recipe: Recipe) -> bool:
    """A module of the user's own with experts that a map tells. How they are stored only its code would say,
    and what is read is not imported."""
    architecture = architecture_of(recipe.shape)
    own = isinstance(architecture, BuiltArchitecture) and architecture.roles is not None
    return own and recipe.shape.experts > 1


def _has(mixer: str) -> Callable[[Recipe], bool]:
    return lambda recipe: mixer in architecture_of(recipe.shape).module_names


CHANGES = (
    Change(2, "GDN's queries are divided by the root of their size", _has("gdn")),
    Change(
        2,
        "Mamba2's output is normed group by group",
        lambda recipe: recipe.shape.state_groups > 1 and _has("mamba2")(recipe),
    ),
    Change(
        2,
        "Sophia's gamma grows as gradients fall",
        lambda recipe: recipe.optimizer == "sophia" and not without_base(recipe.point()),
    ),
    Change(
        3,
        "experts of the user's own module start by their own inputs, and under gpt2 as a branch ends",
        _maps_experts,
    ),
    Change(
        4,
        "SOAP's rates fall with the width as AdamW's do",
        lambda recipe: recipe.optimizer == "soap" and not without_base(recipe.point()),
    ),
)
RECIPE_VERSION = max(change.since for change in CHANGES)


def recipe_version(recipe: Recipe) -> int:
    """The version since which this recipe trains as it does; 1 where that never changed."""
    return max((change.since for change in CHANGES if change.concerns(recipe)), default=1)
