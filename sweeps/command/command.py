"""A trial that runs the user's own program: its fields, and what all trials of the sweep share."""

import os
import shutil
import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from typing import Any, Self

from ...models.recipe.recipe import FIELDS
from ..card import Card
from ..program import Cost, DeviceKind, Point
from .fields import KEY
from .words import filled

Definition = Mapping[str, Any]
"""What the programs of a sweep share: `spec.definition_of`."""

IDENTITY = ("command", "function", "environment", "loss", "gpus", "files")
"""What of it decides a result: where it runs, how long it may and what stops it do not."""
ELF, SCRIPT = b"\x7fELF", b"#!"
UNKNOWN_SECONDS = 60.0
"""How long a training takes is not known before one has ended."""
MEMORY = 4 << 30


@dataclass(frozen=True)
class Command:
    """One training by a command or a function, at the values of its fields."""

    values: Point
    definition: Definition

    def __hash__(self) -> int:
        return hash(self.group_key())

    @property
    def kind(self) -> str:
        return "command"

    def point(self) -> dict[str, Any]:
        return dict(self.values)

    def at(self, changes: Point) -> Self:
        """Raises ValueError, naming the field, for a value of ours that it cannot have."""
        for name, value in changes.items():
            if name in FIELDS and (fault := FIELDS[name].fault(value)):
                raise ValueError(f"{name}: {fault}")
        return type(self)({**self.values, **changes}, self.definition)

    def identity(self) -> Point:
        shared = {name: self.definition.get(name) for name in IDENTITY}
        return {**self.values, KEY: {**shared, "gpus": self.gpus}}

    def group_key(self) -> Hashable:
        """No two are one job: each is a process of its own."""
        return tuple(sorted((name, str(value)) for name, value in self.values.items()))

    @property
    def gpus(self) -> float:
        asked = self.definition["gpus"]
        return float(
            asked[str(self.values[self.definition["scale"]])] if isinstance(asked, Mapping) else asked
        )

    def placeholders(self, **others: object) -> dict[str, object]:
        """What the names in braces stand for: the fields, its GPUs, this Python, and the `others` of
        `words.GIVEN`."""
        whole = self.gpus == int(self.gpus)
        gpus = int(self.gpus) if whole else self.gpus
        return {**self.values, **others, "gpus": gpus, "python": sys.executable}

    @property
    def executable(self) -> str | None:
        """The word that the command starts with; None of a function, and where only an attempt knows it."""
        try:
            return filled(self.definition["command"][0], self.placeholders())
        except (IndexError, KeyError):
            return None

    def not_here(self) -> str | None:
        """Why the command cannot be started on this machine, or the function's module not be found, if so."""
        if function := self.definition.get("function"):
            module, directory = function.partition(":")[0].partition(".")[0], self.definition["directory"]
            if module in sys.modules or PathFinder.find_spec(module, [directory, *sys.path]) is not None:
                return None
            return f"there is no module {module} in {directory}, nor is one installed"
        word = self.executable
        if word is None:
            return None
        directory, path = self.definition["directory"], self.definition["environment"].get("PATH")
        file = os.path.join(directory, word)
        if found := shutil.which(file if "/" in word else word, path=path):
            with open(found, "rb") as opened:
                begins = opened.read(len(ELF))
            if begins == ELF or begins.startswith(SCRIPT):
                return None
            return f"{word} does not begin with #!; name its interpreter first, as in [bash, {word}]"
        if "/" in word:
            there = os.path.isfile(file)
            return f"{word} cannot be executed; chmod +x" if there else f"there is no {word} in its directory"
        if os.path.isfile(file):
            return f"{word} is not on PATH; write ./{word}"
        return f"{word} is not on PATH; activate its environment ({{python}} is the Python of mutransfer)"

    @property
    def steps(self) -> int:
        """1 where the fields do not say."""
        return int(self.values.get("steps") or 1)

    @property
    def most_parts(self) -> int:
        return 1

    def cost(self) -> Cost:
        """Zeros for what the fields do not say."""
        tokens, parameters = self.values.get("tokens"), int(self.values.get("parameters") or 0)
        if tokens is None:
            sizes = [self.values.get(name) or 0 for name in ("steps", "batch_size", "sequence_length")]
            tokens = sizes[0] * sizes[1] * sizes[2]
        return Cost(parameters, int(tokens), float(self.values.get("flops") or 6.0 * parameters * tokens))

    def seconds(self, device: DeviceKind, together: int, card: Card | None = None) -> float:
        return UNKNOWN_SECONDS

    def bound(self, together: int, card: Card) -> str | None:
        return None

    def memory_bytes(self, together: int = 1, counted: bool = False, parts: int = 1) -> int:
        return together * MEMORY


def read(point: Point, definition: Definition) -> Command:
    return Command(dict(point), definition)
