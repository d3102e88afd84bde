"""What the recurrent mixers share: short convolutions, decays that depend on the input, and precision.

K trials, B batch, T time, D width, C channels, H heads.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.convolution import causal_convolution
from ..layers.linear import projection
from ..layers.precision import wide
from ..layers.trace import Trace
from .parts import CHUNK


def mixed(x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str, trace: Trace) -> Tensor:
    """Projection, short convolution and SiLU, [K, B, T, C]."""
    y_KBTC = projection(x_KBTD, parameters, name, trace)
    mixed_KBTC = causal_convolution(y_KBTC, parameters[f"{name}_conv.weight"])
    if (bias_KC := parameters.get(f"{name}_conv.bias")) is not None:
        mixed_KBTC = mixed_KBTC + bias_KC[:, None, None].to(mixed_KBTC.dtype)
    return F.silu(mixed_KBTC)


def log_decay(
    x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str, which: str, trace: Trace
) -> tuple[Tensor, Tensor]:
    """g = -exp(A_log) dt <= 0 and dt = softplus(W x + dt_bias), each [K, B, T, H]; W is `which`."""
    a_KBTH = wide(projection(x_KBTD, parameters, f"{name}.{which}", trace))
    dt_KBTH = F.softplus(a_KBTH + parameters[f"{name}.dt_bias"][:, None, None])
    return -parameters[f"{name}.a_log"].exp()[:, None, None] * dt_KBTH, dt_KBTH


def chunk_size(device: torch.device) -> int:
    """Measured on CPU at head size 16: 16 is fastest; on a GPU fewer, larger steps launch less."""
    return CHUNK if device.type == "cpu" else 64
