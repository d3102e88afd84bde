"""Causal softmax attention.

K trials, B batch, T time, H heads, E head size, D width, N = K * B.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from ..layers.linear import linear
from ..layers.multiplier import Multiplier, scaled
from ..layers.positions import rotate
from ..shape import Shape


def attention(
    x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str, shape: Shape, scale: Multiplier
) -> Tensor:
    """Multi-head attention, [K, B, T, D]. `scale` is the whole factor on the logits.

    The trial axis joins the batch of the attention kernel. That kernel takes one scale, so where the
    trials differ theirs goes into the query.
    """
    k, b, t, _ = x_KBTD.shape

    def heads_NHTE(projection: str) -> Tensor:
        y_KBTD = linear(x_KBTD, parameters[f"{name}.{projection}.weight"])
        if projection == "query" and isinstance(scale, Tensor):
            y_KBTD = scaled(y_KBTD, scale)
        return y_KBTD.view(k * b, t, shape.head_count, shape.head_size).transpose(1, 2)

    q_NHTE, k_NHTE, v_NHTE = (heads_NHTE(projection) for projection in ("query", "key", "value"))
    if shape.positions == "rotary":
        q_NHTE, k_NHTE = rotate(q_NHTE), rotate(k_NHTE)
    o_NHTE = F.scaled_dot_product_attention(
        q_NHTE, k_NHTE, v_NHTE, is_causal=True, scale=1.0 if isinstance(scale, Tensor) else scale
    )
    o_KBTD = o_NHTE.transpose(1, 2).reshape(k, b, t, shape.width)
    return linear(o_KBTD, parameters[f"{name}.output.weight"])
