"""The chunked gated delta rule is its recurrence: values and gradients, in float64."""

import pytest
import torch
from torch import Tensor

from mutransfer.models.mixers.gdn.delta_rule import chunked_delta_rule, recurrent_delta_rule

TOLERANCE = 1e-9  # rounding in float64; measured errors are below 1e-13


Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def inputs(time: int, *, hard: bool) -> Inputs:
    """q, k, v, g, beta. The hard case has correlated keys, weak decay and strong writes."""
    torch.manual_seed(0)
    n, heads, key, value = 2, 3, 8, 12
    q, k = torch.randn(n, time, heads, key), torch.randn(n, time, heads, key)
    if hard:
        k = k * 0.05 + torch.randn(n, 1, heads, key)
    k, q = torch.nn.functional.normalize(k, dim=-1), torch.nn.functional.normalize(q, dim=-1)
    g = -torch.rand(n, time, heads) * (0.001 if hard else 3.0)
    beta = torch.full((n, time, heads), 0.99) if hard else torch.rand(n, time, heads)
    v = torch.randn(n, time, heads, value)
    leaves = [x.double().requires_grad_() for x in (q, k, v, g, beta)]
    return leaves[0], leaves[1], leaves[2], leaves[3], leaves[4]


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("time", "chunk"), [(64, 16), (50, 16), (7, 16), (33, 32), (64, 64), (32, 16)])
def test_chunked_equals_recurrent(time: int, chunk: int, hard: bool) -> None:
    reference, chunked = inputs(time, hard=hard), inputs(time, hard=hard)
    expected = recurrent_delta_rule(*reference)
    found = chunked_delta_rule(*chunked, chunk=chunk)
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    weight = torch.randn_like(expected)
    (expected * weight).sum().backward()
    (found * weight).sum().backward()
    for one, other in zip(chunked, reference, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=TOLERANCE, rtol=0)


def test_the_recurrence_is_the_papers_equation() -> None:
    """S_t = exp(g) S (I - beta k k^T) + beta v k^T, written with matrices."""
    q, k, v, g, beta = (x.detach() for x in inputs(5, hard=False))
    state = torch.zeros(12, 8, dtype=torch.float64)
    for t in range(5):
        identity = torch.eye(8, dtype=torch.float64)
        forget = identity - beta[0, t, 0] * torch.outer(k[0, t, 0], k[0, t, 0])
        state = g[0, t, 0].exp() * state @ forget + beta[0, t, 0] * torch.outer(v[0, t, 0], k[0, t, 0])
    expected = state @ q[0, 4, 0]
    torch.testing.assert_close(recurrent_delta_rule(q, k, v, g, beta)[0, 4, 0], expected)


def test_strong_decay_neither_overflows_nor_breaks_gradients() -> None:
    values = inputs(64, hard=False)
    with torch.no_grad():
        values[3].fill_(-60.0)
    out = chunked_delta_rule(*values, chunk=16)
    out.sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in values)
