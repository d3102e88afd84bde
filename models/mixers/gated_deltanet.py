"""Gated DeltaNet's mixer (arXiv:2412.06464) with a leading trial axis.

K trials, B batch, T time, H heads, E head size, D width, C channels, N = K * B * H.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.convolution import causal_convolution
from ..layers.linear import projection
from ..layers.multiplier import Multiplier, scaled
from ..layers.norm import NORM_EPS
from ..layers.trace import Trace
from ..shape import Shape
from .delta_rule import chunked_delta_rule


def gated_deltanet(
    x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str, shape: Shape, state: Multiplier, trace: Trace
) -> Tensor:
    """[K, B, T, D]. `state` multiplies o = S q before its norm.

    q, k, v pass a short causal convolution and SiLU; q and k are L2-normalised per head;
    beta = sigmoid(W_b x); g = -exp(A_log) softplus(W_a x + dt_bias); o passes a per-head RMSNorm and
    the SiLU gate of W_g x. The delta rule runs in float32 at least, whatever the autocast.
    """
    k, b, t, _ = x_KBTD.shape
    h = shape.head_count
    q_NTE = F.normalize(_mixed_heads(x_KBTD, parameters, f"{name}.query", h, trace), dim=-1)
    k_NTE = F.normalize(_mixed_heads(x_KBTD, parameters, f"{name}.key", h, trace), dim=-1)
    v_NTE = _mixed_heads(x_KBTD, parameters, f"{name}.value", h, trace)
    g_NT, beta_NT = _gates(x_KBTD, parameters, name, trace)

    with torch.autocast(x_KBTD.device.type, enabled=False):
        o_NTE = chunked_delta_rule(q_NTE, k_NTE, v_NTE, g_NT, beta_NT, _chunk(x_KBTD.device))
    o_KBTHE = scaled(o_NTE.view(k, b, h, t, -1).transpose(2, 3), state)
    o_KBTHE = F.rms_norm(o_KBTHE, o_KBTHE.shape[-1:], eps=NORM_EPS)
    o_KBTHE = o_KBTHE * parameters[f"{name}.norm.gain"][:, None, None, None]
    gate_KBTC = F.silu(projection(x_KBTD, parameters, f"{name}.gate", trace))
    return projection(o_KBTHE.flatten(3) * gate_KBTC, parameters, f"{name}.output", trace)


def _mixed_heads(
    x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str, heads: int, trace: Trace
) -> Tensor:
    """Projection, short convolution and SiLU, then one row per trial, sequence and head: [N, T, E]."""
    y_KBTC = projection(x_KBTD, parameters, name, trace)
    y_KBTC = F.silu(causal_convolution(y_KBTC, parameters[f"{name}_conv.weight"]))
    y_KBHTE = y_KBTC.unflatten(3, (heads, -1)).transpose(2, 3)
    return _wide(y_KBHTE).flatten(0, 2)


def _gates(
    x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str, trace: Trace
) -> tuple[Tensor, Tensor]:
    """Log-decay g <= 0 and write strength beta in (0, 1), each [N, T]."""
    a_KBTH = _wide(projection(x_KBTD, parameters, f"{name}.a", trace))
    b_KBTH = _wide(projection(x_KBTD, parameters, f"{name}.b", trace))
    rate_KH = parameters[f"{name}.a_log"].exp()
    g_KBTH = -rate_KH[:, None, None] * F.softplus(a_KBTH + parameters[f"{name}.dt_bias"][:, None, None])
    return g_KBTH.transpose(2, 3).flatten(0, 2), b_KBTH.sigmoid().transpose(2, 3).flatten(0, 2)


def _wide(x: Tensor) -> Tensor:
    """At least float32: under autocast the recurrence would lose its small decays."""
    return x if x.dtype == torch.float64 else x.float()


def _chunk(device: torch.device) -> int:
    """Measured on CPU at head size 16: 16 is fastest; on a GPU fewer, larger steps launch less."""
    return 64 if device.type == "cuda" else 16
