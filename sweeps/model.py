"""`model:` of a sweep file: where an `architecture: package.module:build` of the user's own is, what its
parameters are, and what it is known by."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..models.architectures.built.architecture import BuiltArchitecture
from ..models.architectures.registry import ARCHITECTURES, make_known
from ..models.recipe.own_name import file_of
from .files import digests, identity_problems
from .problem import Problem
from .section import Section


class ModelSpec(Section):
    """`directory`: where it is imported from, relative to the sweep file. `roles`: a ready map, or
    `package.module:MAP` of the user's own; without it they are found from two widths. `identity`: files, as
    patterns, whose contents are part of every trial's id; without it those of the modules that are named."""

    directory: str = "."
    roles: str | None = None
    identity: list[str] | None = None


def builders(fixed: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> list[str]:
    """The architectures of a sweep that are none of ours."""
    named = [fixed.get("architecture"), *axes.get("architecture", ())]
    return [name for name in named if isinstance(name, str) and name not in ARCHITECTURES]


def model_problems(spec: ModelSpec, named: Sequence[str]) -> list[Problem]:
    """What is wrong with the section, its directory whole, for these architectures. Looks at the disk."""
    if not os.path.isdir(spec.directory):
        return [Problem(("model", "directory"), f"{spec.directory} is no directory")]
    if spec.identity == []:
        told = "is empty, so that no change would be seen; name files, or leave it out"
        return [Problem(("model", "identity"), told)]
    if spec.identity is not None:
        return [*identity_problems("model", spec.directory, spec.identity)]
    return [
        Problem(
            ("model", "directory"),
            f"{spec.directory} has no module {module}; say where it is, or, of one that is installed, by "
            "which files its trials are known: identity",
        )
        for module in _modules(spec, named)
        if file_of(module, spec.directory) is None
    ]


def codes(spec: ModelSpec, named: Sequence[str], files: Mapping[str, str] | None) -> dict[str, str]:
    """The code of each architecture, which is made known to this process. `files` are the digests that they
    go by, in place of those of their files now."""
    patterns = spec.identity
    if patterns is None:
        patterns = [str(file_of(module, spec.directory)) for module in _modules(spec, named)]
    now = digests(spec.directory, patterns)
    definition = {"directory": spec.directory, "roles": spec.roles, "files": now}
    if files is not None and dict(files) != now:
        definition |= {"files": dict(files), "files_now": now}
    return {name: make_known(BuiltArchitecture.of(name, definition)) for name in named}


def _modules(spec: ModelSpec, named: Sequence[str]) -> list[str]:
    own = [*named, *([spec.roles] if spec.roles is not None and ":" in spec.roles else [])]
    return list(dict.fromkeys(name.partition(":")[0] for name in own))
