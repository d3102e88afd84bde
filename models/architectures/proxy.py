"""A proxy: embedding, residual blocks, readout, as a function of stacked parameters.

K trials, B batch, T time, D width, I input size, V outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

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
from ..layers.trace import Trace, untraced
from ..mixers.mixer import Mixer
from ..mixers.registry import MIXERS
from ..recipe.role import Site
from ..recipe.shape import Shape
from .stack import Stack

Sites = Mapping[Site, Factor]
Passed = tuple[Tensor, Load | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """What a training step does to the forward pass: it may drop numbers, and activations that the
    backward pass computes again. `loads` are told by the pass: those of every block's experts."""

    dropout: Dropout | None = None
    checkpointing: bool = False
    loads: list[Load] = field(default_factory=list)

    def drop(self, x_KBTD: Tensor, site: int) -> Tensor:
        return x_KBTD if self.dropout is None else self.dropout(x_KBTD, site)


@dataclass(frozen=True, slots=True)
class _Model:
    """What all blocks are given alike."""

    stack: Stack
    shape: Shape
    parameters: Mapping[str, Tensor]
    sites: Sites
    trace: Trace
    regime: Regime


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
    model = _Model(stack, shape, merged(parameters, shape.fixed_multipliers), sites, trace, regime)
    x_KBTD = _embedded(inputs, model)
    for index in range(shape.depth):
        if model.regime.checkpointing:
            # Nothing is drawn from a generator inside, so there is none to put back.
            x_KBTD, load = cast(
                Passed,
                checkpoint(_block, x_KBTD, index, model, use_reentrant=False, preserve_rng_state=False),
            )
        else:
            x_KBTD, load = _block(x_KBTD, index, model)
        if load is not None:
            regime.loads.append(load)
    x_KBTD = norm(x_KBTD, model.parameters, "final_norm", shape.norm_eps)
    # The readout's multiplier goes onto the narrow side of the matrix product.
    x_KBTD = scaled(x_KBTD, sites[Site.READOUT])
    out = Outputs(x_KBTD, model.parameters["embedding.weight" if shape.tied else "readout.weight"])
    if trace is not untraced:
        trace("readout", x_KBTD, out.logits())
    return out


def _embedded(inputs: Tensor, model: _Model) -> Tensor:
    table_KID = model.parameters["embedding.weight"]
    x_KBTD = linear(inputs, table_KID.transpose(1, 2)) if model.shape.vectors else embed(inputs, table_KID)
    if "positions.weight" in model.parameters:
        x_KBTD = x_KBTD + model.parameters["positions.weight"][:, None, : inputs.shape[2]]
    x_KBTD = scaled(x_KBTD, model.sites[Site.EMBEDDING])
    model.trace("embedding", inputs, x_KBTD)
    return model.regime.drop(x_KBTD, 0)


def _block(given_KBTD: Tensor, index: int, model: _Model) -> Passed:
    name, branch, eps = f"blocks.{index}", model.sites[Site.BRANCH], model.shape.norm_eps
    normed_KBTD = norm(given_KBTD, model.parameters, f"{name}.mixer_norm", eps)
    first, *others = (
        _mixed(normed_KBTD, MIXERS[mixer], f"{name}.{model.stack.module_name(mixer)}", model)
        for mixer in model.stack.mixers_of(model.shape, index)
    )
    mixed_KBTD = norm(sum(others, first), model.parameters, f"{name}.mixer_post_norm", eps)
    x_KBTD = given_KBTD + model.regime.drop(scaled(mixed_KBTD, branch), 2 * index + 1)
    load = None
    if model.shape.mlp != "none":
        seen_KBTD = given_KBTD if model.shape.parallel_residual else x_KBTD
        normed_KBTD = norm(seen_KBTD, model.parameters, f"{name}.mlp_norm", eps)
        given = normed_KBTD, model.parameters, f"{name}.mlp", model.shape, model.trace
        grown_KBTD, load = experts(*given) if model.shape.experts > 1 else (mlp(*given), None)
        grown_KBTD = norm(grown_KBTD, model.parameters, f"{name}.mlp_post_norm", eps)
        x_KBTD = x_KBTD + model.regime.drop(scaled(grown_KBTD, branch), 2 * index + 2)
    model.trace(name, given_KBTD, x_KBTD)
    return x_KBTD, load


def _mixed(x_KBTD: Tensor, mixer: Mixer, name: str, model: _Model) -> Tensor:
    site = model.sites[mixer.site(model.shape)]
    return mixer.forward()(x_KBTD, model.parameters, name, model.shape, site, model.trace)
