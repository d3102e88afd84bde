"""Parameters of somebody's own modules that have no row of their own: they start as torch's users expect, or
are refused with a remedy."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_transfer import plan_of
from torch import nn
from torch._C._distributed_c10d import HashStore

from mutransfer.models.handover.assignment import Roles, Stored, UnknownParameterError
from mutransfer.models.handover.transfer import initialize_, param_groups
from mutransfer.models.handover.verify import VerificationError, verify
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.handover.export import Target

Build = Callable[..., Recipe]
WIDTH = 64


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 4 * WIDTH)
        self.down = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        y_BTD: torch.Tensor = self.down(self.up(self.norm(x_BTD)).relu())
        return y_BTD


class Model(nn.Module):
    def __init__(self, **more: nn.Module) -> None:
        super().__init__()
        self.emb = nn.Embedding(96, WIDTH)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.out = nn.Linear(WIDTH, 96)
        for name, module in more.items():
            setattr(self, name, module)

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        x_BTD: torch.Tensor = self.emb(tokens_BT)
        for block in self.blocks:
            x_BTD = x_BTD + block(x_BTD)
        logits_BTV: torch.Tensor = self.out(x_BTD)
        return logits_BTV


ROLES: Roles = {
    "emb.weight": "input", "out.*": "output", "blocks.*.norm.*": "hidden vector",
    "blocks.*.up.weight": "hidden", "blocks.*.down.weight": "hidden", "blocks.*.bias": "hidden vector",
}  # fmt: skip


@pytest.fixture
def handover(recipe: Build) -> dict[str, Any]:
    return plan_of(recipe, Target(WIDTH, 2), weight_decay=0.1)


def entry_of(model: nn.Module, handover: dict[str, Any], roles: Roles, name: str) -> dict[str, Any]:
    (group,) = (group for group in param_groups(model, handover, roles) if name in group["names"])
    return group


def test_a_readouts_bias_starts_at_zero_and_does_not_decay(handover: dict[str, Any]) -> None:
    model = Model()
    initialize_(model, handover, 0, ROLES)
    assert not model.out.bias.any() and model.out.weight.any()
    assert entry_of(model, handover, ROLES, "out.bias")["weight_decay"] == 0
    assert entry_of(model, handover, ROLES, "out.weight")["weight_decay"] > 0


@pytest.mark.parametrize("pattern", ["blocks.*.up.*", "blocks.*.norm.*"])
def test_a_gain_or_bias_under_a_matrix_pattern_is_refused(pattern: str, handover: dict[str, Any]) -> None:
    roles = {name: role for name, role in ROLES.items() if name != "blocks.*.bias"}
    roles |= {"blocks.*.down.bias": "hidden vector", "blocks.*.up.bias": "hidden vector", pattern: "hidden"}
    roles = {
        name: role for name, role in roles.items() if name == pattern or not name.startswith(pattern[:-2])
    }
    with pytest.raises(
        UnknownParameterError, match=r"no matrix, which the role hidden is for; map gains and"
    ):
        initialize_(Model(), handover, 0, roles)


def test_a_kept_readouts_bias_does_not_decay_either(handover: dict[str, Any]) -> None:
    roles: Roles = {**ROLES, "out.weight": "output", "out.bias": Stored("output", kept=True)}
    del roles["out.*"]  # type: ignore[attr-defined]
    model = Model()
    before = model.out.bias.detach().clone()
    initialize_(model, handover, 0, roles)
    assert torch.equal(model.out.bias, before)
    assert entry_of(model, handover, roles, "out.bias")["weight_decay"] == 0


def test_a_gain_of_a_readout_is_no_bias(handover: dict[str, Any]) -> None:
    model = Model()
    model.out = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 96))  # type: ignore[assignment]
    with pytest.raises(UnknownParameterError, match=r"out\.0\.weight: is \[64\], no matrix and no bias"):
        initialize_(model, handover, 0, ROLES)


def test_a_token_of_its_own_is_an_input(handover: dict[str, Any]) -> None:
    model = Model()
    model.mask = nn.Parameter(torch.zeros(WIDTH))
    initialize_(model, handover, 0, {**ROLES, "mask": "input"})
    assert model.mask.std().item() == pytest.approx(1.0, rel=0.3)


def test_what_is_frozen_keeps_its_values(handover: dict[str, Any]) -> None:
    pos = nn.Embedding.from_pretrained(torch.full((16, WIDTH), 5.0), freeze=True)
    model = Model(pos=pos)
    roles: Roles = {**ROLES, "pos.weight": "input"}
    initialize_(model, handover, 0, roles)
    assert (pos.weight == 5.0).all()
    verify(model, handover, roles)


def test_a_padding_row_stays_zero(handover: dict[str, Any]) -> None:
    model = Model()
    model.emb = nn.Embedding(96, WIDTH, padding_idx=3)
    initialize_(model, handover, 0, ROLES)
    assert not model.emb.weight[3].any() and model.emb.weight[2].all()
    few = Model()
    few.emb = nn.Embedding(3, WIDTH, padding_idx=0)
    initialize_(few, handover, 0, ROLES)
    verify(few, handover, ROLES)


def test_a_tied_table_is_one_whichever_module_comes_first(recipe: Build) -> None:
    handover = plan_of(recipe, Target(WIDTH, 2), tied=True)
    model = nn.ModuleDict({"out": nn.Linear(WIDTH, 96, bias=False)})
    model["emb"] = nn.Embedding(96, WIDTH, padding_idx=3)
    model["out"].weight = model["emb"].weight
    initialize_(model, handover, 0, {"out.weight": "input"})
    weight = model["emb"].weight
    assert isinstance(weight, torch.Tensor)
    assert weight[4:].std().item() == pytest.approx(1.0, rel=0.05) and not weight[3].any()


def test_a_map_of_vectors_starts_by_its_fan_in(handover: dict[str, Any]) -> None:
    patches = nn.Linear(768, WIDTH, bias=False)
    model = Model(patches=patches)
    initialize_(model, handover, 0, {**ROLES, "patches.weight": "input"})
    assert patches.weight.std().item() == pytest.approx(768**-0.5, rel=0.02)

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(WIDTH, 768))

    own = Own()
    initialize_(Model(own=own), handover, 0, {**ROLES, "own.weight": Stored("input", transposed=False)})
    assert own.weight.std().item() == pytest.approx(768**-0.5, rel=0.02)
    assert model.emb.weight.std().item() == pytest.approx(1.0, rel=0.05)


def test_a_kernel_that_is_stored_the_other_way_round(handover: dict[str, Any]) -> None:
    grow = nn.ConvTranspose1d(128, WIDTH, 5, bias=False)
    roles: Roles = {**ROLES, "grow.weight": Stored("hidden", transposed=True)}
    initialize_(Model(grow=grow), handover, 0, roles)
    gain = handover["roles"]["hidden"]["init_gain"]
    assert grow.weight.std().item() == pytest.approx(gain * (128 * 5) ** -0.5, rel=0.03)


def test_a_scalar_needs_a_start_of_its_own(handover: dict[str, Any]) -> None:
    model = Model()
    model.scale = nn.Parameter(torch.tensor(2.5))
    with pytest.raises(UnknownParameterError, match=r"scale: the role vector does not say how it starts"):
        initialize_(model, handover, 0, {**ROLES, "scale": "vector"})
    initialize_(model, handover, 0, {**ROLES, "scale": Stored("vector", kept=True)})
    assert model.scale == 2.5


def test_lists_of_layers_are_no_blocks(handover: dict[str, Any]) -> None:
    """A stem of two layers beside two blocks; and one block that is used four times is four."""
    stem = nn.ModuleList([nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(2)])
    initialize_(Model(stem=stem), handover, 0, {**ROLES, "stem.*.weight": "hidden"})
    shared = Model()
    shared.blocks = nn.ModuleList([Block()] * 4)
    with pytest.raises(UnknownParameterError, match="the model has 4 blocks"):
        initialize_(shared, handover, 0, ROLES)
    aliased = Model()
    aliased.layers = aliased.blocks
    initialize_(aliased, handover, 0, ROLES)
    plain = nn.ModuleDict({
        "emb": nn.Embedding(96, WIDTH), "out": nn.Linear(WIDTH, 96, bias=False),
        "hid": nn.ModuleList([nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(5)]),
    })  # fmt: skip
    roles: Roles = {"emb.weight": "input", "hid.*.weight": "hidden", "out.weight": "output"}
    with pytest.raises(UnknownParameterError, match="the model has 5 blocks"):
        initialize_(plain, handover, 0, roles)


def test_lazy_modules_are_named(handover: dict[str, Any]) -> None:
    with pytest.raises(UnknownParameterError, match=r"head\.weight: has no shape yet; run the model once"):
        param_groups(Model(head=nn.LazyLinear(7, bias=False)), handover, {**ROLES, "head.weight": "output"})


@pytest.mark.parametrize("handed", [{}, "plan.json", None])
def test_what_is_no_handover_is_told(handed: Any) -> None:  # noqa: ANN401 - that is the test
    with pytest.raises(UnknownParameterError, match=r"without parameters and roles; give what json\.load"):
        initialize_(Model(), handed, 0, ROLES)


def test_a_role_that_the_sweep_had_not_names_its_field(handover: dict[str, Any]) -> None:
    handover = json.loads(json.dumps(handover))
    handover["roles"].pop("narrow", None)
    model = Model(key=nn.Linear(WIDTH, 16, bias=False))
    with pytest.raises(
        UnknownParameterError, match=r"a sweep with kv_heads: 1 .* under `fixed` hands it over"
    ):
        param_groups(model, handover, {**ROLES, "key.weight": "narrow"})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of what it imports for both
def test_wrappers_inside_of_each_other(handover: dict[str, Any]) -> None:
    """DistributedDataParallel inside a compiled module, and inside of one's own."""
    torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        plain = {name for group in param_groups(Model(), handover, ROLES) for name in group["names"]}
        compiled = torch.compile(nn.parallel.DistributedDataParallel(Model()))
        assert isinstance(compiled, nn.Module)
        told = {name for group in param_groups(compiled, handover, ROLES) for name in group["names"]}
        assert told == plain
        own = nn.Module()
        own.model = nn.parallel.DistributedDataParallel(Model())
        roles = {f"model.{name}": role for name, role in ROLES.items()}
        told = {name for group in param_groups(own, handover, roles) for name in group["names"]}
        assert told == {f"model.{name}" for name in plain}
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda groups: torch.optim.SGD(groups), "is trained by SGD, and the handover says adamw"),
        (lambda groups: torch.optim.Adam(groups), "is trained by Adam, and the handover says adamw"),
        (
            lambda groups: torch.optim.AdamW([{**group, "betas": (0.5, 0.5)} for group in groups]),
            "has beta1 0.5, and the handover says 0.9",
        ),
        (lambda groups: torch.optim.AdamW(groups, maximize=True), "is trained with maximize=True"),
        (lambda groups: torch.optim.AdamW(groups, amsgrad=True), "is trained with amsgrad=True"),
    ],
)
def test_another_optimizer_is_found_out(
    make: Callable[[Any], torch.optim.Optimizer], told: str, handover: dict[str, Any]
) -> None:
    model = Model()
    initialize_(model, handover, 0, ROLES)
    groups = param_groups(model, handover, ROLES)
    for same in (torch.optim.AdamW(groups), torch.optim.Adam(groups, decoupled_weight_decay=True)):
        verify(model, handover, ROLES, same)
    with pytest.raises(VerificationError, match=told):
        verify(model, handover, ROLES, make(param_groups(model, handover, ROLES)))


def test_dropout_is_no_multiplier(handover: dict[str, Any]) -> None:
    dropped = nn.Dropout(0.5)
    model = Model(dropped=dropped)
    handover = {**handover, "multipliers": {"readout": 0.25}}
    model.out.register_forward_hook(lambda module, given, output: output * 0.25)
    model.out.register_forward_hook(lambda module, given, output: dropped(output))
    initialize_(model, handover, 0, ROLES)
    model.out.bias.data.normal_()
    tokens_BT = torch.arange(32)[None]
    verify(model, handover, ROLES, sites={"readout": ["out"]}, probe=lambda: model(tokens_BT), fresh=False)
    assert dropped.training
