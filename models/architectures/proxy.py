"""A proxy: embedding, residual blocks, readout, as a function of stacked parameters.

K trials, B batch, T time, D width, I input size, V outputs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..layers.dropout import Dropout
from ..layers.embedding import embed
from ..layers.experts import Load, experts
from ..layers.forward_multiplier import Factor, scaled
from ..layers.learnable import merged
from ..layers.linear import linear
from ..layers.mlp import mlp
from ..layers.norm import norm
from ..layers.outputs import Outputs
from ..layers.precision import noted_again
from ..layers.trace import Trace, untraced
from ..mixers.registry import MIXERS
from ..recipe.role import Site
from ..recipe.shape import Shape
from .stack import Stack

Sites = Mapping[Site, Factor]
Passed = tuple[Tensor, Load | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """What a training step does to the forward pass: it may drop numbers, and activations that the
    backward pass computes again, and have blocks compiled, all of a kind as one. `loads` are told by the
    pass: those of every block's experts."""

    dropout: Dropout | None = None
    checkpointing: bool = False
    compiled: bool = False
    loads: list[Load] = field(default_factory=list)

    def drop(self, x_KBTD: Tensor, site: int) -> Tensor:
        return x_KBTD if self.dropout is None else self.dropout(x_KBTD, site)

    def within(self, block: int) -> "Drop | None":
        """What drops numbers within a block, by a number within it."""
        if self.dropout is None:
            return None
        return lambda x_KBTD, site: self.drop(x_KBTD, 2 * block + site)


Drop = Callable[[Tensor, int], Tensor]
BLOCK = "block"
"""What a block is called to itself: nothing in its pass depends on which it is, so that blocks of a kind are
one to a compiler."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What blocks of a kind share. `mixers` with the names of their modules."""

    mixers: tuple[tuple[str, str], ...]
    shape: Shape
    sites: Sites


def outputs(
    stack: Stack,
    shape: Shape,
    parameters: Mapping[str, Tensor],
    sites: Sites,
    inputs: Tensor,
    trace: Trace,
    regime: Regime,
) -> Outputs:
    """What makes logits of tokens [K, B, T] or vectors [K, B, T, I]. `parameters` are [K, ...] by name,
    `sites` the forward multipliers.

    `trace` is told what every module and every block of the stream is given and makes.
    """
    parameters = merged(parameters, shape.fixed_multipliers)
    x_KBTD = _embedded(inputs, parameters, shape, sites, trace, regime)
    run = _compiled_block() if regime.compiled else _block
    for index, own in enumerate(_by_block(parameters, shape.depth)):
        mixers = tuple((name, stack.module_name(name)) for name in stack.mixers_of(shape, index))
        given = (
            x_KBTD, own, _Kind(mixers, shape, sites), _renamed(trace, index), regime.within(index),
        )  # fmt: skip
        if regime.checkpointing:
            # Nothing is drawn from a generator inside, so there is none to put back.
            again = checkpoint(noted_again(run), *given, use_reentrant=False, preserve_rng_state=False)
            x_KBTD, load = cast(Passed, again)
        else:
            x_KBTD, load = run(*given)
        if load is not None:
            regime.loads.append(load)
    x_KBTD = norm(x_KBTD, parameters, "final_norm", shape.norm_eps)
    # The readout's multiplier goes onto the narrow side of the matrix product.
    x_KBTD = scaled(x_KBTD, sites[Site.READOUT])
    out = Outputs(x_KBTD, parameters["embedding.weight" if shape.tied else "readout.weight"])
    if trace is not untraced:
        trace("readout", x_KBTD, out.logits())
    return out


def _embedded(
    inputs: Tensor,
    parameters: Mapping[str, Tensor],
    shape: Shape,
    sites: Sites,
    trace: Trace,
    regime: Regime,
) -> Tensor:
    table_KID = parameters["embedding.weight"]
    x_KBTD = linear(inputs, table_KID.transpose(1, 2)) if shape.vectors else embed(inputs, table_KID)
    if "positions.weight" in parameters:
        x_KBTD = x_KBTD + parameters["positions.weight"][:, None, : inputs.shape[2]]
    x_KBTD = scaled(x_KBTD, sites[Site.EMBEDDING])
    trace("embedding", inputs, x_KBTD)
    return regime.drop(x_KBTD, 0)


def _by_block(parameters: Mapping[str, Tensor], depth: int) -> list[dict[str, Tensor]]:
    """Those of each block, by what they are called in it."""
    found: list[dict[str, Tensor]] = [{} for _ in range(depth)]
    for name, x in parameters.items():
        if name.startswith("blocks."):
            _, index, own = name.split(".", 2)
            found[int(index)][f"{BLOCK}.{own}"] = x
    return found


def _renamed(trace: Trace, index: int) -> Trace:
    if trace is untraced:
        return trace
    return lambda name, given, made: trace(f"blocks.{index}" + name.removeprefix(BLOCK), given, made)


def _block(
    given_KBTD: Tensor, parameters: Mapping[str, Tensor], kind: _Kind, trace: Trace, drop: Drop | None
) -> Passed:
    shape, branch, eps = kind.shape, kind.sites[Site.BRANCH], kind.shape.norm_eps

    def on_branch(x_KBTD: Tensor, site: int) -> Tensor:
        scaled_KBTD = scaled(x_KBTD, branch)
        return scaled_KBTD if drop is None else drop(scaled_KBTD, site)

    def joined(stream_KBTD: Tensor, grown_KBTD: Tensor, behind: str, site: int) -> Tensor:
        if shape.norm_place == "sum":
            return norm(stream_KBTD + on_branch(grown_KBTD, site), parameters, behind, eps)
        return stream_KBTD + on_branch(norm(grown_KBTD, parameters, behind, eps), site)

    normed_KBTD = norm(given_KBTD, parameters, f"{BLOCK}.mixer_norm", eps)
    first, *others = (
        MIXERS[name].forward()(
            normed_KBTD, parameters, f"{BLOCK}.{module}", shape, kind.sites[MIXERS[name].site(shape)], trace
        )
        for name, module in kind.mixers
    )
    x_KBTD, load = joined(given_KBTD, sum(others, first), f"{BLOCK}.mixer_post_norm", 1), None
    if shape.mlp != "none":
        seen_KBTD = given_KBTD if shape.parallel_residual else x_KBTD
        normed_KBTD = norm(seen_KBTD, parameters, f"{BLOCK}.mlp_norm", eps)
        given = normed_KBTD, parameters, f"{BLOCK}.mlp", shape, trace
        grown_KBTD, load = experts(*given) if shape.experts > 1 else (mlp(*given), None)
        x_KBTD = joined(x_KBTD, grown_KBTD, f"{BLOCK}.mlp_post_norm", 2)
    trace(BLOCK, given_KBTD, x_KBTD)
    return x_KBTD, load


@cache
def _compiled_block() -> Callable[..., Passed]:
    return torch.compile(_block, fullgraph=True, dynamic=False)
