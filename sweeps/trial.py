"""A trial: one point of the grid and the program that is run there, known by the hash of its content."""

import hashlib
import json
from dataclasses import dataclass

from .program import Program


@dataclass(frozen=True, slots=True)
class Trial:
    """A program at its point, and its identity."""

    id: str
    program: Program


def trial_of(program: Program) -> Trial:
    return Trial(trial_id(program), program)


def trial_id(program: Program) -> str:
    """16 hex digits of the sha256 of the canonical JSON of all that decides the program's result.

    Field order and whether a float was written as an integer do not matter; device, group, backend
    and package versions are provenance and do not enter.
    """
    values = {name: _canonical(value) for name, value in program.identity().items()}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _canonical(value: object) -> object:
    """Integers in float fields are the same number: 1 and 1.0 are written alike."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
