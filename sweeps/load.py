"""From a sweep file to its trials: the door where a stranger's file is read and judged.

A sweep file is data. Tags that construct objects, anchors and aliases (which can expand without bound),
deep nesting and oversized files are refused before anything is built from them.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionStartEvent, Event, NodeEvent, ScalarEvent

from ..models.data.batches import Source
from ..models.data.corpus import Corpus, materialise
from ..models.data.documents import CorpusError
from .command.spec import program_problems
from .data import load_corpus, resolved_data
from .grid import Expansion, expand
from .like import KEY as LIKE
from .model import ModelSpec, builders, model_problems
from .problem import Problem, ProblemsFound, SpecError, Where
from .proxy import recipe_of
from .spec import NAMED, SweepSpec, check_spec

MAX_BYTES = 1 << 20
MAX_DEPTH = 12
PLAIN_TAGS = {"tag:yaml.org,2002:" + kind for kind in ("str", "int", "float", "bool", "null", "map", "seq")}


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep file read, its data identified and its trials expanded. A program of the user's has its own
    data."""

    spec: SweepSpec
    corpus: Corpus | None
    expansion: Expansion

    def materialised(self, folder: Path) -> Source:
        """The data of proxies, written to a folder where they are not on disk yet. Raises SpecError for a
        program of the user's, which has its own."""
        if self.corpus is None:
            raise SpecError(self.spec.name, [Problem(("program",), "is none of ours, so there are no data")])
        return materialise(self.corpus, folder)


def load_sweep(path: str, overrides: Sequence[str] = ()) -> Sweep:
    """Reads a sweep file or a preset's name; raises SpecError with every fault at once."""
    raw = _read(path)
    overridden = {_override(path, raw, override) for override in overrides}
    try:
        spec, problems = check_spec(_plain({"name": Path(path).stem, **raw}))
        if spec is None:
            raise ProblemsFound(problems)
        if spec.program is not None:
            return _with_program(path, spec)
        spec = spec.model_copy(
            update={"data": resolved_data(spec.data, _folder(path)), "model": _model(path, spec)}
        )
        corpus = load_corpus(spec.data)
        expansion = expand(spec, corpus.fields)
        _check_lengths(expansion, corpus)
        _check_causal(spec, expansion)
        return Sweep(spec, corpus, expansion)
    except CorpusError as error:
        raise SpecError(path, [_located(Problem(("data",), str(error)), raw, overridden)]) from None
    except ProblemsFound as found:
        raise SpecError(path, [_located(p, raw, overridden) for p in found.problems]) from None


def _model(path: str, spec: SweepSpec) -> ModelSpec | None:
    """Where the architectures of the user's own are; the sweep file's folder unless it is said."""
    named = builders(spec.fixed, spec.axes)
    if not named:
        return None
    told = spec.model or ModelSpec()
    whole = told.model_copy(
        update={"directory": os.path.normpath(os.path.join(_folder(path), told.directory))}
    )
    if problems := model_problems(whole, named):
        raise ProblemsFound(problems)
    return whole


def _with_program(path: str, spec: SweepSpec) -> Sweep:
    assert spec.program is not None
    whole = os.path.normpath(os.path.join(_folder(path), spec.program.directory))
    spec = spec.model_copy(update={"program": spec.program.model_copy(update={"directory": whole})})
    assert spec.program is not None
    names = [*spec.fixed, *spec.axes, *(spec.search.space if spec.search else ())]
    names += [*spec.base.point()] if spec.base else []
    given = {**{name: [value] for name, value in spec.fixed.items()}, **spec.axes}
    if problems := program_problems(spec.program, names, spec.along, given.get(spec.along, [])):
        raise ProblemsFound(problems)
    return Sweep(spec, None, expand(spec, {}))


def resolved(spec: SweepSpec) -> dict[str, Any]:
    """The spec as plain values, overrides and log ranges resolved, paths whole: itself a sweep file."""
    values = spec.model_dump(exclude_none=True, exclude_defaults=True)
    if spec.program is not None:
        return values
    return {**values, "data": spec.data.model_dump(exclude_none=True, exclude_defaults=True)}


def preset_names() -> list[str]:
    folder = resources.files("mutransfer.sweeps.presets")
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def preset_text(name: str) -> str:
    return resources.files("mutransfer.sweeps.presets").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def _folder(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))


def _read(path: str) -> CommentedMap:
    is_preset = not os.path.exists(path) and path in preset_names()
    text = preset_text(path) if is_preset else _file_text(path)
    try:
        _refuse_unsafe(path, text)
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
        raise SpecError(path, [Problem((), f"is {found}; a sweep file has keys such as fixed and axes")])
    return raw


def _file_text(path: str) -> str:
    try:
        if os.path.isdir(path):
            raise SpecError(path, [Problem((), "is a directory; give a sweep file, or a preset's name")])
        if os.path.getsize(path) > MAX_BYTES:
            raise SpecError(path, [Problem((), f"is larger than {MAX_BYTES:,} bytes; is it a sweep file?")])
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1).decode("utf-8")
    except UnicodeDecodeError:
        raise SpecError(path, [Problem((), "is not UTF-8 text; is it a sweep file?")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = f"give a sweep file or one of the presets {', '.join(preset_names())}"
        raise SpecError(path, [Problem((), f"cannot be read ({reason}); {hint}")]) from None


def _refuse_unsafe(path: str, text: str) -> None:
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


def _check_lengths(expansion: Expansion, corpus: Corpus) -> None:
    lengths = sorted({recipe_of(trial).shape.sequence_length for trial in expansion.trials})
    reasons = [corpus.source.misfit(length) for length in lengths]
    if found := [Problem(("data",), reason) for reason in reasons if reason]:
        raise ProblemsFound(found)


def _check_causal(spec: SweepSpec, expansion: Expansion) -> None:
    """Whoever sees both ways sees the token that is to be predicted, unless it is masked."""
    if spec.data.task in ("masked", "classification") or all(
        recipe_of(t).shape.causal for t in expansion.trials
    ):
        return
    section = "axes" if "causal" in spec.axes else "fixed"
    reason = "next tokens are there to be seen; give true, or task masked or classification"
    raise ProblemsFound([Problem((section, "causal"), reason)])


def _override(path: str, raw: CommentedMap, override: str) -> Where:
    """`steps=20` sets a field under fixed, `width=[16, 32]` under axes, `base.width=64` by its path.

    Returns the place that was set.
    """
    name, equals, text = override.partition("=")
    label = f"--set {override}"
    if not equals or not name:
        raise SpecError(label, [Problem((), "write --set key=value")])
    try:
        _refuse_unsafe(label, text)
        value = YAML().load(text)
    except (YAMLError, ValueError):
        raise SpecError(label, [Problem((), "the value is not valid YAML")]) from None
    if name in NAMED or name == LIKE:
        section, other = (
            ("axes", "fixed") if isinstance(value, CommentedMap | CommentedSeq) else ("fixed", "axes")
        )
        if isinstance(raw.get(other), CommentedMap):
            raw[other].pop(name, None)
        keys = [section, name]
    else:
        keys = name.split(".")
        if len(keys) == 1 and raw.get("program") is not None and name not in SweepSpec.model_fields:
            told = f"is no key of a sweep file; for a field of your program write --set fixed.{name}=VALUE"
            raise SpecError(label, [Problem((), told)])
    target = raw
    for key in keys[:-1]:
        target = target.setdefault(key, CommentedMap())
        if not isinstance(target, CommentedMap):
            raise SpecError(label, [Problem((), f"{key} is not a mapping in {path}")])
    target[keys[-1]] = value
    return tuple(keys)


def _located(problem: Problem, raw: CommentedMap, overridden: Collection[Where]) -> Problem:
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


def _plain(value: Any) -> Any:  # noqa: ANN401 - the parsed file, before anything is known about it
    """ruamel's round-trip containers and numbers as plain Python values."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value
