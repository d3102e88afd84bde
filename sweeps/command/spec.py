"""`program:` of a sweep file: the user's own training, how its loss is read, and what it is known by."""

import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ..files import digests, identity_problems
from ..problem import Problem, Where
from ..section import Section
from .words import GIVEN, placeholders

LOSS_FORMS = r"{file: F, key: K}, {csv: F, column: C} or {pattern: 'loss (\S+)'}"
YEAR = 365 * 24 * 3600

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Plain = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Named = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]


class LossSpec(Section):
    """Where a trial's final loss stands, in exactly one of three forms; the last value counts.

    `file` of JSON lines and the `key` in them, `csv` and its `column`, or a `pattern` with one group,
    looked for in what the program prints. Paths are relative to the trial's own folder, {files}."""

    file: Named | None = None
    key: Named | None = None
    csv: Named | None = None
    column: Named | None = None
    pattern: Named | None = None
    helper: bool | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "LossSpec":
        if self.helper and self.model_fields_set == {"helper"}:
            return self
        given = [name for name in ("file", "csv", "pattern") if getattr(self, name) is not None]
        pairs = {"file": self.key, "csv": self.column, "pattern": ""}
        strays = [
            name
            for name, of in (("key", "file"), ("column", "csv"))
            if getattr(self, name) and of not in given
        ]
        if len(given) != 1 or pairs[given[0]] is None or strays:
            raise ValueError(f"is written {LOSS_FORMS}")
        return self

    @field_validator("pattern")
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        try:
            if value is not None and re.compile(value).groups != 1:
                raise ValueError("needs exactly one group, around the number: 'loss (\\S+)'")
        except re.error as error:
            raise ValueError(f"is no regular expression ({error})") from None
        return value


class PreemptSpec(Section):
    """The signal that says that the place is wanted, and for how many seconds the program may then go on."""

    signal: Literal["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP"] = "SIGTERM"
    grace: float = Field(default=30, ge=0, le=3600)


class ProgramSpec(Section):
    """One training for each trial: a `command`, or a Python `function` called as `function(trial)`.

    `command`: a list of words, or a text that is split into words as a shell would; no shell runs it.
    {NAME} in a word becomes the trial's field of this name, or one of GIVEN. `directory`: where it runs,
    relative to the sweep file. `gpus`: for one trial, or by scale. `identity`: files, as patterns, whose
    contents are part of every trial's id. `loss`: a LossSpec, or `helper` where the program reports by
    `mutransfer.trial`. `timeout`: seconds."""

    command: list[str] | str | None = None
    function: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    directory: str = "."
    gpus: float | int | dict[str, float | int] = 0
    identity: list[str] = Field(default_factory=list)
    environment: dict[Variable, Plain] = Field(default_factory=dict)
    loss: LossSpec | None = None
    preempt: PreemptSpec = PreemptSpec()
    timeout: float | None = Field(default=None, gt=0, le=YEAR)

    @field_validator("loss", mode="before")
    @classmethod
    def _helper_by_name(cls, value: object) -> object:
        if isinstance(value, str):
            if value != "helper":
                raise ValueError(f"is helper, or {LOSS_FORMS}")
            return {"helper": True}
        return value

    @field_validator("gpus", mode="before")
    @classmethod
    def _counts(cls, value: object) -> object:
        counts = value.values() if isinstance(value, dict) else [value]
        numbers = [
            count for count in counts if isinstance(count, int | float) and not isinstance(count, bool)
        ]
        if len(numbers) < len([*counts]) or not all(map(math.isfinite, numbers)):
            raise ValueError("is a number, or numbers by scale: {256: 1, 1024: 8}")
        return value

    @field_validator("command", mode="before")
    @classmethod
    def _words_alone(cls, value: object) -> object:
        words = [value] if isinstance(value, str) else value
        if isinstance(words, list) and all(isinstance(word, str) and "\0" not in word for word in words):
            return value
        raise ValueError("is a list of texts (numbers in quotes), or one text")

    @property
    def words(self) -> list[str]:
        """The command's words; none for a function."""
        return shlex.split(self.command) if isinstance(self.command, str) else list(self.command or ())


def program_problems(
    spec: ProgramSpec, names: Sequence[str], scale: str, scale_values: Sequence[object]
) -> list[Problem]:
    """What is wrong with the section, given the trials' fields, their scale and its values; the directory is
    whole. Looks at the disk."""
    where = "program"
    if (spec.command is None) == (spec.function is None):
        return [Problem((where,), "give exactly one of command and function")]
    problems = []
    if spec.command is not None:
        problems += _command_problems(spec, names)
    if spec.command is not None and spec.loss is None:
        told = "is missing; say where the final loss stands, such as {pattern: 'val loss (\\S+)'}"
        problems.append(Problem((where, "loss"), told))
    if spec.function is not None and spec.loss is not None:
        problems.append(Problem((where, "loss"), "is what the function returns; take it out"))
    for name in ("file", "csv"):
        path = getattr(spec.loss, name, None)
        if path is not None and (os.path.isabs(path) or ".." in Path(path).parts):
            told = f"{path} is outside of the trial's own folder, where all trials would write it"
            problems.append(Problem((where, "loss", name), told))
        if path is not None:
            problems += _word_problems((where, "loss", name), path, names)
    if not os.path.isdir(spec.directory):
        return [*problems, Problem((where, "directory"), f"{spec.directory} is no directory")]
    problems += identity_problems(where, spec.directory, spec.identity)
    return problems + _gpu_problems(spec, scale, scale_values)


def _command_problems(spec: ProgramSpec, names: Sequence[str]) -> list[Problem]:
    where = ("program", "command")
    try:
        words = spec.words
    except ValueError as error:
        return [Problem(where, f"cannot be split into words ({error})")]
    if not words:
        return [Problem(where, "is empty")]
    return [
        problem
        for index, word in enumerate(words)
        for problem in _word_problems(
            (*where, index) if isinstance(spec.command, list) else where, word, names
        )
    ]


def _word_problems(where: Where, word: str, names: Sequence[str]) -> list[Problem]:
    known = {*names, *GIVEN}
    try:
        asked = placeholders(word)
    except ValueError as error:
        return [Problem(where, f"{word}: {error}; a brace of its own is written twice")]
    told = f"is no field of these trials; there are {', '.join(sorted(known))}"
    return [Problem(where, f"{{{name}}} {told}") for name in asked if name not in known]


def _gpu_problems(spec: ProgramSpec, scale: str, scale_values: Sequence[object]) -> list[Problem]:
    where = ("program", "gpus")
    counts = list(spec.gpus.values()) if isinstance(spec.gpus, dict) else [spec.gpus]
    if any(count < 0 or (count > 1 and count != int(count)) for count in counts):
        return [Problem(where, "is a whole number of GPUs, or a share of one below 1")]
    if isinstance(spec.gpus, dict) and not scale_values:
        return [Problem(where, f"are by {scale}, which these trials do not have; give scale: their field")]
    if isinstance(spec.gpus, dict):
        lost = [value for value in scale_values if str(value) not in spec.gpus]
        return [Problem(where, f"says nothing of the scale {value}") for value in lost]
    return []


def definition_of(spec: ProgramSpec, scale: str, base: Mapping[str, int] | None) -> dict[str, Any]:
    """All that the trials' programs share, as plain values: enough to run them."""
    held = spec.model_dump(exclude_none=True, exclude={"command", "identity"})
    held["command"] = spec.words
    return {
        **held,
        "files": digests(spec.directory, spec.identity),
        "scale": scale,
        "base": dict(base) if base else None,
    }
