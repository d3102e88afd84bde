"""The gated delta rule (arXiv:2412.06464), as its recurrence and in chunks; the two agree to rounding.

    S_t = exp(g_t) S_{t-1} (I - beta_t k_t k_t^T) + beta_t v_t k_t^T,    o_t = S_t q_t

N any batch (trials and sequences together), T time, H heads, D key size, E value size,
M chunks, C positions in a chunk, R = N * H rows, Z = M * R: the first chunk of every row, then the
second, and so on.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


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
    Beta is above 0, as a sigmoid is: at 0 its gradient would not be the recurrence's.

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
        starts = _starts_whole if torch.compiler.is_compiling() else _starts
        before_ZDE = starts(end_ZC1 * k_ZCD, erased_ZCD, made_ZCE, sum_ZC, rows)
        made_ZCE.baddbmm_(erased_ZCD, before_ZDE, alpha=-1)
        out_ZCE: Tensor = (within_ZCC @ made_ZCE).baddbmm_(start_ZC1 * q_ZCD, before_ZDE)
        ctx.rows = rows
        of_chunks = system_ZCC, within_ZCC, inverse_ZCC
        ctx.save_for_backward(q_ZCD, k_ZCD, sum_ZC, beta_ZC, *of_chunks, erased_ZCD, made_ZCE, before_ZDE)
        return out_ZCE

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's own
        q_ZCD, k_ZCD, sum_ZC, beta_ZC, *of_chunks, erased_ZCD, made_ZCE, before_ZDE = ctx.saved_tensors
        system_ZCC, within_ZCC, inverse_ZCC = of_chunks
        (d_out_ZCE,), rows = upstream, ctx.rows
        decay_ZCC, start_ZC1, end_ZC1 = _decays(sum_ZC)
        key_ZCD = end_ZC1 * k_ZCD

        d_read_ZCE = start_ZC1 * d_out_ZCE
        d_made_ZCE = within_ZCC.mT @ d_out_ZCE
        d_ends = _d_ends_whole if torch.compiler.is_compiling() else _d_ends
        d_after_ZDE = d_ends(key_ZCD, erased_ZCD, q_ZCD, d_read_ZCE, d_made_ZCE, sum_ZC, rows)
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


def _starts(key_ZCD: Tensor, erased_ZCD: Tensor, made_ZCE: Tensor, sum_ZC: Tensor, rows: int) -> Tensor:
    """The state that each chunk starts from, [Z, D, E]."""
    before_ZDE = _room(key_ZCD, made_ZCE)
    before_ZDE[:rows] = 0.0
    torch.bmm(key_ZCD[:-rows].mT, made_ZCE[:-rows], out=before_ZDE[rows:])
    parts, forgotten = before_ZDE.split(rows), _forgotten(key_ZCD, erased_ZCD, sum_ZC, rows)
    for m in range(1, len(parts) - 1):
        parts[m + 1].baddbmm_(forgotten[m - 1], parts[m], alpha=-1)
    return before_ZDE


def _d_ends(
    key_ZCD: Tensor,
    erased_ZCD: Tensor,
    q_ZCD: Tensor,
    d_read_ZCE: Tensor,
    d_made_ZCE: Tensor,
    sum_ZC: Tensor,
    rows: int,
) -> Tensor:
    """The gradient of the state that each chunk leaves, [Z, D, E]; nothing reads the last one's."""
    d_after_ZDE = _room(key_ZCD, d_read_ZCE)
    d_after_ZDE[-rows:] = 0.0
    read_ZDE = d_after_ZDE[:-rows]
    torch.bmm(q_ZCD[rows:].mT, d_read_ZCE[rows:], out=read_ZDE)
    read_ZDE.baddbmm_(erased_ZCD[rows:].mT, d_made_ZCE[rows:], alpha=-1)
    parts, forgotten = d_after_ZDE.split(rows), _forgotten(key_ZCD, erased_ZCD, sum_ZC, rows)
    for m in range(len(parts) - 3, -1, -1):
        parts[m].baddbmm_(forgotten[m].mT, parts[m + 1], alpha=-1)
    return d_after_ZDE


def _room(x_ZCD: Tensor, y_ZCE: Tensor) -> Tensor:
    """For a matrix [D, E] of every chunk."""
    return x_ZCD.new_empty(len(x_ZCD), x_ZCD.shape[2], y_ZCE.shape[2])


def _forgotten(key_ZCD: Tensor, erased_ZCD: Tensor, sum_ZC: Tensor, rows: int) -> tuple[Tensor, ...]:
    """K^T X - c: what a chunk takes away from the state that it starts from. Of all chunks but the first,
    which starts from nothing, and the last, [R, D, D] each."""
    inner = slice(rows, -rows)
    forgotten_ZDD = _room(key_ZCD[inner], key_ZCD)
    torch.bmm(key_ZCD[inner].mT, erased_ZCD[inner], out=forgotten_ZDD)
    forgotten_ZDD.diagonal(dim1=1, dim2=2).sub_(sum_ZC[inner, -1:].exp())
    parts: tuple[Tensor, ...] = forgotten_ZDD.split(rows)
    return parts


# Operations of their own to the compiler, which would unroll the chunks. Autocast changes nothing in them:
# all products are given what they write to.
_starts_whole = torch.library.custom_op("mutransfer::starts_of_chunks", _starts, mutates_args=())
_d_ends_whole = torch.library.custom_op("mutransfer::gradients_of_ends", _d_ends, mutates_args=())
_starts_whole.register_fake(lambda key_ZCD, erased_ZCD, made_ZCE, *others: _room(key_ZCD, made_ZCE))
_d_ends_whole.register_fake(
    lambda key_ZCD, erased_ZCD, q_ZCD, d_read_ZCE, *others: _room(key_ZCD, d_read_ZCE)
)
