"""An architecture of the user's own: what a builder of theirs makes, known by its code.

A sweep file names it as `architecture: package.module:build`. Declared without torch; the builder is imported
when parameters are first asked for (`model`), and trained through its own forward pass (`forward`).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...mixers.registry import MIXERS
from ...recipe.own_name import digest_of
from ...recipe.role import Parameter, Site, plain_site
from ..architecture import Forward, Mixing
from ..stack import tied_scale

if TYPE_CHECKING:
    import numpy as np

    from ...recipe.recipe import Recipe
    from ...recipe.shape import Shape

BESIDE_MIXING = 3.0
"""Times what attention keeps and launches: a module of anybody's is not written for one trial axis."""

Digests = tuple[tuple[str, str], ...]
"""Files by their path in the directory, each with the digest of what is in it."""


@dataclass(frozen=True, slots=True)
class BuiltArchitecture:
    """`name` is `package.module:build`, imported from `directory`. `roles` is a ready map's name, or
    `package.module:MAP`; None where they are found. It is known by `files`; `files_now` are what they have
    become, where trials of before are kept."""

    name: str
    directory: str
    roles: str | None
    files: Digests
    files_now: Digests | None = None

    @classmethod
    def of(cls, name: str, definition: Mapping[str, Any]) -> "BuiltArchitecture":
        """Of what the trials of a sweep share. Raises KeyError for what is no such definition."""
        now = definition.get("files_now")
        return cls(
            name,
            definition["directory"],
            definition.get("roles"),
            tuple(sorted(definition["files"].items())),
            None if now is None else tuple(sorted(now.items())),
        )

    @property
    def definition(self) -> dict[str, Any]:
        """As plain values: with the name enough to make it again."""
        held = {"directory": self.directory, "roles": self.roles, "files": dict(self.files)}
        return held if self.files_now is None else {**held, "files_now": dict(self.files_now)}

    @property
    def code(self) -> str:
        """What a trial is known by beside the name: the roles, and what is in the files."""
        text = json.dumps([self.roles, dict(self.files)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def changed(self, since: Digests) -> list[str]:
        """Files, by their path in the directory, that are not there or not what they were."""
        places = [(path, Path(self.directory, path), digest) for path, digest in since]
        return [path for path, file, digest in places if not file.is_file() or digest_of(file) != digest]

    @property
    def reads(self) -> frozenset[str]:
        """All that any architecture reads: which of them the builder does is not known."""
        from ..registry import ARCHITECTURES

        return frozenset[str]().union(*(held.reads for held in ARCHITECTURES.values()))

    @property
    def sees_ahead(self) -> bool:
        return True  # `causal` is among what the builder is given

    @property
    def repeats(self) -> bool:
        return False

    @property
    def module_names(self) -> Mapping[str, str]:
        return {}

    def check(self, shape: "Shape") -> None:
        """The builder says what fits, once it is called."""

    def check_training(self, recipe: "Recipe") -> None:
        if recipe.dropout:
            raise ValueError(f"dropout: {self.name} has no place for ours; give 0")
        if recipe.activation_checkpointing:
            raise ValueError(f"activation_checkpointing: cannot reach into {self.name}; give false")
        if recipe.shape.experts > 1 and recipe.balance_loss:
            raise ValueError(f"balance_loss: how {self.name} spreads its loads is not known; give 0")
        if recipe.frozen_gains != "none":
            raise ValueError(
                f"frozen_gains: which parameters of {self.name} are gains is not known; give none"
            )

    def parameters(self, shape: "Shape") -> Iterator[Parameter]:
        from .model import described

        yield from (each.parameter for each in described(self, shape))

    def start(self, shape: "Shape", parameter: Parameter, seed: int) -> "np.ndarray":
        from ...recipe.initial import initial_draw
        from .model import own_starts

        if parameter.start != "kept":
            return initial_draw(parameter.name, parameter.shape, parameter.start, seed)
        return own_starts(self, shape, seed)[parameter.name]

    def sites(self, recipe: "Recipe") -> Mapping[Site, float]:
        from .model import must_have_places

        named = must_have_places(self, recipe).sites
        values = {
            Site.EMBEDDING: recipe.embedding_multiplier,
            Site.BRANCH: recipe.residual_multiplier,
            Site.READOUT: recipe.readout_multiplier * tied_scale(recipe),
        }
        mixers = {mixer.site(recipe.shape): mixer for mixer in MIXERS.values()}
        return values | {
            site: mixer.strength(recipe) for site, mixer in mixers.items() if plain_site(site) in named
        }

    def mixing(self, shape: "Shape") -> Mixing:
        attention = MIXERS["attention"]
        return Mixing(
            flops=shape.depth * attention.flops(shape),
            cpu_seconds=shape.depth * attention.cpu_seconds,
            gpu_launches=round(shape.depth * attention.gpu_launches * BESIDE_MIXING),
            kept=round(shape.depth * attention.kept * BESIDE_MIXING),
            kept_at_once=round(attention.kept * BESIDE_MIXING),
        )

    def forward(self) -> Forward:
        from .forward import BuiltForward

        return BuiltForward(self)
