"""A hand-over's forward multipliers on somebody else's model, and what `verify` finds of mistakes in it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_assignment import LLAMA, llama
from test_transfer import plan_of
from torch import Tensor, nn

from mutransfer.models.handover.assignment import UnknownParameterError
from mutransfer.models.handover.sites import Place, Sites, applied, apply_multipliers_, merge_sites_
from mutransfer.models.handover.transfer import initialize_, param_groups
from mutransfer.models.handover.verify import VerificationError, verify
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.handover.export import Target

Build = Callable[..., Recipe]
SITES: Sites = {
    "embedding": ["model.embed_tokens"],
    "residual branch": ["*.o_proj", "*.down_proj"],
    "attention logits": [Place("*.self_attn", attribute="scaling")],
    "readout": ["lm_head"],
}
OPTIONS = {"parametrization": "depth-mup", "embedding_multiplier": 2.0, "weight_decay": 0.1, "head_dim": 8,
           "attention_multiplier": 0.5}  # fmt: skip
TOKENS_BT = torch.arange(32).view(2, 16)


@pytest.fixture
def handover(recipe: Build) -> dict[str, Any]:
    """Of a depth and width beyond the base, so that no multiplier but the logits' is one."""
    return plan_of(recipe, Target(64, 4), **OPTIONS)


def handed(handover: dict[str, Any]) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = llama(64, 4)
    initialize_(model, handover, 0, LLAMA)
    apply_multipliers_(model, handover, SITES)
    return model, torch.optim.AdamW(param_groups(model, handover, LLAMA))


def check(model: nn.Module, optimizer: torch.optim.Optimizer, handover: dict[str, Any]) -> None:
    verify(model, handover, LLAMA, optimizer, SITES, lambda: model(TOKENS_BT))


def logits(model: nn.Module) -> Tensor:
    found: Tensor = model(TOKENS_BT).logits
    return found


def test_multipliers_do_what_the_forward_pass_would(handover: dict[str, Any]) -> None:
    """By hand on the weights: a product with a number commutes with the layer."""
    factors = handover["multipliers"]
    assert factors["residual branch"] != 1 and factors["embedding"] == 2 and factors["readout"] != 1
    assert factors["attention logits"] == pytest.approx(0.5 * 8**-0.5)  # all of it, what Llama has included
    model, _ = handed(handover)
    plain = llama(64, 4)
    initialize_(plain, handover, 0, LLAMA)
    assert not torch.allclose(logits(model), logits(plain))
    with torch.no_grad():
        for name, tensor in plain.named_parameters():
            for site, ends in (("embedding", "embed_tokens.weight"), ("readout", "lm_head.weight"),
                               ("residual branch", "o_proj.weight"), ("residual branch", "down_proj.weight"),
                               ("queries", "q_proj.weight")):  # fmt: skip
                if name.endswith(ends):
                    tensor.mul_(factors.get(site, 0.5))
    torch.testing.assert_close(logits(model), logits(plain), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile's own
def test_multipliers_stay_with_the_model(handover: dict[str, Any]) -> None:
    """A copy, a state dict that goes round, activation checkpointing and compilation."""
    model, optimizer = handed(handover)
    before = logits(model).detach()
    twin = copy.deepcopy(model)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(logits(twin), before) and applied(twin) == applied(model)
    assert "lm_head" in applied(model)["readout"] and len(applied(model)["residual branch"]) == 8
    checkpointed: Any = copy.deepcopy(model)
    checkpointed.activation_checkpointing_enable()
    torch.testing.assert_close(logits(checkpointed), before)
    compiled = torch.compile(model, backend="eager")
    assert isinstance(compiled, nn.Module)
    torch.testing.assert_close(logits(compiled), before)
    check(compiled, optimizer, handover)


@pytest.mark.parametrize(
    ("sites", "told"),
    [
        (
            {**SITES, "state readout": ["*"]},
            "the handover has no multiplier on state readout; it has those on",
        ),
        ({name: SITES[name] for name in ("embedding", "readout")}, r"multipliers on residual branch \("),
        ({**SITES, "readout": ["head"]}, "no module matches head; mend the sites"),
        (
            {**SITES, "attention logits": ["*.q_proj"]},
            r"\*\.q_proj: the multiplier on attention logits, 0\.176777, is the whole scale",
        ),
        (
            {**SITES, "attention logits": [Place("*.self_attn", attribute="scale")]},
            r"layers\.0\.self_attn: a LlamaAttention has no number called scale; mend the sites",
        ),
        ({**SITES, "readout": ["*.o_proj"]}, r"o_proj: is named for residual branch and for readout"),
    ],
)
def test_sites_that_do_not_fit_are_refused(sites: Sites, told: str, handover: dict[str, Any]) -> None:
    model = llama(64, 4)
    with pytest.raises(UnknownParameterError, match=told):
        apply_multipliers_(model, handover, sites)
    assert applied(model) == {}
    apply_multipliers_(model, handover, SITES)
    with pytest.raises(UnknownParameterError, match="has its multiplier already; apply them once"):
        apply_multipliers_(model, handover, SITES)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ({"part": (3, 3)}, r"part=\(3, 3\) is none; the first of n is \(0, n\)"),
        ({"part": (0, 0)}, r"part=\(0, 0\) is none"),
        ({"part": (-1, 3)}, r"part=\(-1, 3\) is none"),
        ({"part": (1,)}, r"part=\(1,\) is none"),
        ({"has": True}, "has=True is no number above 0"),
        ({"has": "half"}, "has='half' is no number above 0"),
        ({"has": 0}, "has=0 is no number above 0"),
        ({"has": -1.0}, "has=-1.0 is no number above 0"),
        ({"has": float("inf")}, "has=inf is no number above 0"),
    ],
)
def test_a_place_that_cannot_be_is_refused(place: dict[str, Any], told: str) -> None:
    with pytest.raises(UnknownParameterError, match=told):
        Place("*.q_proj", **place)


def test_parts_that_are_not_equal_are_refused(handover: dict[str, Any]) -> None:
    model, only = Fused(), {**handover, "multipliers": {"attention logits": 0.25}}
    apply_multipliers_(model, only, {"attention logits": [Place("qkv", part=(0, 5), has=0.5)]})
    for use in (lambda: model(torch.ones(1, 8)), lambda: merge_sites_(model)):
        with pytest.raises(UnknownParameterError, match="24 outputs are not 5 equal parts"):
            use()


def test_multipliers_reach_what_was_compiled_before(handover: dict[str, Any]) -> None:
    """A compiled program knows of no hook that came after it."""
    model = llama(64, 4)
    initialize_(model, handover, 0, LLAMA)
    compiled: Any = torch.compile(model, backend="eager")
    compiled(TOKENS_BT)
    apply_multipliers_(model, handover, SITES)
    torch.testing.assert_close(compiled(TOKENS_BT).logits, logits(model))


def test_logits_are_scaled_on_the_queries_as_well(handover: dict[str, Any]) -> None:
    """By what the model does not have itself."""
    model, _ = handed(handover)
    other = llama(64, 4)
    initialize_(other, handover, 0, LLAMA)
    apply_multipliers_(other, handover, {**SITES, "attention logits": [Place("*.q_proj", has=8**-0.5)]})
    torch.testing.assert_close(logits(other), logits(model), rtol=1e-4, atol=1e-5)


class Fused(nn.Module):
    """Queries, keys and values by one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x_BD: Tensor) -> Tensor:
        return self.qkv(x_BD)  # type: ignore[no-any-return]


def test_a_part_of_what_is_fused(handover: dict[str, Any]) -> None:
    model, x_BD = Fused(), torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    plain = model(x_BD)
    only = {**handover, "multipliers": {"attention logits": 0.25}}
    apply_multipliers_(model, only, {"attention logits": [Place("qkv", part=(0, 3), has=0.5)]})
    torch.testing.assert_close(model(x_BD), torch.cat([0.5 * plain[:, :8], plain[:, 8:]], 1))
    merged = copy.deepcopy(model)
    merge_sites_(merged)
    assert applied(merged) == {} and applied(model) == {"attention logits": ["qkv"]}
    torch.testing.assert_close(merged(x_BD), model(x_BD))


def test_every_part_of_what_is_fused(handover: dict[str, Any]) -> None:
    """Only the last of two places on one module was met, and `verify` looked no further."""
    model, x_BD = Fused(), torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    plain = model(x_BD)
    only = {**handover, "multipliers": {"attention logits": 0.25}}
    places = [Place("qkv", part=(0, 3), has=0.5), Place("q*", part=(0, 3), has=0.5),
              Place("qkv", part=(1, 3), has=1.0)]  # fmt: skip
    apply_multipliers_(model, only, {"attention logits": places})
    scaled = torch.cat([0.5 * plain[:, :8], 0.25 * plain[:, 8:16], plain[:, 16:]], 1)
    torch.testing.assert_close(model(x_BD), scaled)
    for more in (Place("q*", part=(0, 3), has=1.0), Place("qkv", part=(0, 2), has=0.5)):
        with pytest.raises(UnknownParameterError, match="qkv: is named twice for attention logits, as qkv"):
            apply_multipliers_(Fused(), only, {"attention logits": [*places, more]})


def test_a_part_that_is_missed_is_found(handover: dict[str, Any]) -> None:
    model = llama(64, 4)
    initialize_(model, handover, 0, LLAMA)
    sites: Sites = {**SITES, "residual branch": [
        "*.down_proj", Place("*.o_proj", part=(0, 2)), Place("*.o_proj", part=(1, 2)),
    ]}  # fmt: skip
    apply_multipliers_(model, handover, sites)
    verify(model, handover, LLAMA, None, sites, lambda: model(TOKENS_BT))
    module = model.get_submodule("model.layers.1.self_attn.o_proj")
    module._forward_hooks.popitem()
    with pytest.raises(
        VerificationError, match=r"layers\.1\.self_attn\.o_proj: gives 1 times its own output"
    ):
        verify(model, handover, LLAMA, None, sites, lambda: model(TOKENS_BT))


def test_merged_multipliers_leave_the_same_function(handover: dict[str, Any]) -> None:
    model, _ = handed(handover)
    before = logits(model)
    merge_sites_(model)
    assert applied(model) == {}
    torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_merged_is_refused(handover: dict[str, Any]) -> None:
    tied = llama(64, 4, tied=True)
    apply_multipliers_(tied, handover, SITES)
    with pytest.raises(
        UnknownParameterError, match=r"embed_tokens: its weight is shared by .*lm_head\.weight"
    ):
        merge_sites_(tied)
    model = llama(64, 4)
    apply_multipliers_(model, handover, {**SITES, "residual branch": ["*.mlp"]})
    with pytest.raises(UnknownParameterError, match=r"layers\.0\.mlp: a LlamaMLP has no weight to take"):
        merge_sites_(model)
    assert len(applied(model)["residual branch"]) == 4


def test_a_module_that_gives_no_tensor_is_named(handover: dict[str, Any]) -> None:
    """Two of them: attention's output, and its weights."""
    model: Any = llama(64, 4)
    model.set_attn_implementation("eager")
    apply_multipliers_(model, handover, {**SITES, "residual branch": ["*.self_attn"]})
    with pytest.raises(
        UnknownParameterError, match="LlamaAttention: gives a tuple, no tensor; name the module"
    ):
        model(TOKENS_BT)


def test_the_only_tensor_of_several_outputs_is_multiplied(handover: dict[str, Any]) -> None:
    """Where attention keeps its weights to itself, it gives them as None: as its projection multiplied."""
    one, other = llama(64, 4), llama(64, 4)
    other.load_state_dict(one.state_dict())
    apply_multipliers_(one, handover, {**SITES, "residual branch": ["*.o_proj", "*.down_proj"]})
    apply_multipliers_(other, handover, {**SITES, "residual branch": ["*.self_attn", "*.down_proj"]})
    torch.testing.assert_close(one(TOKENS_BT).logits, other(TOKENS_BT).logits)


def test_a_readout_that_starts_at_zero_cannot_be_measured(handover: dict[str, Any]) -> None:
    model, optimizer = handed(handover)
    model.get_submodule("lm_head").get_parameter("weight").data.zero_()
    with pytest.raises(VerificationError, match=r"^lm_head\.weight: starts with a standard deviation of 0,"):
        check(model, optimizer, handover)


def test_what_is_handed_over_is_verified(handover: dict[str, Any]) -> None:
    model, optimizer = handed(handover)
    check(model, optimizer, handover)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.1)
    optimizer.step()
    scheduler.step()
    check(model, optimizer, handover)  # the peaks count, not the present rates


def test_peaks_count_under_a_cycle_and_what_is_frozen_is_in_no_group(handover: dict[str, Any]) -> None:
    model, optimizer = handed(handover)
    peaks = [group["lr"] for group in optimizer.param_groups]
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peaks, total_steps=100, cycle_momentum=False)
    check(model, optimizer, handover)
    frozen = model.get_submodule("model.embed_tokens").requires_grad_(False)
    for group in optimizer.param_groups:
        group["params"] = [one for one in group["params"] if one is not frozen.weight]
    check(model, optimizer, handover)


def test_what_no_module_is_named_for_is_refused(handover: dict[str, Any]) -> None:
    """An empty list names none."""
    with pytest.raises(UnknownParameterError, match=r"no module is named for the multipliers on readout"):
        apply_multipliers_(llama(64, 4), handover, {**SITES, "readout": []})


def muons(model: Any, handover: dict[str, Any], **other: Any) -> list[torch.optim.Optimizer]:  # noqa: ANN401
    """torch's Muon for the matrices, as long as the handover's, and AdamW for the rest."""
    groups = param_groups(model, handover, LLAMA)
    wide = {id(layer.mlp.down_proj.weight) for layer in model.model.layers}
    for_muon = []
    for group in (group for group in groups if group["optimizer"] == "muon"):
        for longer, chosen in ((1.0, False), (2**0.5, True)):  # its inputs are twice its outputs
            params = [one for one in group["params"] if (id(one) in wide) == chosen]
            told = {"lr": group["lr"] / longer, "weight_decay": group["weight_decay"] * longer}
            for_muon.append({"params": params, "momentum": group["momentum"], **told})
    rest = [group for group in groups if group["optimizer"] == "adamw"]
    return [torch.optim.Muon(for_muon, **other), torch.optim.AdamW(rest)]


def test_torchs_muon_is_verified_beside_adamw(recipe: Build) -> None:
    handover = plan_of(recipe, Target(64, 4), optimizer="muon", adamw_lr_ratio=0.5, weight_decay=0.1)
    model = llama(64, 4)
    initialize_(model, handover, 0, LLAMA)

    def told(*optimizers: torch.optim.Optimizer) -> str:
        with pytest.raises(VerificationError) as caught:
            verify(model, handover, LLAMA, optimizers)
        return str(caught.value)

    muon, adamw = muons(model, handover)
    verify(model, handover, LLAMA, [muon, adamw])
    assert "lm_head.weight: is in no groups" in told(muon)
    assert "has nesterov False, and the handover says True" in told(
        muons(model, handover, nesterov=False)[0], adamw
    )
    another = told(muons(model, handover, ns_steps=1)[0], adamw)
    assert "q_proj.weight: is orthogonalised by another polynomial than the handover's, quintic" in another
    for group in muon.param_groups:
        group["lr"] = handover["roles"]["hidden"]["learning_rate"]
    longer = [line for line in told(muon, adamw).splitlines() if "has lr" in line]
    assert len(longer) == 4 and all("where torch's Muon is 1.414 times as long" in line for line in longer)


def test_torchs_muon_of_a_table_that_is_looked_up(recipe: Build) -> None:
    """Its rows are its inputs: torch's update is as long as the root of vocabulary over width, ours as that
    of width over vocabulary."""
    options = {"optimizer": "muon", "matrices": "all", "adamw_lr_ratio": 0.5, "vocab_size": 256}
    handover = plan_of(recipe, Target(64, 4), **options)
    model = llama(64, 4)
    initialize_(model, handover, 0, LLAMA)
    groups = param_groups(model, handover, LLAMA)
    muon = torch.optim.Muon([
        {"params": [one], "momentum": group["momentum"], "weight_decay": 0.0,
         "lr": group["lr"] / factor}
        for group in groups if group["optimizer"] == "muon"
        for name, one in zip(group["names"], group["params"], strict=True)
        for rows, columns in [one.shape]
        for due in [rows / columns if "embed" not in name else columns / rows]
        for factor in [(max(1, rows / columns) / due) ** 0.5]
    ], nesterov=True)  # fmt: skip
    rest = torch.optim.AdamW([group for group in groups if group["optimizer"] == "adamw"])
    verify(model, handover, LLAMA, [muon, rest])


def test_what_decays_by_its_momentum_is_named(recipe: Build) -> None:
    handover = plan_of(recipe, Target(64, 4), optimizer="sgd", momentum=0.9, weight_decay=0.1)
    model = llama(64, 4)
    initialize_(model, handover, 0, LLAMA)
    groups = param_groups(model, handover, LLAMA)
    with pytest.raises(
        VerificationError, match=r"q_proj\.weight: SGD adds the decay to the gradient, before"
    ):
        verify(model, handover, LLAMA, torch.optim.SGD(groups))
    for group in groups:
        group["weight_decay"] = 0.0  # as it says
    verify(model, handover, LLAMA, torch.optim.SGD(groups))
    for group in groups:
        group["momentum"] = 0.0
    with pytest.raises(VerificationError, match=r"q_proj\.weight: has weight_decay 0.0"):
        verify(model, handover, LLAMA, torch.optim.SGD(groups))


def test_an_optimizer_that_keeps_several_epsilons_is_named(handover: dict[str, Any]) -> None:
    model = llama(64, 4)
    initialize_(model, handover, 0, LLAMA)
    groups = [{name: told for name, told in group.items() if name not in ("eps", "betas")}
              for group in param_groups(model, handover, LLAMA)]  # fmt: skip
    with pytest.raises(VerificationError, match="is trained by Adafactor, and the handover says adamw"):
        verify(model, handover, LLAMA, torch.optim.Adafactor(groups))


@pytest.mark.parametrize("kind", ["spectral_norm", "orthogonal", "weight_norm"])
def test_a_weight_that_is_rewritten_is_refused(kind: str, handover: dict[str, Any]) -> None:
    model = llama(64, 4)
    getattr(torch.nn.utils.parametrizations, kind)(model.get_submodule("model.layers.1.self_attn.o_proj"))
    name = r"model\.layers\.1\.self_attn\.o_proj\.parametrizations\.weight\.original0?"
    with pytest.raises(UnknownParameterError, match=f"{name}: .* makes the weight that acts out of it"):
        initialize_(model, handover, 0, LLAMA)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
@pytest.mark.parametrize(("kind", "leaf"), [("spectral_norm", "weight_orig"), ("weight_norm", "weight_g")])
def test_a_weight_that_a_hook_rewrites_is_refused(kind: str, leaf: str, handover: dict[str, Any]) -> None:
    model = llama(64, 4)
    getattr(torch.nn.utils, kind)(model.get_submodule("model.layers.1.self_attn.o_proj"))
    roles = {**LLAMA, "*.o_proj.weight_*": "hidden"}
    with pytest.raises(UnknownParameterError, match=rf"o_proj\.{leaf}: .*Norm makes the weight that acts"):
        initialize_(model, handover, 0, roles)


def move(optimizer: torch.optim.Optimizer, parameter: Tensor, role: str) -> None:
    """A parameter into the group of another role."""
    for group in optimizer.param_groups:
        group["params"] = [one for one in group["params"] if one is not parameter]
    next(group for group in optimizer.param_groups if group["role"] == role)["params"].append(parameter)


MISTAKES: dict[str, tuple[Callable[[Any, torch.optim.Optimizer], object], str]] = {
    "a layer is left out of the groups": (
        lambda model, opt: [
            group["params"].clear() for group in opt.param_groups
            if any(one is model.model.layers[3].mlp.up_proj.weight for one in group["params"])
        ],
        r"model\.layers\.3\.mlp\.up_proj\.weight: is in no groups of the optimizer",
    ),
    "the embedding at the hidden rate": (
        lambda model, opt: move(opt, model.model.embed_tokens.weight, "hidden"),
        r"model\.embed_tokens\.weight: has lr",
    ),
    "decay twice": (
        lambda model, opt: opt.param_groups[0].update(weight_decay=2 * opt.param_groups[0]["weight_decay"]),
        r"model\.embed_tokens\.weight: has weight_decay",
    ),
    "epsilon of another": (
        lambda model, opt: [group.update(eps=1e-8) for group in opt.param_groups],
        r"q_proj\.weight: has eps 1e-08",
    ),
    "a matrix twice as large": (
        lambda model, opt: model.model.layers[1].self_attn.v_proj.weight.data.mul_(2),
        r"layers\.1\.self_attn\.v_proj\.weight: starts with a standard deviation of",
    ),
    "a gain of two": (
        lambda model, opt: model.model.norm.weight.data.mul_(2),
        r"model\.norm\.weight: does not start at ones; call initialize_",
    ),
    "the readout not scaled": (
        lambda model, opt: model.lm_head._forward_hooks.clear(),
        r"lm_head: gives 1 times its own output, and .* on readout is due",
    ),
    "logits by 1 / sqrt(d) where another is due": (
        lambda model, opt: setattr(model.model.layers[1].self_attn, "scaling", 8**-0.5),
        r"layers\.1\.self_attn: has a scaling of 0\.3536, and 0\.1768 on attention logits is due",
    ),
    "a branch scaled twice": (
        lambda model, opt: model.model.layers[2].mlp.down_proj.register_forward_hook(
            lambda module, given, out: out * 0.5
        ),
        r"layers\.2\.mlp\.down_proj: gives .* times its own output, and .* on residual branch is due",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_by_parameter_and_module(mistake: str, handover: dict[str, Any]) -> None:
    model, optimizer = handed(handover)
    make, told = MISTAKES[mistake]
    make(model, optimizer)
    with pytest.raises(VerificationError, match=told):
        check(model, optimizer, handover)
