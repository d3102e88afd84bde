"""The gated delta rule (arXiv:2412.06464), as its recurrence and in chunks; the two agree to rounding.

    S_t = exp(g_t) S_{t-1} (I - beta_t k_t k_t^T) + beta_t v_t k_t^T,    o_t = S_t q_t

N any batch (trials and sequences together), T time, H heads, D key size, E value size,
M chunks, C positions in a chunk, R = N * H rows, Z = M * R: the first chunk of every row, then the
second; Y = Z + R.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def recurrent_delta_rule(
    q_NTHD: Tensor, k_NTHD: Tensor, v_NTHE: Tensor, g_NTH: Tensor, beta_NTH: Tensor
) -> Tensor:
    """o [N, T, H, E], one step after the other: the reference, far too slow to train with."""
    n, time, heads, key_size = k_NTHD.shape
    state_NHED = q_NTHD.new_zeros(n, heads, v_NTHE.shape[-1], key_size)
    outputs = []
    for t in range(time):
        k_NHD, beta_NH1 = k_NTHD[:, t], beta_NTH[:, t, :, None]
        state_NHED = state_NHED * g_NTH[:, t].exp()[..., None, None]
        recalled_NHE = torch.einsum("nhed,nhd->nhe", state_NHED, k_NHD)
        write_NHE = beta_NH1 * (v_NTHE[:, t] - recalled_NHE)
        state_NHED = state_NHED + torch.einsum("nhe,nhd->nhed", write_NHE, k_NHD)
        outputs.append(torch.einsum("nhed,nhd->nhe", state_NHED, q_NTHD[:, t]))
    return torch.stack(outputs, dim=1)


def chunked_delta_rule(
    q_NTHD: Tensor, k_NTHD: Tensor, v_NTHE: Tensor, g_NTH: Tensor, beta_NTH: Tensor, chunk: int
) -> Tensor:
    """o [N, T, H, E]: parallel inside chunks of `chunk` positions, sequential only from chunk to chunk.

    Inside a chunk that starts from state S, with G the running sum of g, the values actually written
    are u_i = beta_i (v_i - exp(g_i) S_{i-1} k_i) and S_i = exp(G_i) S + sum_{j<=i} exp(G_i - G_j) u_j k_j^T,
    so they solve the unit lower-triangular system (the WY form)
        (I + beta A) U = beta (V - exp(G) K S^T),    A_ij = exp(G_i - G_j) k_i . k_j  for j < i.
    Its inverse is taken for all chunks at once; only S is carried along.
    """
    n, time, heads, _ = k_NTHD.shape
    pad = -time % chunk  # padding with k = v = beta = g = 0 leaves the state as it is

    def by_chunk(x_NTH: Tensor) -> Tensor:
        """[Z, C, ...] of [N, T, H, ...]."""
        if pad:
            x_NTH = F.pad(x_NTH, (*(0, 0) * (x_NTH.dim() - 2), 0, pad))
        x_MNHC: Tensor = x_NTH.unflatten(1, (-1, chunk)).movedim((1, 3), (0, 2))
        return x_MNHC.flatten(0, 2)

    given = (by_chunk(x) for x in (q_NTHD, k_NTHD, v_NTHE))
    sum_ZC = by_chunk(g_NTH).cumsum(-1)
    out_ZCE: Tensor = _Chunked.apply(*given, sum_ZC, by_chunk(beta_NTH), n * heads)  # type: ignore[no-untyped-call]
    out_NMCHE: Tensor = out_ZCE.unflatten(0, (-1, n, heads)).movedim((0, 2), (1, 3))
    return out_NMCHE.flatten(1, 2)[:, :time]


class _Chunked(torch.autograd.Function):
    """o [Z, C, E] of chunks, with the gradient written out. With S the state [D, E] that a chunk starts from,

        A = k k^T * decay below the diagonal,   P = q k^T * decay up to it,   decay_ij = exp(G_i - G_j),
        T = (I + beta A)^-1,   X = T beta exp(G) k,   U = T beta v - X S,   O = exp(G) q S + P U,
        S' = c S + K^T U = (c - K^T X) S + K^T T beta v,   K = exp(G_C - G) k,   c = exp(G_C).

    Only S follows from the chunk before, by one product a chunk. Left to autograd, every tensor would be
    passed over some five times as often.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's own
        q_ZCD: Tensor,
        k_ZCD: Tensor,
        v_ZCE: Tensor,
        sum_ZC: Tensor,
        beta_ZC: Tensor,
        rows: int,
    ) -> Tensor:
        decay_ZCC, start_ZC1, end_ZC1 = _decays(sum_ZC)
        system_ZCC = (k_ZCD @ k_ZCD.mT).mul_(decay_ZCC)
        system_ZCC.diagonal(dim1=1, dim2=2).zero_()
        within_ZCC = (q_ZCD @ k_ZCD.mT).mul_(decay_ZCC)
        # `unitriangular` takes the diagonal as one: I + beta A without adding I.
        inverse_ZCC = torch.linalg.solve_triangular(
            beta_ZC[..., None] * system_ZCC,
            torch.eye(sum_ZC.shape[1], dtype=sum_ZC.dtype, device=sum_ZC.device),
            upper=False,
            unitriangular=True,
        )
        writing_ZCC = inverse_ZCC * beta_ZC[:, None]
        erased_ZCD = writing_ZCC @ (start_ZC1 * k_ZCD)
        made_ZCE = writing_ZCC @ v_ZCE
        states = _states_whole if torch.compiler.is_compiling() else _states
        state_YDE = states(end_ZC1 * k_ZCD, erased_ZCD, made_ZCE, sum_ZC, rows)
        before_ZDE = state_YDE[:-rows]
        made_ZCE.baddbmm_(erased_ZCD, before_ZDE, alpha=-1)
        out_ZCE: Tensor = (within_ZCC @ made_ZCE).baddbmm_(start_ZC1 * q_ZCD, before_ZDE)
        ctx.rows = rows
        of_chunks = system_ZCC, within_ZCC, inverse_ZCC
        ctx.save_for_backward(q_ZCD, k_ZCD, sum_ZC, beta_ZC, *of_chunks, erased_ZCD, made_ZCE, state_YDE)
        return out_ZCE

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's own
        q_ZCD, k_ZCD, sum_ZC, beta_ZC, *of_chunks, erased_ZCD, made_ZCE, state_YDE = ctx.saved_tensors
        system_ZCC, within_ZCC, inverse_ZCC = of_chunks
        (d_out_ZCE,), rows = upstream, ctx.rows
        decay_ZCC, start_ZC1, end_ZC1 = _decays(sum_ZC)
        key_ZCD, before_ZDE = end_ZC1 * k_ZCD, state_YDE[:-rows]

        d_read_ZCE = start_ZC1 * d_out_ZCE
        d_made_ZCE = within_ZCC.mT @ d_out_ZCE
        d_states = _d_states_whole if torch.compiler.is_compiling() else _d_states
        d_state_YDE = d_states(key_ZCD, erased_ZCD, q_ZCD, d_read_ZCE, d_made_ZCE, sum_ZC, rows)
        d_after_ZDE = d_state_YDE[rows:]
        d_made_ZCE.baddbmm_(key_ZCD, d_after_ZDE)
        d_right_ZCE = inverse_ZCC.mT @ d_made_ZCE
        d_v_ZCE = beta_ZC[..., None] * d_right_ZCE
        # What is written is beta times something, so that is what the gradient of beta has beside it.
        smallest = torch.finfo(beta_ZC.dtype).tiny
        d_beta_ZC = (d_right_ZCE * made_ZCE).sum(-1) / beta_ZC.clamp(min=smallest)

        d_q_ZCD = d_read_ZCE @ before_ZDE.mT
        d_k_ZCD = (-start_ZC1 * d_v_ZCE) @ before_ZDE.mT
        d_key_ZCD = (made_ZCE @ d_after_ZDE.mT).mul_(end_ZC1)
        d_end_ZC = (d_key_ZCD * k_ZCD).sum(-1)
        d_sum_ZC = (d_q_ZCD * q_ZCD).sum(-1) + (d_k_ZCD * k_ZCD).sum(-1) - d_end_ZC
        d_carry_Z = (d_after_ZDE * before_ZDE).sum((1, 2))
        d_sum_ZC[:, -1] += d_end_ZC.sum(1) + sum_ZC[:, -1].exp() * d_carry_Z

        d_within_ZCC = d_out_ZCE @ made_ZCE.mT
        d_system_ZCC = (-d_v_ZCE) @ made_ZCE.mT
        # d decay_ij / d G_i = decay_ij = -d decay_ij / d G_j
        d_exponent_ZCC = (d_system_ZCC * system_ZCC).addcmul_(d_within_ZCC, within_ZCC)
        d_sum_ZC += d_exponent_ZCC.sum(2) - d_exponent_ZCC.sum(1)
        d_scores_ZCC = d_within_ZCC.mul_(decay_ZCC)
        d_products_ZCC = d_system_ZCC.mul_(decay_ZCC)
        d_products_ZCC.diagonal(dim1=1, dim2=2).zero_()
        d_q_ZCD.baddbmm_(d_scores_ZCC, k_ZCD)
        d_k_ZCD.add_(d_key_ZCD).baddbmm_(d_scores_ZCC.mT, q_ZCD)
        d_k_ZCD.baddbmm_(d_products_ZCC + d_products_ZCC.mT, k_ZCD)
        return d_q_ZCD, d_k_ZCD, d_v_ZCE, d_sum_ZC, d_beta_ZC, None


def _decays(sum_ZC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """From each position to later ones, from the chunk's start to each, and from each to its end."""
    chunk = sum_ZC.shape[1]
    above = torch.full((chunk, chunk), -torch.inf, dtype=sum_ZC.dtype, device=sum_ZC.device).triu(1)
    # Masked before exp: above the diagonal the exponent is positive and may overflow.
    decay_ZCC = (sum_ZC[:, :, None] - sum_ZC[:, None, :]).add_(above).exp_()
    return decay_ZCC, sum_ZC.exp()[..., None], (sum_ZC[:, -1:] - sum_ZC).exp()[..., None]


def _states(key_ZCD: Tensor, erased_ZCD: Tensor, made_ZCE: Tensor, sum_ZC: Tensor, rows: int) -> Tensor:
    """The state that each chunk starts from, and those that the last ones leave, [Y, D, E]."""
    state_YDE = key_ZCD.new_empty(len(key_ZCD) + rows, key_ZCD.shape[2], made_ZCE.shape[2])
    state_YDE[:rows] = 0.0
    torch.bmm(key_ZCD.mT, made_ZCE, out=state_YDE[rows:])
    parts = state_YDE.split(rows)
    for m, forgotten_RDD in enumerate(_forgotten(key_ZCD, erased_ZCD, sum_ZC).split(rows)):
        if m:
            parts[m + 1].baddbmm_(forgotten_RDD, parts[m], alpha=-1)
    return state_YDE


def _d_states(
    key_ZCD: Tensor,
    erased_ZCD: Tensor,
    q_ZCD: Tensor,
    d_read_ZCE: Tensor,
    d_made_ZCE: Tensor,
    sum_ZC: Tensor,
    rows: int,
) -> Tensor:
    """Their gradients, the last ones zero; the first ones, which nothing asks for, are not carried to."""
    d_state_YDE = key_ZCD.new_empty(len(key_ZCD) + rows, key_ZCD.shape[2], d_read_ZCE.shape[2])
    d_state_YDE[-rows:] = 0.0
    own_ZDE = d_state_YDE[:-rows]
    torch.bmm(q_ZCD.mT, d_read_ZCE, out=own_ZDE)
    own_ZDE.baddbmm_(erased_ZCD.mT, d_made_ZCE, alpha=-1)
    parts, forgotten = d_state_YDE.split(rows), _forgotten(key_ZCD, erased_ZCD, sum_ZC).split(rows)
    for m in range(len(forgotten) - 2, 0, -1):
        parts[m].baddbmm_(forgotten[m].mT, parts[m + 1], alpha=-1)
    return d_state_YDE


def _forgotten(key_ZCD: Tensor, erased_ZCD: Tensor, sum_ZC: Tensor) -> Tensor:
    """K^T X - c: what a chunk takes away from the state that it starts from."""
    forgotten_ZDD = key_ZCD.new_empty(len(key_ZCD), key_ZCD.shape[2], key_ZCD.shape[2])
    torch.bmm(key_ZCD.mT, erased_ZCD, out=forgotten_ZDD)
    forgotten_ZDD.diagonal(dim1=1, dim2=2).sub_(sum_ZC[:, -1:].exp())
    return forgotten_ZDD


# Operations of their own to the compiler, which would unroll the chunks. Autocast changes nothing in them:
# all products are given what they write to.
_states_whole = torch.library.custom_op("mutransfer::delta_states", _states, mutates_args=())
_d_states_whole = torch.library.custom_op("mutransfer::delta_d_states", _d_states, mutates_args=())


@_states_whole.register_fake
def _(key_ZCD: Tensor, erased_ZCD: Tensor, made_ZCE: Tensor, sum_ZC: Tensor, rows: int) -> Tensor:
    return key_ZCD.new_empty(len(key_ZCD) + rows, key_ZCD.shape[2], made_ZCE.shape[2])


@_d_states_whole.register_fake
def _(
    key_ZCD: Tensor,
    erased_ZCD: Tensor,
    q_ZCD: Tensor,
    d_read_ZCE: Tensor,
    d_made_ZCE: Tensor,
    sum_ZC: Tensor,
    rows: int,
) -> Tensor:
    return key_ZCD.new_empty(len(key_ZCD) + rows, key_ZCD.shape[2], d_read_ZCE.shape[2])
