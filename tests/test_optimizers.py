"""Each optimizer, at K = 1, follows an independent implementation for 20 steps on the same gradients;
batched, it is K single runs.

References: torch.optim (SGD, AdamW, Muon) and pytorch-optimizer (Lion, SophiaH, NorMuon, Shampoo, SOAP,
spectral sphere).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from pytorch_optimizer import SOAP, Lion, NorMuon, ScalableShampoo, SophiaH
from pytorch_optimizer.optimizer.sso import compute_spectral_ball_update
from pytorch_optimizer.optimizer.utils.graft import LayerWiseGrafting
from torch import Tensor

from mutransfer.models.optimizers.optimizer import Hyperparameters, State
from mutransfer.models.optimizers.orthogonal import POLAR, POLYNOMIALS, QUINTIC, orthogonalised
from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.layout import Block, Layout

STEPS = 20
RATE, DECAY = 0.01, 0.3
SQUARE = (6, 6)


def columns(values: Sequence[float], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(values, dtype=dtype)[:, None]


class Direction:
    """An optimizer with its state, step after step."""

    def __init__(self, name: str, h: Hyperparameters) -> None:
        self.optimizer, self.h, self.steps = OPTIMIZERS[name], h, 0
        self.state: State = {}

    def __call__(self, gradient_KP: Tensor, weight_KP: Tensor) -> Tensor:
        self._begin(weight_KP)
        held = {name: tensor.data_ptr() for name, tensor in self.state.items()}
        direction_KP = self.optimizer.update(self.state, gradient_KP, weight_KP, self.h, self.steps)
        self.steps += 1
        assert {name: tensor.data_ptr() for name, tensor in self.state.items()} == held, "in place, always"
        return direction_KP

    def observe(self, curvature_KP: Tensor, weight_KP: Tensor) -> None:
        self._begin(weight_KP)
        assert self.optimizer.observe is not None
        self.optimizer.observe(self.state, curvature_KP, self.h)

    def _begin(self, weight_KP: Tensor) -> None:
        if not self.state:
            self.state = self.optimizer.init(weight_KP, self.h)


def direction(
    name: str, k: int = 1, matrix: tuple[int, int] = SQUARE, dtype: torch.dtype = torch.float64,
    nesterov: bool = True, epsilon: float = 1e-8, precondition_every: int = 4,
) -> Direction:  # fmt: skip
    hyperparameters = Hyperparameters(
        beta1_K1=columns([0.9] * k, dtype),
        beta2_K1=columns([0.95] * k, dtype),
        epsilon_K1=columns([epsilon] * k, dtype),
        momentum_K1=columns([0.8] * k, dtype),
        gamma_K1=columns([0.05] * k, dtype),
        nesterov=nesterov,
        precondition_every=precondition_every,
        polynomial="quintic",
        rank_ratio=0.5,
        matrix=matrix if OPTIMIZERS[name].matrices else None,
    )
    return Direction(name, hyperparameters)


def step(weight_KP: Tensor, direction_KP: Tensor, rate_K1: Tensor, shrink_K1: Tensor | None) -> None:
    """As a group does it."""
    block = Block((), OPTIMIZERS["sgd"], direction("sgd").h, rate_K1, shrink_K1, clipped=True)
    block.step(weight_KP, direction_KP, torch.ones_like(rate_K1))


def noise(k: int, matrix: tuple[int, int], dtype: torch.dtype = torch.float64) -> tuple[Tensor, list[Tensor]]:
    """A start and 20 gradients of two matrices a trial, [K, 2 O I]. Seeded."""
    generator = torch.Generator().manual_seed(0)
    size = 2 * matrix[0] * matrix[1]
    draws = [torch.randn(k, size, generator=generator, dtype=dtype) for _ in range(STEPS + 1)]
    return draws[0], draws[1:]


def curvature(gradient_KP: Tensor) -> Tensor:
    return gradient_KP.square() * 3


def ours(
    found: Direction, start_KP: Tensor, gradients: list[Tensor], rates: Sequence[float], decay: float
) -> Tensor:
    """W after the gradients, one step each. Sophia is told a curvature every fourth step."""
    weight_KP = start_KP.clone()
    rate_K1 = columns(rates, start_KP.dtype)
    for index, gradient_KP in enumerate(gradients):
        if found.optimizer.observe is not None and index % 4 == 0:
            found.observe(curvature(gradient_KP), weight_KP)
        direction_KP = found(gradient_KP.clone(), weight_KP)
        step(weight_KP, direction_KP, rate_K1, rate_K1 * decay if decay else None)
    return weight_KP


def theirs(
    make: Callable[[list[Tensor]], torch.optim.Optimizer], start_KP: Tensor, gradients: list[Tensor],
    matrix: tuple[int, int] = SQUARE,
) -> Tensor:  # fmt: skip
    """The reference on the same two matrices as separate parameters; [1, 2 O I]."""
    weights = [torch.nn.Parameter(part.clone().view(matrix)) for part in start_KP[0].chunk(2)]
    optimizer = make(list(weights))
    for index, gradient_KP in enumerate(gradients):
        for weight, part in zip(weights, gradient_KP[0].chunk(2), strict=True):
            weight.grad = part.clone().view(matrix)
        if isinstance(optimizer, SophiaH):
            estimates = [part.view(matrix).clone() for part in curvature(gradient_KP)[0].chunk(2)]
            optimizer.step(hessian=estimates) if index % 4 == 0 else optimizer.step()
        else:
            optimizer.step()
    return torch.cat([weight.detach().flatten() for weight in weights])[None]


def shampoo_reference(weights: list[Tensor]) -> ScalableShampoo:
    return ScalableShampoo(
        weights, lr=RATE, betas=(0.9, 0.95), moving_average_for_momentum=True, weight_decay=DECAY,
        decoupled_weight_decay=True, start_preconditioning_step=1, preconditioning_compute_steps=1,
        shape_interpretation=False, graft_type=LayerWiseGrafting.NONE, nesterov=False, matrix_eps=1e-12,
        use_svd=True,
    )  # fmt: skip


# In float64: what is left is the order of operations. Lion's sign could only flip at zero.
EXACT = 1e-12
# torch.optim.Muon iterates in bfloat16, whose numbers are 2^-8 apart: five steps stay within a few of those.
BFLOAT16 = 0.02
REFERENCES: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "adamw": lambda w: torch.optim.AdamW(w, lr=RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=DECAY),
    "lion": lambda w: Lion(w, lr=RATE, betas=(0.9, 0.95), weight_decay=DECAY),
    # theirs clips m / h at p; ours clips m / (gamma h) at 1: p = gamma, lr / gamma, eps / gamma.
    "sophia": lambda w: SophiaH(
        w, lr=RATE / 0.05, betas=(0.9, 0.95), weight_decay=DECAY * 0.05, p=0.05, eps=1e-8 / 0.05,
        update_period=10**6, foreach=False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ["adamw", "lion", "sophia"])
def test_follows_its_reference(name: str) -> None:
    start, gradients = noise(1, SQUARE)
    found = ours(direction(name), start, gradients, [RATE], DECAY)
    torch.testing.assert_close(found, theirs(REFERENCES[name], start, gradients), atol=EXACT, rtol=EXACT)


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_follows_torch(nesterov: bool) -> None:
    start, gradients = noise(1, SQUARE)
    found = ours(direction("sgd", nesterov=nesterov), start, gradients, [RATE], 0.0)
    expected = theirs(
        lambda w: torch.optim.SGD(w, lr=RATE, momentum=0.8, nesterov=nesterov), start, gradients
    )
    torch.testing.assert_close(found, expected, atol=EXACT, rtol=EXACT)


@pytest.mark.parametrize("matrix", [(6, 6), (8, 4), (4, 8)])
@pytest.mark.parametrize("nesterov", [True, False])
def test_normuon_follows_its_reference(nesterov: bool, matrix: tuple[int, int]) -> None:
    """Theirs averages momentum and gradient, which the orthogonal factor does not see, and takes the shape's
    factor for tall matrices alone."""
    start, gradients = noise(1, matrix, torch.float32)
    own = direction("normuon", matrix=matrix, dtype=torch.float32, nesterov=nesterov)
    found = ours(own, start, gradients, [RATE], 0.0)
    rate = RATE * math.sqrt(min(1, matrix[0] / matrix[1]))
    expected = theirs(
        lambda w: NorMuon(
            [{
                "params": w, "use_muon": True, "lr": rate, "momentum": 0.8, "beta2": 0.95,
                "nesterov": nesterov,
            }],
            foreach=False,
        ),
        start, gradients, matrix,
    )  # fmt: skip
    assert (found - expected).norm() < BFLOAT16 * (expected - start).norm()


def test_normuon_evens_the_neurons_and_keeps_the_length() -> None:
    """From one gradient whose rows are of very different use, every row moves alike."""
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(6, 24, generator=generator, dtype=torch.float64)
    gradient[0] *= 1e-3
    plain, evened = (direction(name, matrix=(6, 24)) for name in ("muon", "normuon"))
    start = torch.zeros(1, 6 * 24, dtype=torch.float64)
    one, other = (found(gradient.flatten()[None].clone(), start).view(6, 24) for found in (plain, evened))
    rows = other.norm(dim=1)
    assert rows.max() / rows.min() == pytest.approx(1, abs=1e-6)
    assert other.norm() == pytest.approx(float(one.norm()))


@pytest.mark.parametrize("matrix", [(6, 6), (8, 4), (4, 8)])
def test_dion_follows_its_paper(matrix: tuple[int, int]) -> None:
    """Algorithm 1 for one matrix, step by step in numpy, from the same basis."""
    size = matrix[0] * matrix[1]
    both, several = noise(1, matrix)
    start, gradients = both[:, :size], [gradient[:, :size] for gradient in several]
    found = direction("dion", matrix=matrix)
    basis = found.optimizer.init(start, found.h)["basis_KMIR"][0, 0].numpy().copy()
    momentum, mu = np.zeros(matrix), float(found.h.momentum_K1)
    for gradient in gradients:
        told = found(gradient.clone(), start.clone()).view(matrix).numpy()
        whole = momentum + gradient.view(matrix).numpy()
        left, _ = np.linalg.qr(whole @ basis)
        right = whole.T @ left
        momentum = whole - (1 - mu) * left @ right.T
        basis = right / np.linalg.norm(right, axis=0)
        np.testing.assert_allclose(told, math.sqrt(matrix[0] / matrix[1]) * left @ basis.T, atol=1e-10)


def test_dion_of_full_rank_nears_the_orthogonal_factor() -> None:
    """Power iteration on one gradient, again and again: U V^T, times the factor of the shape."""
    generator = torch.Generator().manual_seed(3)
    gradient = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    u, _, vh = torch.linalg.svd(gradient)
    found = direction("dion", matrix=(6, 6))
    found.h = replace(found.h, rank_ratio=1.0)
    start = torch.zeros(1, 36, dtype=torch.float64)
    for _ in range(400):
        told = found(gradient.flatten()[None].clone(), start).view(6, 6)
    assert float(torch.linalg.matrix_norm(told - u @ vh, 2)) < 0.05


def test_polar_express_is_the_nearer_to_the_orthogonal_factor() -> None:
    """Of matrices whose singular values are a hundred apart, in as many steps."""
    generator = torch.Generator().manual_seed(2)
    u, v = (torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))[0] for _ in range(2))
    given = (u * torch.logspace(0, -2, 8, dtype=torch.float64)) @ v.T
    gaps = {
        name: float(torch.linalg.matrix_norm(orthogonalised(given[None, None], rows)[0, 0] - u @ v.T, 2))
        for name, rows in POLYNOMIALS.items()
    }
    print(gaps)
    assert gaps["polar-express"] < gaps["quintic"] / 2


@pytest.mark.parametrize("matrix", [(6, 6), (8, 4)])
@pytest.mark.parametrize(("name", "adjust"), [("muon", "original"), ("muon-kimi", "match_rms_adamw")])
def test_muon_follows_torch(name: str, adjust: str, matrix: tuple[int, int]) -> None:
    start, gradients = noise(1, matrix, torch.float32)
    found = ours(direction(name, matrix=matrix, dtype=torch.float32), start, gradients, [RATE], DECAY)
    expected = theirs(
        lambda w: torch.optim.Muon(w, lr=RATE, weight_decay=DECAY, momentum=0.8, adjust_lr_fn=adjust),
        start, gradients, matrix,
    )  # fmt: skip
    moved = (expected - start).norm()
    assert moved > 0.3
    assert (found - expected).norm() < BFLOAT16 * moved


def test_wide_matrices_take_the_spectral_factor_where_torch_takes_one() -> None:
    start, gradients = noise(1, (4, 16), torch.float32)
    found = ours(direction("muon", matrix=(4, 16), dtype=torch.float32), start, gradients, [RATE], 0.0)
    expected = theirs(
        lambda w: torch.optim.Muon(w, lr=RATE / 2, weight_decay=0.0, momentum=0.8), start, gradients, (4, 16)
    )
    assert (found - expected).norm() < BFLOAT16 * (expected - start).norm()


def test_shampoo_follows_its_reference() -> None:
    """Theirs starts the statistics at eps I and lets it decay, ours adds eps at every root: with eps
    1e-12 against eigenvalues above 1e-4 that is 1e-8 relative, and the -1/4 makes it a quarter."""
    start, gradients = noise(1, SQUARE)
    found = direction("shampoo", epsilon=1e-12, precondition_every=1)
    moved = ours(found, start, gradients, [RATE], DECAY)
    torch.testing.assert_close(moved, theirs(shampoo_reference, start, gradients), atol=1e-7, rtol=1e-7)


def test_soap_follows_its_reference() -> None:
    """Eigenvectors agree up to sign, which Adam in their basis does not see."""
    start, gradients = noise(1, SQUARE)
    found = ours(direction("soap"), start, gradients, [RATE], 0.0)
    expected = theirs(
        lambda w: SOAP(w, lr=RATE, betas=(0.9, 0.95), weight_decay=0.0, precondition_frequency=4, eps=1e-8),
        start, gradients,
    )  # fmt: skip
    # The reference takes its QR decompositions in float32.
    assert (found - start).norm() > 0.3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_spectral_sphere_follows_its_reference_and_stays_on_the_sphere() -> None:
    """At each of our weights, the reference's tangent direction.

    Its products are bfloat16: where the multiplier makes a singular value of M + lambda u v^T vanish, the
    sign of that one is ill-conditioned and the reference's own direction is not tangent. Such steps are
    left out, and must be few.
    """
    matrix = (8, 8)
    start, gradients = noise(1, matrix, torch.float32)
    start += 1.0  # a leading singular value well apart: the reference looks for it in bfloat16
    found = direction("spectral-sphere", matrix=matrix, dtype=torch.float32)
    momentum = [torch.zeros(matrix), torch.zeros(matrix)]
    radius = [torch.linalg.matrix_norm(part.view(matrix), 2).item() for part in start[0].chunk(2)]
    weight_KP, compared = start.clone(), 0
    for gradient_KP in gradients:
        direction_KP = found(gradient_KP.clone(), weight_KP)
        for index, part in enumerate(gradient_KP[0].chunk(2)):
            now = weight_KP[0].chunk(2)[index].view(matrix)
            assert torch.linalg.matrix_norm(now, 2).item() == pytest.approx(radius[index], rel=0.01)
            momentum[index] = 0.8 * momentum[index] + part.view(matrix)
            nesterov = part.view(matrix) + 0.8 * momentum[index]
            expected = compute_spectral_ball_update(now, nesterov, 100, 8, 1e-6, 40).float()
            if torch.linalg.svdvals(expected)[-1] > 0.99:
                mine = direction_KP[0].chunk(2)[index].view(matrix)
                assert (mine - expected).norm() < BFLOAT16 * expected.norm()
                compared += 1
        step(weight_KP, direction_KP, columns([RATE], torch.float32), None)
    assert compared >= 20


def test_spectral_sphere_steps_along_the_sphere() -> None:
    start, gradients = noise(1, (6, 12))
    found = direction("spectral-sphere", matrix=(6, 12))
    weight_KP = start.clone()
    moved = found(gradients[0], weight_KP)[0].view(2, 6, 12)
    u, _, v = torch.linalg.svd(weight_KP[0].view(2, 6, 12))
    radial = torch.einsum("mo,moi,mi->m", u[:, :, 0], moved, v[:, 0])
    assert radial.abs().max() < 1e-3
    assert torch.linalg.matrix_norm(moved, 2).tolist() == pytest.approx([0.5**0.5] * 2, rel=2e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_batched_is_single(name: str) -> None:
    """Eight trials together are eight alone, to the rounding of batched products and decompositions."""
    rates = [2.0**-i for i in range(8)]
    start, gradients = noise(8, SQUARE)
    together = ours(direction(name, 8), start, gradients, rates, 0.1)
    for index, rate in enumerate(rates):
        part = slice(index, index + 1)
        alone = ours(direction(name), start[part].clone(), [g[part] for g in gradients], [rate], 0.1)
        torch.testing.assert_close(together[part], alone, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_trial_without_gradients_leaves_its_neighbours_alone(name: str) -> None:
    """What happens to a diverged trial: its gradient is zero and its weight may be anything."""
    start, gradients = noise(2, SQUARE)
    alone = ours(direction(name), start[:1].clone(), [g[:1] for g in gradients], [RATE], 0.0)
    start[1] = 1e30
    for gradient_KP in gradients:
        gradient_KP[1] = 0.0
    together = ours(direction(name, 2), start, gradients, [RATE, 0.0], 0.0)
    torch.testing.assert_close(together[:1], alone, atol=1e-9, rtol=1e-9)


def test_steps_that_are_not_all_alike_are_not_recorded() -> None:
    """A decomposition waits for the host (cuSOLVER), and what is done every few steps is not in each."""
    decomposed, every_few = {"dion", "shampoo", "soap"}, {"shampoo", "soap", "sophia"}
    alike = {name for name, optimizer in OPTIMIZERS.items() if optimizer.repeats}
    assert {*OPTIMIZERS} - alike == decomposed | every_few


def test_decay_shrinks_without_a_gradient() -> None:
    weight = torch.ones(1, 3)
    step(weight, torch.zeros(1, 3), columns([0.1], torch.float32), columns([0.05], torch.float32))
    torch.testing.assert_close(weight, torch.full((1, 3), 0.95))


def test_orthogonalisation_moves_singular_values_and_nothing_else() -> None:
    """The polynomial on matrices is the polynomial on singular values."""
    x = torch.randn(2, 3, 5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for coefficients, spread in ((QUINTIC, 0.4), (POLAR, 2e-3)):
        u, s, v = torch.linalg.svd(x / x.norm(dim=(-2, -1), keepdim=True), full_matrices=False)
        for a, b, c in coefficients:
            s = a * s + b * s**3 + c * s**5
        for given, expected in ((x, (u * s[..., None, :]) @ v), (x.mT, ((u * s[..., None, :]) @ v).mT)):
            torch.testing.assert_close(orthogonalised(given, coefficients), expected, atol=1e-9, rtol=1e-9)
        assert (s - 1).abs().max() < spread


def test_lion_moves_every_entry_alike_and_sophia_none_by_more_than_one() -> None:
    start, gradients = noise(1, SQUARE)
    lion = direction("lion")(gradients[0], start)
    assert set(lion.unique().tolist()) == {-1.0, 1.0}
    sophia = direction("sophia")
    sophia.observe(1000 * curvature(gradients[0]), start)
    moved = sophia(gradients[0], start)
    assert moved.abs().max() == 1.0
    assert moved.abs().min() < 1.0


@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
def test_queries_keys_and_values_may_be_one_matrix(architecture: str, recipe: Callable[..., Recipe]) -> None:
    """Layer by layer, the direction is that of one matrix of all their rows."""
    shared = {"queries_per_kv": 2} if architecture == "transformer" else {"values_per_key": 2}
    one = recipe(
        architecture=architecture, optimizer="muon", adamw_lr_ratio=0.1, fused_qkv=True, width=32,
        base_width=32, **shared,
    )  # fmt: skip
    layout, generator = Layout([one], torch.device("cpu")), torch.Generator().manual_seed(0)
    buffers = layout.first_values()
    gradients = [torch.randn(buffer.shape, generator=generator) for buffer in buffers]
    given = layout.views(gradients)
    found: dict[str, Tensor] = {}
    for block, buffer_KP, gradient_KP in zip(layout.blocks, buffers, gradients, strict=True):
        h = block.hyperparameters
        state = block.optimizer.init(buffer_KP.detach(), h)
        found |= block.views(block.optimizer.update(state, gradient_KP.clone(), buffer_KP.detach(), h, 0))
    for layer in range(one.shape.depth):
        names = [f"blocks.{layer}.mixer.{part}.weight" for part in ("query", "key", "value")]
        whole = torch.cat([given[name] for name in names], dim=1)
        expected = direction("muon", matrix=(whole.shape[1], 32), dtype=torch.float32)(
            1.8 * whole.flatten(1), whole.flatten(1)
        )
        ours = torch.cat([found[name] for name in names], dim=1)
        torch.testing.assert_close(ours.flatten(1), expected, atol=1e-4, rtol=1e-4)


def test_shared_keys_with_rows_of_their_own_are_not_fused(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(ValueError, match="fused_qkv: keys and values of a fixed number of heads"):
        recipe(optimizer="muon", adamw_lr_ratio=0.1, fused_qkv=True, kv_heads=1)
    with pytest.raises(ValueError, match="fused_qkv: a mamba2 has no queries, keys and values"):
        recipe(optimizer="muon", adamw_lr_ratio=0.1, fused_qkv=True, architecture="mamba2")
    assert recipe(fused_qkv=True, kv_heads=1)  # AdamW knows no matrices
