"""Softmax attention.

K trials, B batch, T time, H heads, G key/value heads, E head size, D width, C = H * E, N = K * B.
"""

import functools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers import on_meta
from ...layers.forward_multiplier import Factor, scaled
from ...layers.linear import projection
from ...layers.norm import norm
from ...layers.positions import rotate
from ...layers.trace import Trace
from ...recipe.shape import Shape
from .declaration import kv_head_count, turned


def attention(
    x_KBTD: Tensor,
    parameters: Mapping[str, Tensor],
    name: str,
    shape: Shape,
    scale: Factor,
    trace: Trace,
) -> Tensor:
    """Multi-head attention, [K, B, T, D]. `scale` is the whole factor on the logits.

    With grouped queries (arXiv:2305.13245) each key/value head serves H / G query heads. Queries and keys
    may be normalised per head (arXiv:2302.05442), before they are rotated.
    The trial axis joins the batch of the attention kernel. That kernel takes one scale, so where the
    trials differ theirs goes into the query.
    """
    k, b, t, _ = x_KBTD.shape

    def heads(which: str) -> Tensor:
        y_KBTC = projection(x_KBTD, parameters, f"{name}.{which}", trace)
        if shape.qk_norm and which != "value":
            y_KBTHE = y_KBTC.unflatten(3, (-1, shape.head_size))
            y_KBTC = norm(y_KBTHE, parameters, f"{name}.{which}_norm", shape.norm_eps).flatten(3)
        if which == "query" and isinstance(scale, Tensor):
            y_KBTC = scaled(y_KBTC, scale)
        return y_KBTC.view(k * b, t, -1, shape.head_size).transpose(1, 2)

    q_NHTE, k_NGTE, v_NGTE = heads("query"), heads("key"), heads("value")
    if shape.positions == "rotary":
        q_NHTE, k_NGTE = (rotate(x, shape.rotary_base, turned(shape)) for x in (q_NHTE, k_NGTE))
    k_NHTE, v_NHTE = _shared(k_NGTE, shape), _shared(v_NGTE, shape)
    seen_TT = None if shape.window is None else _seen(t, shape.window, shape.causal, x_KBTD.device)
    o_NHTE = _attended(
        q_NHTE, k_NHTE, v_NHTE, seen_TT, shape.causal, 1.0 if isinstance(scale, Tensor) else scale
    )
    o_KBTC = o_NHTE.transpose(1, 2).reshape(k, b, t, -1)
    if shape.attention_gate:
        o_KBTC = o_KBTC * projection(x_KBTD, parameters, f"{name}.gate", trace).sigmoid()
    return projection(o_KBTC, parameters, f"{name}.output", trace)


def _attended(
    q_NHTE: Tensor, k_NHTE: Tensor, v_NHTE: Tensor, seen_TT: Tensor | None, causal: bool, scale: float
) -> Tensor:
    if q_NHTE.is_meta:
        return on_meta.attention(q_NHTE, k_NHTE, v_NHTE, causal, scale)
    return F.scaled_dot_product_attention(
        q_NHTE, k_NHTE, v_NHTE, attn_mask=seen_TT, is_causal=causal and seen_TT is None, scale=scale
    )


@functools.lru_cache(maxsize=64)
def _seen(time: int, window: int, causal: bool, device: torch.device) -> Tensor:
    """Which positions each one attends to: the last `window`, its own included, or as many on either side."""
    position_T = torch.arange(time, device=device)
    back_TT = position_T[:, None] - position_T[None, :]
    ahead = 0 if causal else window - 1
    return (back_TT < window) & (back_TT >= -ahead)


def _shared(x_NGTE: Tensor, shape: Shape) -> Tensor:
    """Each key/value head once for every query head that reads it, [N, H, T, E]."""
    queries = shape.head_count // kv_head_count(shape)
    return x_NGTE if queries == 1 else x_NGTE.repeat_interleave(queries, dim=1)
