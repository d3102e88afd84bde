"""The gated delta rule (arXiv:2412.06464), as its recurrence and in chunks; the two agree to rounding.

    S_t = exp(g_t) S_{t-1} (I - beta_t k_t k_t^T) + beta_t v_t k_t^T,    o_t = S_t q_t

N any batch (trials, sequences and heads together), T time, D key size, E value size,
M chunks, C positions in a chunk.
"""

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
    decay_NMCC = (
        (sum_NMC[..., :, None] - sum_NMC[..., None, :])
        .masked_fill(
            # Masked before exp: above the diagonal the exponent is positive and may overflow.
            torch.ones(chunk, chunk, dtype=torch.bool, device=k.device).triu(1),
            -torch.inf,
        )
        .exp()
    )
    system_NMCC = beta_NMC[..., None] * decay_NMCC * (k @ k.transpose(-1, -2))
    right = beta_NMC[..., None] * torch.cat((v, sum_NMC.exp()[..., None] * k), dim=-1)
    # `unitriangular` ignores the diagonal and takes it as one: I + A without adding I.
    solved = torch.linalg.solve_triangular(system_NMCC, right, upper=False, unitriangular=True)
    written_NMCE, erased_NMCD = solved.split((v.shape[-1], k.shape[-1]), dim=-1)

    within_NMCC = (q @ k.transpose(-1, -2)) * decay_NMCC
    query_NMCD = sum_NMC.exp()[..., None] * q
    key_NMCD = (sum_NMC[..., -1:] - sum_NMC).exp()[..., None] * k
    carry_NM = sum_NMC[..., -1].exp()
    state_NDE = k.new_zeros(k.shape[0], k.shape[-1], v.shape[-1])
    outputs = []
    for m in range(k.shape[1]):
        u_NCE = torch.baddbmm(written_NMCE[:, m], erased_NMCD[:, m], state_NDE, alpha=-1)
        outputs.append(torch.baddbmm(query_NMCD[:, m] @ state_NDE, within_NMCC[:, m], u_NCE))
        state_NDE = torch.baddbmm(
            carry_NM[:, m, None, None] * state_NDE, key_NMCD[:, m].transpose(1, 2), u_NCE
        )
    return torch.cat(outputs, dim=1)[:, :time]
