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


@pytest.mark.parametrize(("decay", "beta"), [(-60.0, None), (-1000.0, None), (None, 1.99), (None, 1e-6)])
def test_it_holds_at_the_ends(decay: float | None, beta: float | None) -> None:
    """Strong decay neither overflows nor breaks gradients; eigenvalues near -1; hardly anything written."""
    reference, chunked = inputs(64, hard=False), inputs(64, hard=False)
    for values in (reference, chunked):
        with torch.no_grad():
            if decay is not None:
                values[3].fill_(decay)
            if beta is not None:
                values[4].fill_(beta)
    expected, found = recurrent_delta_rule(*reference), chunked_delta_rule(*chunked, chunk=16)
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    expected.square().sum().backward()
    found.square().sum().backward()
    for one, other in zip(chunked, reference, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=TOLERANCE, rtol=1e-9)


def test_only_what_asks_for_a_gradient_has_one() -> None:
    values, whole = inputs(32, hard=False), inputs(32, hard=False)
    chunked_delta_rule(*whole, chunk=16).square().sum().backward()
    values[0].requires_grad_(False)
    values[3].requires_grad_(False)
    chunked_delta_rule(*values, chunk=16).square().sum().backward()
    assert values[0].grad is None and values[3].grad is None
    for place in (1, 2, 4):
        torch.testing.assert_close(values[place].grad, whole[place].grad)


def test_a_second_derivative_is_refused() -> None:
    values = inputs(32, hard=False)
    (gradient,) = torch.autograd.grad(
        chunked_delta_rule(*values, chunk=16).sum(), values[4], create_graph=True
    )
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()
