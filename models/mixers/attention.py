"""Causal softmax attention.

K trials, B batch, T time, H heads, E head size, D width, N = K * B.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from ..layers.linear import linear, per_trial
from ..layers.positions import rotate
from ..shape import Shape


def attention(
    x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str, shape: Shape, scale_K: Tensor
) -> Tensor:
    """Multi-head attention, [K, B, T, D]. `scale_K` is the whole factor on the logits.

    The trial axis joins the batch of the attention kernel; the per-trial scale goes into the query.
    """
    k, b, t, _ = x_KBTD.shape

    def heads_NHTE(projection: str, scale: Tensor | None = None) -> Tensor:
        y_KBTD = linear(x_KBTD, parameters[f"{name}.{projection}.weight"])
        if scale is not None:
            y_KBTD = y_KBTD * per_trial(scale, y_KBTD).to(y_KBTD.dtype)
        return y_KBTD.view(k * b, t, shape.head_count, shape.head_size).transpose(1, 2)

    q_NHTE, k_NHTE, v_NHTE = heads_NHTE("query", scale_K), heads_NHTE("key"), heads_NHTE("value")
    if shape.positions == "rotary":
        q_NHTE, k_NHTE = rotate(q_NHTE), rotate(k_NHTE)
    o_NHTE = F.scaled_dot_product_attention(q_NHTE, k_NHTE, v_NHTE, is_causal=True, scale=1.0)
    o_KBTD = o_NHTE.transpose(1, 2).reshape(k, b, t, shape.width)
    return linear(o_KBTD, parameters[f"{name}.output.weight"])
