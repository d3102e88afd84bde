"""Mamba2's state space duality (arXiv:2405.21060): its recurrence, and in chunks; the two agree to rounding.

    S_t = exp(g_t) S_{t-1} + b_t v_t^T,    o_t = c_t^T S_t

Z any batch (trials and sequences together), T time, G groups, J heads of a group, N state rows, P value
size, M chunks, C positions in a chunk.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def recurrent_state_space(c_ZGTN: Tensor, b_ZGTN: Tensor, v_ZGJTP: Tensor, g_ZGJT: Tensor) -> Tensor:
    """o [Z, G, J, T, P], one step after the other: the reference, far too slow to train with."""
    z, groups, time, rows = b_ZGTN.shape
    heads, size = v_ZGJTP.shape[2], v_ZGJTP.shape[4]
    state_ZGJNP = b_ZGTN.new_zeros(z, groups, heads, rows, size)
    outputs = []
    for t in range(time):
        written_ZGJNP = torch.einsum("zgn,zgjp->zgjnp", b_ZGTN[:, :, t], v_ZGJTP[:, :, :, t])
        state_ZGJNP = g_ZGJT[..., t].exp()[..., None, None] * state_ZGJNP + written_ZGJNP
        outputs.append(torch.einsum("zgn,zgjnp->zgjp", c_ZGTN[:, :, t], state_ZGJNP))
    return torch.stack(outputs, dim=3)


def chunked_state_space(
    c_ZGTN: Tensor, b_ZGTN: Tensor, v_ZGJTP: Tensor, g_ZGJT: Tensor, chunk: int
) -> Tensor:
    """o [Z, G, J, T, P]: attention-like inside chunks of `chunk` positions, a recurrence between them.

    With s the running sum of g inside a chunk that starts from state S,
        o_i = exp(s_i) c_i^T S + sum_{j<=i} exp(s_i - s_j) (c_i . b_j) v_j.
    The scores c . b are those of a group; only the decays are each head's own.
    """
    time = b_ZGTN.shape[2]
    pad = -time % chunk  # padding with b = v = g = 0 leaves the state as it is
    c_ZGMCN, b_ZGMCN = (F.pad(x, (0, 0, 0, pad)).unflatten(2, (-1, chunk)) for x in (c_ZGTN, b_ZGTN))
    v_ZGJMCP = F.pad(v_ZGJTP, (0, 0, 0, pad)).unflatten(3, (-1, chunk))
    sum_ZGJMC = F.pad(g_ZGJT, (0, pad)).unflatten(3, (-1, chunk)).cumsum(-1)

    above_CC = torch.full((chunk, chunk), -torch.inf, dtype=sum_ZGJMC.dtype, device=v_ZGJTP.device).triu(1)
    # Masked before exp: above the diagonal the exponent is positive and may overflow.
    decay_ZGJMCC = (sum_ZGJMC[..., :, None] - sum_ZGJMC[..., None, :] + above_CC).exp()
    scores_ZGMCC = c_ZGMCN @ b_ZGMCN.transpose(-1, -2)
    out_ZGJMCP = (decay_ZGJMCC * scores_ZGMCC[:, :, None]) @ v_ZGJMCP

    left_ZGJMC = (sum_ZGJMC[..., -1:] - sum_ZGJMC).exp()
    written_ZGJMNP = b_ZGMCN.transpose(-1, -2)[:, :, None] @ (left_ZGJMC[..., None] * v_ZGJMCP)
    states_ZGJMNP = _carried(written_ZGJMNP, sum_ZGJMC[..., -1].exp())
    read_ZGJMCP = c_ZGMCN[:, :, None] @ states_ZGJMNP
    out_ZGJMCP = out_ZGJMCP + sum_ZGJMC.exp()[..., None] * read_ZGJMCP
    whole_ZGJTP: Tensor = out_ZGJMCP.flatten(3, 4)[:, :, :, :time]
    return whole_ZGJTP


def _carried(written_ZGJMNP: Tensor, kept_ZGJM: Tensor) -> Tensor:
    """The state that each chunk starts from."""
    state_ZGJNP = torch.zeros_like(written_ZGJMNP[:, :, :, 0])
    states = []
    for written_ZGJNP, kept_ZGJ in zip(written_ZGJMNP.unbind(3), kept_ZGJM.unbind(3), strict=True):
        states.append(state_ZGJNP)
        state_ZGJNP = kept_ZGJ[..., None, None] * state_ZGJNP + written_ZGJNP
    return torch.stack(states, dim=3)
