"""The parametrizations that ship as files, each against its source: a paper's formulas, its authors' code."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from mutransfer.models.data.batches import Batches
from mutransfer.models.parametrization.power import Ratios
from mutransfer.models.parametrization.registry import PARAMETRIZATIONS
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.recipe.role import Role, Site
from mutransfer.models.training.loop import train
from mutransfer.sweeps.own_tables import own_table, table_names

Make = Callable[..., Recipe]

pytestmark = pytest.mark.usefixtures("only_built_in")


M_W, M_L, M_B, M_T = 4.0, 8.0, 2.0, 16.0


def shipped(name: str) -> str:
    ((known, _),) = own_table(name).items()
    return known


def test_every_table_that_ships_is_one() -> None:
    assert table_names() == [
        "complete-d", "completep", "gqa-mup", "mup-package", "mup-sqrt-decay", "soap-spectral", "u-mup",
    ]  # fmt: skip
    for name in table_names():
        assert PARAMETRIZATIONS[shipped(name)].content


# Table 1 of arXiv:2512.22382 at alpha = 1, as functions: rate, decay, epsilon, start's standard deviation.
S = (M_B / M_T) ** 0.5
COMPLETE_D = {
    Role.INPUT: (S, S, 1 / (M_W * S), 1),
    Role.HIDDEN: (S / M_W, M_W * S, 1 / (M_W * M_L * S), M_W**-0.5),
    Role.OUTPUT: (S / M_W, M_W * S, 1 / S, 1 / M_W),
    Role.VECTOR: (S, S, 1 / S, 1),
    Role.HIDDEN_VECTOR: (S, S, 1 / (M_W * M_L * S), 1),
    Role.HIDDEN_SCALAR: (S, S, 1 / (M_L * S), 1),
}


def test_complete_d_is_its_paper() -> None:
    table, at = PARAMETRIZATIONS[shipped("complete-d")], Ratios(M_W, M_L, M_B, M_T)
    for role, expected in COMPLETE_D.items():
        row = table.update("adamw")[role]
        assert row.epsilon is not None
        found = (row.learning_rate(at), row.weight_decay(at), row.epsilon(at), table.init[role](at))
        assert found == pytest.approx(expected), role
    assert table.beta1(at) == table.beta2(at) == pytest.approx(M_B / M_T)
    assert table.multiplier[Site.BRANCH](at) == 1 / M_L and table.multiplier[Site.READOUT](at) == 1


def test_complete_d_is_mup_with_its_rule_for_the_budget(recipe: Make, batches: Batches) -> None:
    """Two ways to say one training: the table, and muP with `budget_rules`. They differ in what the readout
    is scaled by, and in one epsilon."""
    budget = {"base_batch_size": 2, "base_steps": 5, "steps": 20, "weight_decay": 0.1, "grad_clip": 0.0}
    ways = [{"parametrization": shipped("complete-d")}, {"budget_rules": "complete-d"}]
    one, other = train([recipe(**budget, **way) for way in ways], batches, torch.device("cpu"))
    assert one.loss == pytest.approx(other.loss, abs=2e-4)
    plain = train(
        [recipe(**{**budget, "base_steps": 20, "base_batch_size": 4})], batches, torch.device("cpu")
    )
    assert abs((plain[0].loss or 0) - (other.loss or 0)) > 1e-2  # what would be seen if it did nothing


def test_completep_is_its_authors_code() -> None:
    """configure_optimizers of nanoGPT-mup, branch completep, at depth_alpha_exp 1."""
    alpha, table, at = 1.0, PARAMETRIZATIONS[shipped("completep")], Ratios(M_W, M_L)
    depth_lr, eps = M_L ** (alpha - 1), 1 / M_W * M_L**-alpha
    groups = {
        Role.INPUT: (1, 1), Role.HIDDEN_VECTOR: (depth_lr, 1), Role.HIDDEN: (1 / M_W * depth_lr, M_W),
        Role.VECTOR: (1, 1),
    }  # fmt: skip
    for role, (rate, decay) in groups.items():
        row = table.update("adamw")[role]
        assert row.learning_rate(at) == rate and row.weight_decay(at) == decay, role
    for row in table.update("adamw").values():
        assert row.epsilon is not None and row.epsilon(at) == pytest.approx(eps)
    assert table.multiplier[Site.BRANCH](at) == M_L**-alpha
    assert table.multiplier[Site.READOUT](at) == 1 / M_W


def test_gqa_mup_is_its_authors_code() -> None:
    """Keys and values of r repetitions: start (1 + r^1/2) / (2 m^1/2), rate 1/m, decay m, forward multiplier
    2 / (1 + r^1/2). With Adam the effective start is muP's, and the rate falls with the multiplier."""
    row = PARAMETRIZATIONS[shipped("gqa-mup")].update("adamw")[Role.NARROW]
    init = PARAMETRIZATIONS[shipped("gqa-mup")].init[Role.NARROW]

    def theirs(m: float) -> tuple[float, float, float]:
        r = 1e6 * m  # large, where a power is what they give
        forward = 2 / (1 + r**0.5)
        return forward * (1 + r**0.5) / (2 * m**0.5), forward / m, m / forward

    for ours, at_base, at_m in zip(
        (init, row.learning_rate, row.weight_decay), theirs(1), theirs(16), strict=True
    ):
        assert ours(Ratios(16, 1)) == pytest.approx(at_m / at_base, rel=0.01)


def test_the_decay_grows_with_the_root_of_the_width() -> None:
    row = PARAMETRIZATIONS[shipped("mup-sqrt-decay")].update("adamw")[Role.HIDDEN]
    assert (row.learning_rate(Ratios(16, 1)), row.weight_decay(Ratios(16, 1))) == (1 / 16, 4)


def test_soap_spectral_is_table_4() -> None:
    """arXiv:2603.00541: eta sqrt(r_n) for input and output, eta for hidden matrices, decay the inverse."""
    update, at = PARAMETRIZATIONS[shipped("soap-spectral")].update("soap"), Ratios(M_W, M_L)
    for role, rate in {Role.INPUT: M_W**0.5, Role.HIDDEN: 1.0, Role.OUTPUT: M_W**0.5}.items():
        found = update[role].learning_rate(at), update[role].weight_decay(at)
        assert found == pytest.approx((rate, 1 / rate)), role


def _folded(optimizer: str, m: float) -> tuple[float, float]:
    """A forward multiplier of 1/m as part of the weights: Adam's rate falls by m, SGD's by m^2; the shrinking
    of a step, rate times decay, is the same."""
    rate = 1 / m if optimizer == "adamw" else 1 / m**2
    return rate, 1 / rate


class Layers(nn.Module):
    """Linear layers and a norm, one parameter of each kind that the package tells apart."""

    def __init__(self, mup: Any, width: int) -> None:  # noqa: ANN401 - a module
        super().__init__()
        self.embedding = nn.Embedding(10, width)
        self.hidden = nn.Linear(width, width)
        self.narrow = mup.MuReadout(width, 4, bias=False)
        self.norm = nn.LayerNorm(width)
        self.shared = nn.LayerNorm(4)
        self.readout = mup.MuReadout(width, 10, bias=False)


PARTS = {
    "embedding.weight": Role.INPUT, "hidden.weight": Role.HIDDEN, "hidden.bias": Role.HIDDEN_VECTOR,
    "narrow.weight": Role.NARROW, "norm.weight": Role.VECTOR, "shared.weight": Role.HIDDEN_SCALAR,
    "readout.weight": Role.OUTPUT,
}  # fmt: skip


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_mup_package_is_the_package(optimizer: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mup
    base, width = 16, 64
    model = Layers(mup, width)
    mup.set_base_shapes(model, Layers(mup, base), delta=Layers(mup, 2 * base))
    make = {"adamw": mup.MuAdamW, "sgd": mup.MuSGD}[optimizer]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    table, at = PARAMETRIZATIONS[shipped("mup-package")], Ratios(width / base, 1)
    seen = set()
    for group in make(model.parameters(), lr=1.0, weight_decay=1.0).param_groups:
        for parameter in group["params"]:
            if (name := names[id(parameter)]) in PARTS:
                row = table.update(optimizer)[PARTS[name]]
                folded = _folded(optimizer, width / base) if PARTS[name] is Role.NARROW else (1.0, 1.0)
                assert group["lr"] * folded[0] == pytest.approx(row.learning_rate(at)), name
                assert group["weight_decay"] * folded[1] == pytest.approx(row.weight_decay(at)), name
                seen.add(name)
    assert seen == {*PARTS}
    assert model.readout.width_mult() == 1 / table.multiplier[Site.READOUT](at)


class Units(nn.Module):
    """One module of each kind of the unit-scaling package, in a stack of some depth."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        import unit_scaling as uu

        norm = partial(uu.LayerNorm, elementwise_affine=True)
        self.embedding = uu.Embedding(10, width)
        self.blocks = uu.DepthSequential(
            *(
                nn.Sequential(uu.LayerNorm(width, elementwise_affine=True), uu.Linear(width, width))
                for _ in range(depth)
            )
        )
        self.norm = norm(width)
        self.readout = uu.LinearReadout(width, 10)

    def kinds(self) -> dict[Role, nn.Parameter]:
        block = self.blocks[0]
        return {
            Role.INPUT: self.embedding.weight, Role.HIDDEN: block[1].weight,
            Role.HIDDEN_VECTOR: block[0].weight, Role.VECTOR: self.norm.weight,
            Role.OUTPUT: self.readout.weight,
        }  # fmt: skip

    def forward_multipliers(self) -> dict[Role, float]:
        """What a module puts out over what its weights alone would."""
        x = torch.randn(1, self.norm.weight.shape[0])
        linear, readout = self.blocks[0][1], self.readout
        found = dict.fromkeys(self.kinds(), 1.0)
        for role, module in ((Role.HIDDEN, linear), (Role.OUTPUT, readout)):
            found[role] = (module(x) / (x @ module.weight.T))[0, 0].item()
        return found


def in_units(width: int, depth: int) -> dict[Role, tuple[float, float, float]]:
    """Rate, decay and start of the function that is trained: their forward multiplier is part of the weights,
    so that Adam's rate and the start are times it, and the decay, independent of the rate, is over it."""
    import unit_scaling as uu

    model = Units(width, depth)
    factors = model.forward_multipliers()
    groups = uu.optim.AdamW(model.parameters(), lr=1.0, weight_decay=1.0).param_groups
    of = {id(parameter): group for group in groups for parameter in group["params"]}
    found = {}
    for role, parameter in model.kinds().items():
        group, factor = of[id(parameter)], factors[role]
        found[role] = (group["lr"] * factor, group["weight_decay"] / factor, factor)
    return found


def test_u_mup_is_the_unit_scaling_package() -> None:
    """Over a base of 32 x 2, at 128 x 16; the start is a unit's, times its factor."""
    table, at = PARAMETRIZATIONS[shipped("u-mup")], Ratios(4, 8)
    base, large = in_units(32, 2), in_units(128, 16)
    for role, (rate, decay, start) in large.items():
        row = table.update("adamw")[role]
        assert row.learning_rate(at) == pytest.approx(rate / base[role][0]), role
        assert row.weight_decay(at) == pytest.approx(decay / base[role][1]), role
        assert table.init[role](at) == pytest.approx(start / base[role][2]), role


def test_branches_of_u_mup_are_the_unit_scaling_packages() -> None:
    """Each branch over the embedding in the stream's end: by the package's tau, 1/depth^1/2."""
    import unit_scaling as uu

    rule = uu.transformer_residual_scaling_rule()

    def share(layers: int, index: int) -> float:
        """The branch's factor over the embedding's; what comes later scales both alike."""
        before = math.prod((1 + rule(i, layers) ** 2) ** 0.5 for i in range(index))
        return float(rule(index, layers) * before)

    branch = PARAMETRIZATIONS[shipped("u-mup")].multiplier[Site.BRANCH]
    for index in range(4):
        assert branch(Ratios(1, 8)) == pytest.approx(share(32, index) / share(4, index))
