"""The MLP of a block: GELU or its approximation, or SwiGLU (arXiv:2002.05202) where it has a gate.

K trials, B batch, T time, D width.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from ..recipe.shape import Shape
from .linear import projection
from .trace import Trace


def mlp(x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str, shape: Shape, trace: Trace) -> Tensor:
    hidden = projection(x_KBTD, parameters, f"{name}.up", trace)
    if shape.mlp == "swiglu":
        hidden = F.silu(projection(x_KBTD, parameters, f"{name}.gate", trace)) * hidden
    else:
        hidden = F.gelu(hidden, approximate="tanh" if shape.gelu == "tanh" else "none")
    return projection(hidden, parameters, f"{name}.down", trace)
