"""Linear maps, one weight per trial.

K trials, B batch, T time, I fan_in, O fan_out.
"""

from collections.abc import Mapping

from torch import Tensor

from .on_meta import cast
from .trace import Trace


def linear(x_KBTI: Tensor, w_KOI: Tensor) -> Tensor:
    """x W^T for every trial, [K, B, T, O]: one batched matrix product."""
    k, b, t, i = x_KBTI.shape
    return (cast(x_KBTI.reshape(k, b * t, i)) @ cast(w_KOI.transpose(1, 2))).view(k, b, t, -1)


def projection(x_KBTI: Tensor, parameters: Mapping[str, Tensor], name: str, trace: Trace) -> Tensor:
    """The map of the module `name`, with its bias where it has one, [K, B, T, O]."""
    y_KBTO = linear(x_KBTI, parameters[f"{name}.weight"])
    if (bias_KO := parameters.get(f"{name}.bias")) is not None:
        y_KBTO = y_KBTO + bias_KO[:, None, None].to(y_KBTO.dtype)  # in half precision it is no float32
    trace(name, x_KBTI, y_KBTO)
    return y_KBTO
