"""What the trials of one group share: they are one tensor program, and some things a program has but once."""

from collections.abc import Hashable, Sequence

from .recipe import RECIPE_FIELDS, Recipe

SHARED = tuple(name for name, field in RECIPE_FIELDS.items() if field.setting.shared)
"""The fields that a group has in common, beside its whole shape."""


def group_key(recipe: Recipe) -> Hashable:
    """Equal for trainings that can be one group; everything that is not in it may differ between them."""
    return recipe.shape, *(getattr(recipe, name) for name in SHARED)


def check_group(recipes: Sequence[Recipe]) -> None:
    """Raises ValueError, naming the field, for recipes that cannot be one group."""
    first = recipes[0]
    for other in recipes[1:]:
        for name in ("shape", *SHARED):
            one, another = getattr(first, name), getattr(other, name)
            if one != another:
                raise ValueError(f"{name}: a group has one, not both {one} and {another}")
