"""Mamba2's mixer (arXiv:2405.21060) with a leading trial axis.

K trials, B batch, T time, D width, C channels, H heads, G groups, J heads of a group, N state rows,
P value size, Z = K * B.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from ...layers.forward_multiplier import Factor, scaled
from ...layers.linear import projection
from ...layers.precision import autocast, wide
from ...layers.trace import Trace
from ...recipe.shape import Shape
from ..gates import chunk_size, log_decay, mixed
from .state_space import chunked_state_space


def mamba2(
    x_KBTD: Tensor,
    parameters: Mapping[str, Tensor],
    name: str,
    shape: Shape,
    scores: Factor,
    trace: Trace,
) -> Tensor:
    """[K, B, T, D]. `scores` multiplies C . B.

    x, B, C pass a short causal convolution and SiLU; dt = softplus(W_dt u + dt_bias) and
    g = -exp(A_log) dt; the state is written with dt B x^T and read with C; skip adds x itself; the output
    times SiLU(z) passes an RMSNorm over the channels of each group (or passes it first, or there is none).
    The state runs in float32 at least.
    """
    k, b, t, _ = x_KBTD.shape
    groups, heads = shape.state_groups, shape.state_head_count

    def state_side(which: str) -> Tensor:
        y_KBTC = mixed(x_KBTD, parameters, f"{name}.{which}", trace)
        y_KBGTN: Tensor = wide(y_KBTC).view(k, b, t, groups, -1).transpose(2, 3)
        return y_KBGTN

    v_KBTHP = mixed(x_KBTD, parameters, f"{name}.x", trace).unflatten(3, (heads, -1))
    c_KBGTN = scaled(state_side("c"), scores)
    g_KBTH, dt_KBTH = log_decay(x_KBTD, parameters, name, "dt", trace)
    with autocast(x_KBTD.device, None):
        v_KBTHP = wide(v_KBTHP)
        o_ZGJTP = chunked_state_space(
            c_KBGTN.flatten(0, 1),
            state_side("b").flatten(0, 1),
            (v_KBTHP * dt_KBTH[..., None]).transpose(2, 3).reshape(k * b, groups, heads // groups, t, -1),
            g_KBTH.transpose(2, 3).reshape(k * b, groups, heads // groups, t),
            chunk_size(x_KBTD.device),
        )
    o_KBTHP = o_ZGJTP.reshape(k, b, heads, t, -1).transpose(2, 3)
    trace(f"{name}.state", v_KBTHP, o_KBTHP)
    o_KBTHP = o_KBTHP + parameters[f"{name}.skip"][:, None, None, :, None] * v_KBTHP
    o_KBTC, gate_KBTC = o_KBTHP.flatten(3), F.silu(projection(x_KBTD, parameters, f"{name}.z", trace))
    if not shape.norm_before_gate:
        o_KBTC = o_KBTC * gate_KBTC
    if (gain_KC := parameters.get(f"{name}.norm.gain")) is not None:
        o_KBTGC = o_KBTC.unflatten(3, (groups, -1))
        o_KBTGC = F.rms_norm(o_KBTGC, o_KBTGC.shape[-1:], eps=shape.norm_eps)
        o_KBTC = o_KBTGC.flatten(3) * gain_KC[:, None, None]
    if shape.norm_before_gate:
        o_KBTC = o_KBTC * gate_KBTC
    return projection(o_KBTC, parameters, f"{name}.output", trace)
