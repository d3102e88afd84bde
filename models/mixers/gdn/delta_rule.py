"""The gated delta rule (arXiv:2412.06464), as its recurrence and in chunks; the two agree to rounding.

    S_t = exp(g_t) S_{t-1} (I - beta_t k_t k_t^T) + beta_t v_t k_t^T,    o_t = S_t q_t

N any batch (trials, sequences and heads together), T time, D key size, E value size,
M chunks, C positions in a chunk, Z = N * M, F = E + D.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def recurrent_delta_rule(
    q_NTD: Tensor, k_NTD: Tensor, v_NTE: Tensor, g_NT: Tensor, beta_NT: Tensor
) -> Tensor:
    """o [N, T, E], one step after the other: the reference, far too slow to train with."""
    n, time, key_size = k_NTD.shape
    state_NED = q_NTD.new_zeros(n, v_NTE.shape[-1], key_size)
    outputs = []
    for t in range(time):
        k_ND, beta_N1 = k_NTD[:, t], beta_NT[:, t, None]
        state_NED = state_NED * g_NT[:, t].exp()[:, None, None]
        recalled_NE = torch.einsum("ned,nd->ne", state_NED, k_ND)
        write_NE = beta_N1 * (v_NTE[:, t] - recalled_NE)
        state_NED = state_NED + torch.einsum("ne,nd->ned", write_NE, k_ND)
        outputs.append(torch.einsum("ned,nd->ne", state_NED, q_NTD[:, t]))
    return torch.stack(outputs, dim=1)


def chunked_delta_rule(
    q_NTD: Tensor, k_NTD: Tensor, v_NTE: Tensor, g_NT: Tensor, beta_NT: Tensor, chunk: int
) -> Tensor:
    """o [N, T, E]: parallel inside chunks of `chunk` positions, sequential only from chunk to chunk.

    Inside a chunk that starts from state S, with G the running sum of g, the values actually written
    are u_i = beta_i (v_i - exp(g_i) S_{i-1} k_i) and S_i = exp(G_i) S + sum_{j<=i} exp(G_i - G_j) u_j k_j^T,
    so they solve the unit lower-triangular system (the WY form)
        (I + A) U = beta (V - exp(G) K S^T),    A_ij = beta_i exp(G_i - G_j) k_i . k_j  for j < i.
    It is solved for all chunks at once; only S is carried along.
    """
    time = k_NTD.shape[1]
    pad = -time % chunk  # padding with k = v = beta = g = 0 leaves the state as it is
    q, k, v = (F.pad(x, (0, 0, 0, pad)).unflatten(1, (-1, chunk)) for x in (q_NTD, k_NTD, v_NTE))
    g_NMC, beta_NMC = (F.pad(x, (0, pad)).unflatten(1, (-1, chunk)) for x in (g_NT, beta_NT))

    sum_NMC = g_NMC.cumsum(-1)
    written_k = beta_NMC[..., None] * k
    right = torch.cat((beta_NMC[..., None] * v, sum_NMC.exp()[..., None] * written_k), dim=-1)
    parts = (x.flatten(0, 1) for x in (q, k, written_k, sum_NMC, right))
    solved, within = _WithinChunks.apply(*parts)  # type: ignore[no-untyped-call]
    solved, within_NMCC = solved.view_as(right), within.view(*k.shape[:3], chunk)
    written_NMCE, erased_NMCD = solved.split((v.shape[-1], k.shape[-1]), dim=-1)

    query_NMCD = sum_NMC.exp()[..., None] * q
    key_NMCD = (sum_NMC[..., -1:] - sum_NMC).exp()[..., None] * k
    carry_NM = sum_NMC[..., -1].exp()
    out_NMCE: Tensor = _BetweenChunks.apply(  # type: ignore[no-untyped-call]
        written_NMCE, erased_NMCD, query_NMCD, key_NMCD, within_NMCC, carry_NM
    )
    return out_NMCE.flatten(1, 2)[:, :time]


class _BetweenChunks(torch.autograd.Function):
    """What passes from chunk to chunk: with S_m the state [D, E] that chunk m starts from,

        U = W - X S,    O = Q S + P U,    S_{m+1} = c S + K^T U = (c - K^T X) S_m + K^T W,

    W what is written, X what is erased, Q and K with their decays, P what the chunk reads of itself and c the
    decay of all of it. Only S follows from the chunk before, by one product a chunk; the rest is of all
    chunks at once. So is the gradient, with D_m that of S_{m+1}.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's own
        written_NMCE: Tensor,
        erased_NMCD: Tensor,
        query_NMCD: Tensor,
        key_NMCD: Tensor,
        within_NMCC: Tensor,
        carry_NM: Tensor,
    ) -> Tensor:
        passed_NMDD = _passed(erased_NMCD, key_NMCD, carry_NM)
        added_NMDE = key_NMCD.mT @ written_NMCE
        state_NDE = torch.zeros_like(added_NMDE[:, 0])
        states = [state_NDE]
        for added_NDE, passed_NDD in zip(added_NMDE.unbind(1)[:-1], passed_NMDD.unbind(1)[:-1], strict=True):
            state_NDE = torch.baddbmm(added_NDE, passed_NDD, state_NDE)
            states.append(state_NDE)
        state_NMDE = torch.stack(states, 1)
        made_NMCE = written_NMCE - erased_NMCD @ state_NMDE
        ctx.save_for_backward(erased_NMCD, query_NMCD, key_NMCD, within_NMCC, carry_NM, state_NMDE, made_NMCE)
        return query_NMCD @ state_NMDE + within_NMCC @ made_NMCE

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - torch's own
        erased_NMCD, query_NMCD, key_NMCD, within_NMCC, carry_NM, state_NMDE, made_NMCE = ctx.saved_tensors
        (d_out_NMCE,) = upstream
        d_made_NMCE = within_NMCC.mT @ d_out_NMCE
        d_read_NMDE = query_NMCD.mT @ d_out_NMCE - erased_NMCD.mT @ d_made_NMCE
        passed_NMDD = _passed(erased_NMCD, key_NMCD, carry_NM)
        d_state_NDE = torch.zeros_like(d_read_NMDE[:, 0])
        d_states = [d_state_NDE]
        for d_read_NDE, passed_NDD in zip(
            d_read_NMDE.unbind(1)[:0:-1], passed_NMDD.unbind(1)[:0:-1], strict=True
        ):
            d_state_NDE = torch.baddbmm(d_read_NDE, passed_NDD.mT, d_state_NDE)
            d_states.append(d_state_NDE)
        d_next_NMDE = torch.stack(d_states[::-1], 1)
        d_written_NMCE = d_made_NMCE + key_NMCD @ d_next_NMDE
        return (
            d_written_NMCE,
            -d_written_NMCE @ state_NMDE.mT,
            d_out_NMCE @ state_NMDE.mT,
            made_NMCE @ d_next_NMDE.mT,
            d_out_NMCE @ made_NMCE.mT,
            (d_next_NMDE * state_NMDE).sum((2, 3)),
        )


def _passed(erased_NMCD: Tensor, key_NMCD: Tensor, carry_NM: Tensor) -> Tensor:
    """c - K^T X of every chunk."""
    passed_NMDD = (-key_NMCD).mT @ erased_NMCD
    passed_NMDD.diagonal(dim1=2, dim2=3).add_(carry_NM[..., None])
    return passed_NMDD


class _WithinChunks(torch.autograd.Function):
    """What happens inside the chunks: X = (I + A)^-1 R and P, the attention-like part of the output.

        A = (beta k) k^T * decay below the diagonal,   P = q k^T * decay up to it,
        decay_ij = exp(G_i - G_j)

    The C x C matrices are the largest tensors of the mixer. Written out, each is passed over a few times
    in place; left to autograd, it would be some forty times. R is [Z, C, F], Z all chunks together.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's own
        q_ZCD: Tensor,
        k_ZCD: Tensor,
        written_ZCD: Tensor,
        sum_ZC: Tensor,
        right_ZCF: Tensor,
    ) -> tuple[Tensor, Tensor]:
        chunk = sum_ZC.shape[1]
        above = torch.full((chunk, chunk), -torch.inf, dtype=sum_ZC.dtype, device=sum_ZC.device).triu(1)
        # Masked before exp: above the diagonal the exponent is positive and may overflow.
        decay_ZCC = (sum_ZC[:, :, None] - sum_ZC[:, None, :]).add_(above).exp_()
        system_ZCC = (written_ZCD @ k_ZCD.transpose(1, 2)).mul_(decay_ZCC)
        system_ZCC.diagonal(dim1=1, dim2=2).zero_()
        within_ZCC = (q_ZCD @ k_ZCD.transpose(1, 2)).mul_(decay_ZCC)
        # `unitriangular` takes the diagonal as one: I + A without adding I.
        solved_ZCF = torch.linalg.solve_triangular(system_ZCC, right_ZCF, upper=False, unitriangular=True)
        ctx.save_for_backward(q_ZCD, k_ZCD, written_ZCD, decay_ZCC, system_ZCC, within_ZCC, solved_ZCF)
        return solved_ZCF, within_ZCC

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - torch's own
        q_ZCD, k_ZCD, written_ZCD, decay_ZCC, system_ZCC, within_ZCC, solved_ZCF = ctx.saved_tensors
        d_solved_ZCF, d_within_ZCC = upstream
        d_right_ZCF = torch.linalg.solve_triangular(
            system_ZCC.transpose(1, 2), d_solved_ZCF, upper=True, unitriangular=True
        )
        d_system_ZCC = (-d_right_ZCF) @ solved_ZCF.transpose(1, 2)
        d_product_ZCC = d_system_ZCC * decay_ZCC
        d_product_ZCC.diagonal(dim1=1, dim2=2).zero_()
        d_scores_ZCC = d_within_ZCC * decay_ZCC
        # d decay_ij / d G_i = decay_ij = -d decay_ij / d G_j
        d_exponent_ZCC = d_system_ZCC.mul_(system_ZCC).addcmul_(d_within_ZCC, within_ZCC)
        d_sum_ZC = d_exponent_ZCC.sum(2) - d_exponent_ZCC.sum(1)
        d_k_ZCD = torch.baddbmm(
            d_product_ZCC.transpose(1, 2) @ written_ZCD, d_scores_ZCC.transpose(1, 2), q_ZCD
        )
        return d_scores_ZCC @ k_ZCD, d_k_ZCD, d_product_ZCC @ k_ZCD, d_sum_ZC, d_right_ZCF
