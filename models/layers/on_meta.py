"""What a GPU's kernels do, on the meta device, which would take operations apart and knows no autocast.

Programs run there to be counted (`training/counted.py`).

N any batch, H heads, T time, E head size.
"""

import torch
from torch import Tensor

from .precision import asked_on_meta


def cast(x: Tensor) -> Tensor:
    """As autocast does what goes into a product."""
    dtype = asked_on_meta()
    return x if dtype is None or not x.is_meta else x.to(dtype)


def attention(q_NHTE: Tensor, k_NHTE: Tensor, v_NHTE: Tensor, causal: bool, scale: float) -> Tensor:
    """With flash attention's memory, which other fused kernels share."""
    given = (cast(x) for x in (q_NHTE, k_NHTE, v_NHTE))
    made: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(*given, 0.0, causal, scale=scale)[0]
    return made
