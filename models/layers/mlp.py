"""The MLP of a block: GELU, or SwiGLU (arXiv:2002.05202) where it has a gate.

K trials, B batch, T time, D width.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from .linear import projection
from .trace import Trace


def mlp(x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str, trace: Trace) -> Tensor:
    hidden = projection(x_KBTD, parameters, f"{name}.up", trace)
    if f"{name}.gate.weight" in parameters:
        hidden = F.silu(projection(x_KBTD, parameters, f"{name}.gate", trace)) * hidden
    else:
        hidden = F.gelu(hidden)
    return projection(hidden, parameters, f"{name}.down", trace)
