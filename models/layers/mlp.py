"""The MLP of a block: GELU, or SwiGLU (arXiv:2002.05202) where it has a gate.

K trials, B batch, T time, D width.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from .linear import linear


def mlp(x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str) -> Tensor:
    up = linear(x_KBTD, parameters[f"{name}.up.weight"])
    gate_weight = parameters.get(f"{name}.gate.weight")
    hidden = F.gelu(up) if gate_weight is None else F.silu(linear(x_KBTD, gate_weight)) * up
    return linear(hidden, parameters[f"{name}.down.weight"])
