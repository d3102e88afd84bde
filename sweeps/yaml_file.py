"""A stranger's YAML file, read: data that build nothing, and every fault with its line.

Tags that construct objects, anchors and aliases (which can expand without bound), deep nesting and oversized
files are refused before anything is built from them.
"""

import io
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionStartEvent, Event, NodeEvent, ScalarEvent

from .problem import Problem, SpecError, Where

MAX_BYTES = 1 << 20
MAX_DEPTH = 12
PLAIN_TAGS = {"tag:yaml.org,2002:" + kind for kind in ("str", "int", "float", "bool", "null", "map", "seq")}


@dataclass(frozen=True, slots=True)
class FileKind:
    """`what` it is to be, `keys` that it has, `remedy` where it cannot be read."""

    what: str
    keys: str
    remedy: str


def read_yaml(path: str, kind: FileKind, text: str | None = None) -> CommentedMap:
    """The file's mapping, or that of a text that is known already. Raises SpecError."""
    if text is None:
        text = _file_text(path, kind)
    try:
        refuse_unsafe(path, text)
        raw = YAML().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = str(error.problem or error.context).splitlines()[0]
        line = None if mark is None else mark.line + 1
        raise SpecError(path, [Problem((), f"not valid YAML: {reason}", line)]) from None
    except (YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SpecError(path, [Problem((), f"not valid YAML: {reason}")]) from None
    if not isinstance(raw, CommentedMap):
        found = "empty" if raw is None else "not a mapping"
        raise SpecError(path, [Problem((), f"is {found}; {kind.what} has keys such as {kind.keys}")])
    return raw


def _file_text(path: str, kind: FileKind) -> str:
    try:
        if os.path.isdir(path):
            raise SpecError(path, [Problem((), f"is a directory; {kind.remedy}")])
        if os.path.getsize(path) > MAX_BYTES:
            raise SpecError(path, [Problem((), f"is larger than {MAX_BYTES:,} bytes; is it {kind.what}?")])
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1).decode("utf-8")
    except UnicodeDecodeError:
        raise SpecError(path, [Problem((), f"is not UTF-8 text; is it {kind.what}?")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(path, [Problem((), f"cannot be read ({reason}); {kind.remedy}")]) from None


def yaml_text(values: Mapping[str, Any]) -> str:
    """Plain values as a sweep file's text. No line is folded: a key of several words would not be one."""
    text, yaml = io.StringIO(), YAML()
    yaml.default_flow_style = None
    yaml.width = sys.maxsize
    yaml.dump(values, text)
    return text.getvalue()


def refuse_unsafe(path: str, text: str) -> None:
    """Walks the parser's events, which build nothing, and refuses what a sweep file never needs."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        depth += isinstance(event, CollectionStartEvent)
        depth -= type(event).__name__ in ("SequenceEndEvent", "MappingEndEvent")
        reason = _unsafe(event, depth)
        if reason:
            line = event.start_mark.line + 1 if event.start_mark else None
            raise SpecError(path, [Problem((), reason, line)])


def _unsafe(event: Event, depth: int) -> str | None:
    if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
        return "anchors and aliases are not allowed in a sweep file; write the value out"
    if isinstance(event, ScalarEvent | CollectionStartEvent):
        tag = getattr(event, "tag", None)
        if tag and str(tag) not in PLAIN_TAGS:
            return f"the tag {tag} is not allowed; a sweep file holds plain values only"
    return f"is nested more than {MAX_DEPTH} deep" if depth > MAX_DEPTH else None


def located(problem: Problem, raw: CommentedMap, overridden: Collection[Where]) -> Problem:
    """The problem with the line of the deepest part of its place that the file has."""
    if any(problem.where[: len(place)] == place for place in overridden):
        return Problem(problem.where, f"{problem.message} (from --set)")
    line, node = None, raw
    for part in problem.where:
        try:
            spot = node.lc.item(part) if isinstance(node, CommentedSeq) else node.lc.key(part)
            line, node = spot[0] + 1, node[part]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return Problem(problem.where, problem.message, line)


def plain(value: Any) -> Any:  # noqa: ANN401 - the parsed file, before anything is known about it
    """ruamel's round-trip containers and numbers as plain Python values."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value
