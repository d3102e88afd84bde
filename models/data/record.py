"""Sources as plain values, as a sweep directory keeps them for its workers."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .batches import Source
from .recall import Recall
from .regression import Regression
from .token_file import TokenFile

KINDS = {"tokens": TokenFile, "mqar": Recall, "regression": Regression}


def source_object(source: Source) -> dict[str, Any]:
    """A source as JSON's plain values, for `source_from_object`."""
    (kind,) = (name for name, class_ in KINDS.items() if isinstance(source, class_))
    assert isinstance(source, TokenFile | Recall | Regression)
    return {"kind": kind, **asdict(source)}


def source_from_object(record: Mapping[str, Any], folder: Path) -> Source:
    """The source; relative paths are those of `folder`. Raises KeyError or TypeError for what is none."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    kind = str(values.pop("kind", "tokens"))  # the records of older sweeps have none, and one path
    if "path" in values:
        values["paths"] = (values.pop("path"),)
    if kind == "tokens":
        values["paths"] = tuple(str(folder / path) for path in values["paths"])
    source: Source = KINDS[kind](**values)
    return source
