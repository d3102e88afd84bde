"""Gated DeltaNet's mixer (arXiv:2412.06464) with a leading trial axis.

K trials, B batch, T time, H heads, E head size, D width, C channels, N = K * B.
"""

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from ...layers.forward_multiplier import Factor, scaled
from ...layers.linear import projection
from ...layers.precision import autocast, wide
from ...layers.trace import Trace
from ...recipe.shape import Shape
from ..gates import chunk_size, log_decay, mixed
from .delta_rule import chunked_delta_rule

LENGTH_EPS = 1e-6
"""Beside the squared length of queries and keys, as in fla and transformers."""


def gated_deltanet(
    x_KBTD: Tensor,
    parameters: Mapping[str, Tensor],
    name: str,
    shape: Shape,
    state: Factor,
    trace: Trace,
) -> Tensor:
    """[K, B, T, D]. `state` multiplies o = S q before its norm.

    q, k, v pass a short causal convolution and SiLU; q and k are L2-normalised per head, and q is divided by
    the root of its size, as in fla and transformers: where o is small, its norm's epsilon counts;
    beta = sigmoid(W_b x), doubled with negative eigenvalues; g = -exp(A_log) softplus(W_a x + dt_bias);
    o passes a per-head RMSNorm and the SiLU gate of W_g x. The delta rule runs in float32 at least,
    whatever the autocast.
    """
    k, b, _, _ = x_KBTD.shape
    keys, values = shape.state_key_head_count, shape.state_head_count
    heads_of = {"query": keys, "key": keys, "value": values}

    def heads(which: str) -> Tensor:
        """[N, T, H, E]."""
        y_KBTC = mixed(x_KBTD, parameters, f"{name}.{which}", trace)
        y_NTHE = wide(y_KBTC.unflatten(3, (heads_of[which], -1)).flatten(0, 1))
        if which == "value":
            return y_NTHE
        scale_NTH1 = (y_NTHE.square().sum(-1, keepdim=True) + LENGTH_EPS).rsqrt()
        if which == "query":
            scale_NTH1 = scale_NTH1 / math.sqrt(y_NTHE.shape[-1])
        y_NTHE = y_NTHE * scale_NTH1
        return y_NTHE.repeat_interleave(shape.values_per_key, dim=2) if shape.values_per_key > 1 else y_NTHE

    q_NTHE, k_NTHE, v_NTHE = heads("query"), heads("key"), heads("value")
    g_KBTH, _ = log_decay(x_KBTD, parameters, name, "a", trace)
    beta_KBTH = wide(projection(x_KBTD, parameters, f"{name}.b", trace)).sigmoid()
    if shape.negative_eigenvalues:
        beta_KBTH = 2 * beta_KBTH
    g_NTH, beta_NTH = g_KBTH.flatten(0, 1), beta_KBTH.flatten(0, 1)
    with autocast(x_KBTD.device, None):
        o_NTHE = chunked_delta_rule(q_NTHE, k_NTHE, v_NTHE, g_NTH, beta_NTH, chunk_size(x_KBTD.device))
    o_KBTHE = scaled(o_NTHE.unflatten(0, (k, b)), state)
    trace(f"{name}.state", v_NTHE, o_KBTHE)
    o_KBTHE = F.rms_norm(o_KBTHE, o_KBTHE.shape[-1:], eps=shape.norm_eps)
    o_KBTC = (o_KBTHE * parameters[f"{name}.norm.gain"][:, None, None, None]).flatten(3)
    if shape.output_gate:
        o_KBTC = o_KBTC * F.silu(projection(x_KBTD, parameters, f"{name}.gate", trace))
    return projection(o_KBTC, parameters, f"{name}.output", trace)
