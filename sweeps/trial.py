"""A trial: one point of the grid, one training of one proxy, known by the hash of its content."""

import hashlib
import json
from dataclasses import dataclass

from ..models.recipe.identity import canonical
from ..models.recipe.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Trial:
    """A recipe and its identity."""

    id: str
    recipe: Recipe


def trial_of(recipe: Recipe) -> Trial:
    return Trial(trial_id(recipe), recipe)


def trial_id(recipe: Recipe) -> str:
    """16 hex digits of the sha256 of the canonical JSON of all that decides the recipe's result.

    Field order and whether a float was written as an integer do not matter; device, group, backend
    and package versions are provenance and do not enter.
    """
    values = {name: _canonical(value) for name, value in canonical(recipe).items()}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _canonical(value: object) -> object:
    """Integers in float fields are the same number: 1 and 1.0 are written alike."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
