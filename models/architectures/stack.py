"""Our architectures: an embedding, residual blocks of one mixer (or two) and an MLP each, a readout.

The parameters are declared here with their roles, the single list of what exists: the forward pass reads them
by these names, initialisation and optimizers walk this list, and the rule tables cover these roles.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..mixers.mixer import Mixer
from ..mixers.parts import RECURRENT, gain, linear, matrix, vector
from ..mixers.registry import MIXERS
from ..recipe.role import Parameter, Role, Site
from .architecture import Forward, Mixing

if TYPE_CHECKING:
    import numpy as np

    from ..recipe.recipe import Recipe
    from ..recipe.shape import Norm, Shape

NORM_PLACES: Mapping[str, tuple[bool, bool]] = {
    "pre": (True, False), "post": (False, True), "sandwich": (True, True), "sum": (False, True),
}  # fmt: skip
"""Whether a branch has a norm before it, and behind it: of what it gives, or of the sum with it."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Mixers by name. Every block has all of them side by side; `interleaved`, every n-th block has the last
    and the others have the first (`attention_every`)."""

    mixers: tuple[str, ...]
    interleaved: bool = False

    @property
    def reads(self) -> frozenset[str]:
        own = {"attention_every"} if self.interleaved else set()
        return frozenset(own.union(*(mixer.reads for mixer in self._mixers())))

    @property
    def sees_ahead(self) -> bool:
        return all(mixer.sees_ahead for mixer in self._mixers())

    @property
    def repeats(self) -> bool:
        return True

    @property
    def module_names(self) -> Mapping[str, str]:
        return {mixer: self.module_name(mixer) for mixer in self.mixers}

    def module_name(self, mixer: str) -> str:
        """What a mixer's parameters are called inside their block; named by its kind where there are two."""
        return "mixer" if len(self.mixers) == 1 else mixer

    def mixers_of(self, shape: "Shape", block: int) -> tuple[str, ...]:
        if not self.interleaved:
            return self.mixers
        return self.mixers[-1:] if (block + 1) % shape.attention_every == 0 else self.mixers[:1]

    def check(self, shape: "Shape") -> None:
        for mixer in self._mixers():
            mixer.check(shape)
        if self.interleaved and shape.depth % shape.attention_every:
            raise ValueError(
                f"attention_every: depth {shape.depth} is not a multiple of {shape.attention_every}, so the "
                "share of attention would change with depth; give a depth that is"
            )

    def check_training(self, recipe: "Recipe") -> None:
        pass

    def start(self, shape: "Shape", parameter: Parameter, seed: int) -> "np.ndarray":
        from ..recipe.initial import initial_draw

        return initial_draw(parameter.name, parameter.shape, parameter.start, seed)

    def parameters(self, shape: "Shape") -> Iterator[Parameter]:
        n = shape.width
        # A token is a vector with a single one, whatever their number; a vector has all its coordinates.
        fan_in = shape.vocab_size if shape.vectors else 1
        yield Parameter(name="embedding.weight", shape=(shape.vocab_size, n), role=Role.INPUT, fan_in=fan_in)
        if "positions" in self.reads and shape.positions == "learned":
            yield Parameter(name="positions.weight", shape=(shape.sequence_length, n), role=Role.INPUT)
        for index in range(shape.depth):
            block = f"blocks.{index}"
            before, after = NORM_PLACES[shape.norm_place]
            # The norm of a sum is the whole stream's, as the last one is.
            behind = Role.VECTOR if shape.norm_place == "sum" else Role.HIDDEN_VECTOR
            if before:
                yield from _norm(f"{block}.mixer_norm", shape, shape.norm, Role.HIDDEN_VECTOR)
            for name in self.mixers_of(shape, index):
                yield from MIXERS[name].parameters(f"{block}.{self.module_name(name)}", shape)
            if after:
                yield from _norm(f"{block}.mixer_post_norm", shape, shape.norm, behind)
            if shape.mlp == "none":
                continue
            if before:
                yield from _norm(f"{block}.mlp_norm", shape, shape.norm, Role.HIDDEN_VECTOR)
            yield from _mlp(f"{block}.mlp", shape)
            if after:
                yield from _norm(f"{block}.mlp_post_norm", shape, shape.norm, behind)
        yield from _norm("final_norm", shape, shape.last_norm, Role.VECTOR)
        if not shape.tied:
            yield matrix("readout", shape.output_count, n, role=Role.OUTPUT)

    def sites(self, recipe: "Recipe") -> dict[Site, float]:
        values = {
            Site.EMBEDDING: recipe.embedding_multiplier,
            Site.BRANCH: recipe.residual_multiplier,
            Site.READOUT: recipe.readout_multiplier * tied_scale(recipe),
        }
        return values | {mixer.site(recipe.shape): mixer.strength(recipe) for mixer in self._mixers()}

    def mixing(self, shape: "Shape") -> Mixing:
        blocks = [[MIXERS[name] for name in self.mixers_of(shape, block)] for block in range(shape.depth)]
        mixers = [mixer for block in blocks for mixer in block]
        # Of mixers with a state, by coordinate of its heads.
        state = shape.state_head_count * shape.state_head_size / shape.width
        shares = [state if mixer.reads >= RECURRENT else 1.0 for mixer in mixers]
        kept = [math.ceil(mixer.kept * share) for mixer, share in zip(mixers, shares, strict=True)]
        return Mixing(
            flops=sum(mixer.flops(shape) for mixer in mixers),
            cpu_seconds=sum(m.cpu_seconds * share for m, share in zip(mixers, shares, strict=True)),
            gpu_launches=sum(mixer.gpu_launches for mixer in mixers),
            kept=sum(kept),
            kept_at_once=max(kept),
        )

    def forward(self) -> Forward:
        from .proxy import outputs

        return partial(outputs, self)

    def _mixers(self) -> list[Mixer]:
        return [MIXERS[name] for name in self.mixers]


def _norm(name: str, shape: "Shape", kind: "Norm", role: Role) -> Iterator[Parameter]:
    if kind != "none":
        yield gain(name, shape.width, role)
    if kind == "layernorm":
        yield vector(f"{name}.bias", shape.width, role, "zeros")


def _mlp(name: str, shape: "Shape") -> Iterator[Parameter]:
    if shape.experts > 1:
        yield from _experts(name, shape)
        return
    n, m = shape.width, shape.mlp_width
    biased = shape.biases == "all"
    yield from linear(f"{name}.up", m, n, biased=biased)
    if shape.gated:
        yield from linear(f"{name}.gate", m, n, biased=biased)
    yield from linear(f"{name}.down", n, m, biased=biased, ends_branch=True)


def _experts(name: str, shape: "Shape") -> Iterator[Parameter]:
    n, m, count = shape.width, shape.expert_width, shape.expert_count
    yield matrix(f"{name}.router", count, n, role=Role.ROUTER)
    for module in ("up", "gate") if shape.gated else ("up",):
        yield matrix(f"{name}.{module}", count * m, n, role=Role.EXPERT_IN, matrices=count)
    yield matrix(f"{name}.down", count * n, m, role=Role.EXPERT_OUT, matrices=count, ends_branch=True)


def tied_scale(recipe: "Recipe") -> float:
    """A tied readout has the embedding's std of 1; this brings its logits to those of fan-in init."""
    base = recipe.base_shape()
    return 1.0 / math.sqrt(base.width) if base.tied and recipe.init == "fan-in" else 1.0
