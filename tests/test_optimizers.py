"""Each optimizer, at K = 1, is its torch.optim original for 20 steps; batched, it is K single runs."""

import pytest
import torch
from torch import Tensor

from mutransfer.models.optimizers import DIRECTIONS
from mutransfer.models.optimizers.direction import Hyperparameters, step

STEPS, SIZE = 20, 50
TOLERANCE = 2e-6  # float32: the same formula with the bias correction applied in another order


def columns(values: list[float]) -> Tensor:
    return torch.tensor(values)[:, None]


def ours(name: str, start_KP: Tensor, gradients: list[Tensor], rates: list[float], decay: float) -> Tensor:
    k = len(rates)
    direction = DIRECTIONS[name](
        Hyperparameters(
            beta1_K1=columns([0.9] * k),
            beta2_K1=columns([0.95] * k),
            epsilon_K1=columns([1e-8] * k),
            momentum_K1=columns([0.8] * k),
        )
    )
    weight_KP = start_KP.clone()
    for gradient_KP in gradients:
        step(
            weight_KP, direction(gradient_KP.clone()), columns(rates), columns([decay] * k) if decay else None
        )
    return weight_KP


def theirs(name: str, start_P: Tensor, gradients: list[Tensor], rate: float, decay: float) -> Tensor:
    weight = torch.nn.Parameter(start_P.clone())
    optimizer: torch.optim.Optimizer
    if name == "adamw":
        optimizer = torch.optim.AdamW([weight], lr=rate, betas=(0.9, 0.95), eps=1e-8, weight_decay=decay)
    else:
        optimizer = torch.optim.SGD([weight], lr=rate, momentum=0.8, nesterov=True)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize(("name", "decay"), [("adamw", 0.0), ("adamw", 0.3), ("sgd", 0.0)])
def test_follows_torch(name: str, decay: float) -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(1, SIZE), [torch.randn(1, SIZE) for _ in range(STEPS)]
    found = ours(name, start, gradients, [0.01], decay)
    expected = theirs(name, start[0], [gradient[0] for gradient in gradients], 0.01, decay)
    torch.testing.assert_close(found[0], expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_batched_is_single(name: str) -> None:
    torch.manual_seed(0)
    rates = [10.0**-i for i in range(8)]
    start, gradients = torch.randn(8, SIZE), [torch.randn(8, SIZE) for _ in range(STEPS)]
    together = ours(name, start, gradients, rates, 0.1)
    for index, rate in enumerate(rates):
        part = slice(index, index + 1)
        alone = ours(name, start[part], [gradient[part] for gradient in gradients], [rate], 0.1)
        torch.testing.assert_close(together[part], alone, atol=0, rtol=0)


def test_decoupled_decay_shrinks_without_a_gradient() -> None:
    weight = torch.ones(1, 3)
    step(weight, torch.zeros(1, 3), columns([0.1]), columns([0.5]))
    torch.testing.assert_close(weight, torch.full((1, 3), 0.95))


def test_nesterov_is_not_plain_momentum() -> None:
    """Two steps by hand: m1 = g, A1 = g + mu g; m2 = mu g + g, A2 = g + mu m2."""
    gradient = torch.ones(1, 1)
    found = ours("sgd", torch.zeros(1, 1), [gradient, gradient], [1.0], 0.0)
    assert found.item() == pytest.approx(-(1 + 0.8) - (1 + 0.8 * 1.8))
