"""From a sweep file to its trials: the door where a stranger's file is judged."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from ..models.data.batches import Source
from ..models.data.corpus import Corpus, materialise
from ..models.data.documents import CorpusError
from .command.spec import program_problems
from .data import load_corpus, resolved_data
from .grid import Expansion, expand
from .like import KEY as LIKE
from .model import ModelSpec, builders, model_problems
from .own_tables import with_tables
from .problem import Problem, ProblemsFound, SpecError, Where
from .proxy import recipe_of
from .spec import NAMED, SweepSpec, check_spec
from .yaml_file import FileKind, located, plain, read_yaml, refuse_unsafe


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
        faults: list[Problem] = []
        whole = with_tables(plain({"name": Path(path).stem, **raw}), _folder(path), faults)
        spec, problems = check_spec(whole)
        if spec is None or faults:
            raise ProblemsFound([*faults, *problems])
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
        raise SpecError(path, [located(Problem(("data",), str(error)), raw, overridden)]) from None
    except ProblemsFound as found:
        raise SpecError(path, [located(p, raw, overridden) for p in found.problems]) from None


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
    remedy = f"give a sweep file or one of the presets {', '.join(preset_names())}"
    kind = FileKind("a sweep file", "fixed and axes", remedy)
    return read_yaml(path, kind, preset_text(path) if is_preset else None)


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
        refuse_unsafe(label, text)
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
