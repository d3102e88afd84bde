"""The MLP of a block: GELU or its approximation, or, where it has a gate, SwiGLU or GeGLU (arXiv:2002.05202).

K trials, B batch, T time, D width.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from ..recipe.shape import Shape
from .linear import projection
from .trace import Trace


def mlp(x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str, shape: Shape, trace: Trace) -> Tensor:
    up = projection(x_KBTD, parameters, f"{name}.up", trace)
    gate = projection(x_KBTD, parameters, f"{name}.gate", trace) if shape.gated else None
    return projection(activated(up, gate, shape), parameters, f"{name}.down", trace)


def activated(up: Tensor, gate: Tensor | None, shape: Shape) -> Tensor:
    """The units, of any shape."""
    if gate is None:
        return _gelu(up, shape)
    return (F.silu(gate) if shape.mlp == "swiglu" else _gelu(gate, shape)) * up


def _gelu(x: Tensor, shape: Shape) -> Tensor:
    return F.gelu(x, approximate="tanh" if shape.gelu == "tanh" else "none")
