"""Mixtures of experts: loads, rows along experts and granularity, what is refused. That they are those of
transformers is compared in test_likes.py."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import first_views, proxy_trial
from test_choice import compared, rows
from test_likes import close
from torch import Tensor
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from mutransfer.models.architectures.proxy import Regime
from mutransfer.models.data.batches import Batches
from mutransfer.models.handover.values import handover_at
from mutransfer.models.layers import experts as layer
from mutransfer.models.layers.trace import untraced
from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.parametrization.experts import FACTORS, LIKE
from mutransfer.models.parametrization.registry import BUILT_IN, PARAMETRIZATIONS
from mutransfer.models.parametrization.rules import rules_by_pattern
from mutransfer.models.recipe.inventory import parameter_count, parameters
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.recipe.role import Role
from mutransfer.models.training.group import Group
from mutransfer.models.training.loop import GroupTraining, train
from mutransfer.models.training.state import GroupState
from mutransfer.models.training.step import advance, gradients
from mutransfer.orchestrator.handover.export import Target, export_object
from mutransfer.orchestrator.handover.fault import ExportError
from mutransfer.sweeps.cost import GPU_FLOPS, forward_flops_per_token, gpu_seconds

CPU = torch.device("cpu")
EXPERTS = {"experts": 4, "mlp_ratio": 2.0}
ROUNDING = 1e-5  # of losses, in differently shaped products over a few steps


def block(one: Recipe, trials: int = 2) -> tuple[Tensor, dict[str, Tensor]]:
    """Inputs, and the first block's parameters of a mixture."""
    views = first_views([one] * trials)
    held = {n: x.detach().clone().requires_grad_() for n, x in views.items() if ".0.mlp." in n}
    x_KBTD = torch.randn(trials, 3, 16, one.shape.width, generator=torch.Generator().manual_seed(1))
    return x_KBTD.requires_grad_(), held


@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
@pytest.mark.parametrize("granularity", [1, 2])
def test_tokens_sorted_by_expert_and_all_tokens_to_all_experts_are_one(
    mlp: str, granularity: int, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is the CPU's way, the second that of any other device."""
    one = recipe(**EXPERTS, mlp=mlp, granularity=granularity)
    x_KBTD, held = block(one)
    found = []
    for way in (layer._own_tokens, layer._all_tokens):
        monkeypatch.setattr(layer, "_own_tokens", way)
        y_KBTD, _ = layer.experts(x_KBTD, held, "blocks.0.mlp", one.shape, untraced)
        found.append((y_KBTD, *torch.autograd.grad(y_KBTD.square().sum(), [x_KBTD, *held.values()])))
    for sorted_, whole in zip(*found, strict=True):
        close(sorted_, whole)


def test_all_tokens_to_all_experts_in_bf16(
    recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs that are in bf16 already, beside scores in float32; to that type's rounding."""
    one = recipe(**EXPERTS, mlp="swiglu")
    x_KBTD, held = block(one)
    found = []
    for way in (layer._own_tokens, layer._all_tokens):
        monkeypatch.setattr(layer, "_own_tokens", way)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found.append(
                layer.experts(x_KBTD.bfloat16(), held, "blocks.0.mlp", one.shape, untraced)[0].float()
            )
    assert float((found[0] - found[1]).detach().abs().max() / found[0].detach().abs().max()) < 0.02


def test_what_loads_cost_is_what_transformers_says(recipe: Callable[..., Recipe]) -> None:
    """Theirs adds up the choices of a token, ours averages them."""
    one = recipe(**EXPERTS)
    x_KBTD, held = block(one, trials=1)
    _, load = layer.experts(x_KBTD, held, "blocks.0.mlp", one.shape, untraced)
    scores = x_KBTD[0].flatten(0, 1) @ held["blocks.0.mlp.router.weight"][0].T
    expected = load_balancing_loss_func((scores,), num_experts=4, top_k=2) / 2
    cost = layer.imbalance([load])
    close(cost[0], expected)
    mine, theirs = (
        torch.autograd.grad(x, held["blocks.0.mlp.router.weight"])[0] for x in (cost.sum(), expected)
    )
    close(mine, theirs)


def test_even_loads_cost_one_and_the_busiest_is_average() -> None:
    even = layer.Load(torch.full((3, 8), 2 / 8), torch.full((3, 8), 1 / 8))
    assert layer.imbalance([even, even]).tolist() == [1.0] * 3
    shares_KLE = torch.tensor([[[1.0, 0.6, 0.4, 0.0], [0.5, 0.5, 0.5, 0.5]]])
    assert layer.busiest(shares_KLE).tolist() == pytest.approx([1.5])


def test_a_trial_with_experts_trains_alone_as_in_a_group(
    recipe: Callable[..., Recipe], batches: Batches
) -> None:
    recipes = [recipe(**EXPERTS, learning_rate=rate, steps=6) for rate in (0.001, 0.004, 0.016)]
    together = train(recipes, batches, CPU)
    for one, outcome in zip(recipes, together, strict=True):
        (alone,) = train([one], batches, CPU)
        assert alone.loss == pytest.approx(outcome.loss, rel=ROUNDING)
        assert alone.busiest_expert == pytest.approx(outcome.busiest_expert)


def test_the_load_is_an_outcome_where_there_are_experts(
    recipe: Callable[..., Recipe], batches: Batches
) -> None:
    with_experts, without = (train([one], batches, CPU)[0] for one in (recipe(**EXPERTS), recipe()))
    assert with_experts.busiest_expert is not None and 1 <= with_experts.busiest_expert <= 4 / 2
    assert without.busiest_expert is None


def test_descending_what_loads_cost_evens_them(recipe: Callable[..., Recipe]) -> None:
    """From inputs that are alike, so that nearly all go to the same experts."""
    one = recipe(**EXPERTS)
    x_KBTD, held = block(one)
    alike_KBTD = (0.3 * x_KBTD + 1.0).detach()
    router, busiest = held["blocks.0.mlp.router.weight"], []
    for _ in range(60):
        _, load = layer.experts(alike_KBTD, held, "blocks.0.mlp", one.shape, untraced)
        busiest.append(layer.busiest(load.share_KE[:, None]).max().item())
        (slope,) = torch.autograd.grad(layer.imbalance([load]).sum(), router)
        with torch.no_grad():
            router.sub_(0.1 * slope)
    assert busiest[0] > 1.8 and busiest[-1] < 1.3


def test_blocks_computed_again_have_the_same_gradients_and_tell_their_load_once(
    recipe: Callable[..., Recipe], batches: Batches
) -> None:
    found = []
    for again in (False, True):
        one = recipe(**EXPERTS, activation_checkpointing=again, balance_loss=0.5)
        group = Group([one], CPU)
        batch = GroupTraining([one], batches, CPU).placed(0)
        regime = Regime(checkpointing=again)
        group.logits(batch.inputs, group.layout.views(GroupState.first(group).buffers_KP), regime=regime)
        assert len(regime.loads) == one.shape.depth
        found.append(gradients(group, GroupState.first(group), batch, 0, True)[1])
    for plain, computed in zip(*found, strict=True):
        close(computed, plain)


def test_muon_turns_every_expert_by_itself(recipe: Callable[..., Recipe], batches: Batches) -> None:
    """Each expert's step has singular values near one, times sqrt(fan_out/fan_in) and the rate."""
    one = recipe(
        **EXPERTS, optimizer="muon", adamw_lr_ratio=0.1, momentum=0.0, schedule="constant", warmup=0.0
    )
    group = Group([one], CPU)
    state, batch = GroupState.first(group), GroupTraining([one], batches, CPU).placed(0)
    before = {n: x.detach().clone() for n, x in group.layout.views(state.buffers_KP).items()}
    advance(group, state, batch, 0)
    after = group.layout.views(state.buffers_KP)
    rate = rules_by_pattern(one)["blocks.*.mlp.up.weight"].learning_rate
    for module, factor in (("up", math.sqrt(2)), ("down", math.sqrt(0.5))):
        name = f"blocks.0.mlp.{module}.weight"
        step_EOI = ((before[name] - after[name].detach())[0]).unflatten(0, (4, -1))
        values = torch.linalg.svdvals(step_EOI) / (factor * rate)
        assert values[:, :8].min() > 0.5 and values.max() < 1.3


def test_every_optimizer_has_rows_for_experts() -> None:
    assert FACTORS.keys() == OPTIMIZERS.keys()
    for parametrization in BUILT_IN.values():
        for optimizer in OPTIMIZERS:
            assert LIKE.keys() <= parametrization.update(optimizer).keys()


def test_rows_are_those_of_the_paper_where_width_and_granularity_grow_together(
    recipe: Callable[..., Recipe],
) -> None:
    """arXiv:2605.14200, its bottleneck regime with AdamW: experts of one size, as many times as the width."""
    small = {"width": 16, "base_width": 16, "base_depth": 2, "experts": 4, "base_experts": 4}
    of_base = {"base_granularity": 1, "mlp_ratio": 1.0}
    base = rules_by_pattern(recipe(**{**small, **of_base, "granularity": 1}))
    large = rules_by_pattern(recipe(**{**small, **of_base, "width": 64, "granularity": 4, "mlp_ratio": 1.0}))
    expected = {  # of std, learning rate, epsilon, as powers of the ratio of widths
        "router": (-0.5, -1, -1), "up": (-0.5, -1, -1), "down": (0.5, 0, -2),
    }  # fmt: skip
    for module, powers in expected.items():
        one, other = (rules[f"blocks.*.mlp.{module}.weight"] for rules in (base, large))
        assert one.init_std and other.init_std and one.epsilon and other.epsilon
        found = (
            other.init_std / one.init_std,
            other.learning_rate / one.learning_rate,
            other.epsilon / one.epsilon,
        )
        assert found == pytest.approx([4**power for power in powers])


def test_the_by_the_book_table_has_hidden_rows_for_experts() -> None:
    rows = PARAMETRIZATIONS["mup-plain"].update("sgd")
    assert {rows[role].learning_rate for role in LIKE} == {rows[Role.HIDDEN].learning_rate}


def test_a_role_says_the_start_that_its_parameter_has(recipe: Callable[..., Recipe]) -> None:
    """What a handover tells by role: the gain over sqrt(fan_in) is the standard deviation."""
    one = recipe(
        width=32, base_width=16, mlp_ratio=2.0, experts=8, base_experts=4, granularity=4, base_granularity=1
    )
    handover = handover_at(one)
    for parameter in parameters(one.shape):
        if parameter.role in LIKE:
            gain = handover["roles"][parameter.role]["init_gain"]
            held = handover["parameters"][parameter.pattern]["init_std"]
            assert gain / math.sqrt(parameter.fan_in) == pytest.approx(held)
    assert handover["base"] == {"width": 16, "depth": 1, "experts": 4, "granularity": 1}


def test_granularity_keeps_parameters_and_operations_but_the_routers(recipe: Callable[..., Recipe]) -> None:
    whole, cut = (recipe(**EXPERTS, granularity=parts).shape for parts in (1, 4))
    routers = 2 * whole.width * (16 - 4)
    assert parameter_count(cut) - parameter_count(whole) == routers
    dense = recipe(mlp_ratio=4.0).shape  # as many units as a token's experts have
    assert forward_flops_per_token(whole) - forward_flops_per_token(dense) == pytest.approx(
        2 * 2 * whole.width * 4  # the routers of both blocks
    )


def test_a_trial_without_experts_keeps_its_id(recipe: Callable[..., Recipe]) -> None:
    plain = proxy_trial(recipe()).id
    assert plain == proxy_trial(recipe(experts_per_token=3, granularity=2, balance_loss=0.5)).id
    assert plain != proxy_trial(recipe(**EXPERTS)).id


REFUSED = {
    "none of an MLP": ({"mlp": "none", "architecture": "mamba2"}, "experts: there is no MLP"),
    "biases": ({"biases": "all"}, "biases: experts have none"),
    "more than there are": ({"experts_per_token": 5}, "experts_per_token: 5 are more than 4"),
    "one alone": ({"experts_per_token": 1}, "experts_per_token: a single one"),
    "uneven parts": ({"granularity": 3}, "granularity: 3 does not divide the 32 units"),
    "none": ({"experts": 0}, "experts: 0 is not"),
}


@pytest.mark.parametrize(("fields", "told"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_names_the_field(
    fields: dict[str, Any], told: str, recipe: Callable[..., Recipe]
) -> None:
    with pytest.raises(ValueError, match=told):
        recipe(**{**EXPERTS, **fields})


def test_a_dense_trial_is_what_it_is_whatever_the_bases_experts(recipe: Callable[..., Recipe]) -> None:
    plain, beside = recipe(), recipe(base_experts=8, base_granularity=4)
    assert proxy_trial(plain).id == proxy_trial(beside).id
    assert {n: (r.init_std, r.learning_rate) for n, r in rules_by_pattern(plain).items()} == {
        n: (r.init_std, r.learning_rate) for n, r in rules_by_pattern(beside).items()
    }
    recipe(biases="all", base_experts=8)  # which experts would not have


@pytest.mark.parametrize("base", [{}, {"base_experts": 4, "base_granularity": 1}])
def test_an_export_to_more_experts_refers_to_the_proxies(
    base: dict[str, Any], recipe: Callable[..., Recipe]
) -> None:
    frame = rows(recipe, [-5, -5, -5], **EXPERTS, **base)
    (comparison,) = compared(frame)
    handed = export_object(comparison, frame, Target(32, 2, experts=16, granularity=2))
    assert handed["base"] == {"width": 8, "depth": 1, "experts": 4, "granularity": 1}
    out, into = (handed["parameters"][f"blocks.*.mlp.{name}.weight"] for name in ("down", "up"))
    assert out["learning_rate"] / into["learning_rate"] == pytest.approx(2)
    with pytest.raises(ExportError, match="the proxies have no experts"):
        dense = rows(recipe, [-5, -5, -5])
        export_object(compared(dense)[0], dense, Target(32, 2, experts=8))


def test_a_base_needs_a_router(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(ValueError, match="base_experts: 1 is too small"):
        recipe(**EXPERTS, base_experts=1)


def test_a_gpu_computes_all_experts(recipe: Callable[..., Recipe]) -> None:
    """Of the same active units."""
    few, many = (recipe(mlp_ratio=4.0, experts=count, width=64, base_width=16) for count in (4, 32))
    assert forward_flops_per_token(many.shape) < 1.1 * forward_flops_per_token(few.shape)
    all_of_one = 6 * 2 * 2 * 64 * 256 * few.steps * few.batch_size * few.shape.sequence_length
    assert gpu_seconds(many, 1) - gpu_seconds(few, 1) > 0.9 * 28 * all_of_one / GPU_FLOPS
