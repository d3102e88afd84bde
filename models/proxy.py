"""A proxy: embedding, residual blocks, readout, as a function of stacked parameters.

K trials, B batch, T time, D width, V vocabulary.
"""

from collections.abc import Mapping

from torch import Tensor

from .inventory import attention_site, state_site
from .layers.embedding import embed
from .layers.linear import linear
from .layers.mlp import mlp
from .layers.multiplier import Multiplier, scaled
from .layers.norm import norm
from .layers.trace import Trace, untraced
from .mixers.attention import attention
from .mixers.gated_deltanet import gated_deltanet
from .parametrization.role import Site
from .shape import Shape

Sites = Mapping[Site, Multiplier]


def logits(
    shape: Shape,
    parameters: Mapping[str, Tensor],
    sites: Sites,
    tokens_KBT: Tensor,
    trace: Trace = untraced,
) -> Tensor:
    """Next-token logits [K, B, T, V]. `parameters` are [K, ...] by name, `sites` the multipliers.

    `trace` is told what every module and every block of the stream is given and makes.
    """
    x_KBTD = embed(tokens_KBT, parameters["embedding.weight"])
    if "positions.weight" in parameters:
        x_KBTD = x_KBTD + parameters["positions.weight"][:, None, : tokens_KBT.shape[2]]
    x_KBTD = scaled(x_KBTD, sites[Site.EMBEDDING])
    trace("embedding", tokens_KBT, x_KBTD)
    for index in range(shape.depth):
        x_KBTD = _block(x_KBTD, parameters, f"blocks.{index}", shape, sites, trace)
    x_KBTD = norm(x_KBTD, parameters, "final_norm")
    # The readout's multiplier goes onto the narrow side of the matrix product.
    x_KBTD = scaled(x_KBTD, sites[Site.READOUT])
    logits_KBTV = linear(x_KBTD, parameters["embedding.weight" if shape.tied else "readout.weight"])
    trace("readout", x_KBTD, logits_KBTV)
    return logits_KBTV


def _block(
    x_KBTD: Tensor,
    parameters: Mapping[str, Tensor],
    name: str,
    shape: Shape,
    sites: Sites,
    trace: Trace,
) -> Tensor:
    branch, given_KBTD = sites[Site.BRANCH], x_KBTD
    normed_KBTD = norm(x_KBTD, parameters, f"{name}.mixer_norm")
    match shape.architecture:
        case "transformer":
            scale = sites[attention_site(shape)]
            mixed_KBTD = attention(normed_KBTD, parameters, f"{name}.mixer", shape, scale, trace)
        case "gdn":
            scale = sites[state_site(shape)]
            mixed_KBTD = gated_deltanet(normed_KBTD, parameters, f"{name}.mixer", shape, scale, trace)
    x_KBTD = x_KBTD + scaled(mixed_KBTD, branch)
    normed_KBTD = norm(x_KBTD, parameters, f"{name}.mlp_norm")
    x_KBTD = x_KBTD + scaled(mlp(normed_KBTD, parameters, f"{name}.mlp", trace), branch)
    trace(name, given_KBTD, x_KBTD)
    return x_KBTD
