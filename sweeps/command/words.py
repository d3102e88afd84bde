"""The words of a command, with the values of a trial in the place of names in braces."""

import string
from collections.abc import Mapping

GIVEN = ("trial", "files", "checkpoints", "attempt", "gpus", "python")
"""Placeholders beside the fields of a trial: its id, the folders for its files and checkpoints, the number
of the attempt, its GPUs, and the Python that mutransfer runs in."""


def placeholders(word: str) -> list[str]:
    """The names in braces. Raises ValueError for braces that do not close, and for formats."""
    names = []
    for _, name, form, conversion in string.Formatter().parse(word):
        if name is not None and (form or conversion):
            raise ValueError(f"{{{name}}} is put in as it is; take its format out")
        if name is not None:
            names.append(name)
    return names


def filled(word: str, values: Mapping[str, object]) -> str:
    """The word with the placeholders' values, as they would be typed."""
    parts = []
    for literal, name, *_ in string.Formatter().parse(word):
        parts.append(literal)
        if name is not None:
            parts.append(typed(values[name]))
    return "".join(parts)


def typed(value: object) -> str:
    """A value as a command line takes it: 0.0009765625, true, none."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)
