"""What the proxies compute: causality, options, and agreement with plain modules."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import first_views, logits
from torch import Tensor

from mutransfer.models.architectures.registry import ARCHITECTURES
from mutransfer.models.architectures.stack import Stack
from mutransfer.models.layers.convolution import causal_convolution
from mutransfer.models.layers.embedding import embed
from mutransfer.models.parametrization.rules import forward_multipliers
from mutransfer.models.recipe.initial import initial_draw
from mutransfer.models.recipe.inventory import parameter_count, parameters
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.recipe.role import Parameter, Site
from mutransfer.models.training.loss import loss

CPU = torch.device("cpu")
VARIANTS = [
    {},
    {"mlp": "swiglu", "norm": "layernorm"},
    {"positions": "learned", "tied": True},
    {"positions": "none", "head_dim": None, "heads": 4},
    {"kv_heads": 1, "norm": "none"},
    {"width": 32, "base_width": 16, "queries_per_kv": 2, "norm": "none", "final_norm": "layernorm"},
    {"architecture": "gdn"},
    {"architecture": "gdn", "expand_v": 2, "conv_size": 2, "tied": True},
    {"architecture": "gdn", "head_dim": None, "heads": 4, "norm": "layernorm"},
    {"architecture": "gdn", "values_per_key": 2, "negative_eigenvalues": True, "base_width": 16},
    {"architecture": "gdn", "output_gate": False},
    {"qk_norm": True, "window": 12, "mlp": "swiglu"},
    {"architecture": "mamba2"},
    {"architecture": "mamba2", "mlp": "none"},
    {"architecture": "mamba2", "state_groups": 2, "expand_v": 2, "base_width": 16},
    {"architecture": "mamba2", "head_dim": None, "heads": 4, "state_ratio": 0.5},
    {"architecture": "gdn-hybrid", "attention_every": 2, "base_depth": 2},
    {"architecture": "mamba2-hybrid", "attention_every": 2, "base_depth": 2, "positions": "learned"},
    {"architecture": "parallel-hybrid", "queries_per_kv": 2, "base_width": 16},
    {"learnable_multipliers": "everywhere"},
    {"architecture": "parallel-hybrid", "learnable_multipliers": "all"},
]


def forward(recipe: Recipe, tokens_KBT: Tensor) -> Tensor:
    sites = {site: torch.tensor([value]) for site, value in forward_multipliers(recipe).items()}
    return logits(recipe.shape, first_views([recipe]), sites, tokens_KBT)


def tokens(time: int = 16) -> Tensor:
    return torch.randint(64, (1, 3, time), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("variant", VARIANTS)
def test_is_causal(variant: dict[str, object], recipe: Callable[..., Recipe]) -> None:
    """Changing a token leaves everything before it as it was and changes what comes after."""
    one = recipe(**variant)
    before = tokens()
    after = before.clone()
    after[:, :, 9] = (after[:, :, 9] + 1) % 64
    first, second = forward(one, before), forward(one, after)
    torch.testing.assert_close(first[:, :, :9], second[:, :, :9])
    assert ((first - second)[:, :, 9:].abs().amax(dim=(0, 1, 3)) > 1e-6).all()


def test_without_causality_everything_is_seen(recipe: Callable[..., Recipe]) -> None:
    one = recipe(causal=False)
    before = tokens()
    after = before.clone()
    after[:, :, 9] = (after[:, :, 9] + 1) % 64
    moved = (forward(one, before) - forward(one, after)).abs().amax(dim=(0, 1, 3))
    assert (moved > 1e-6).all()


def test_hybrids_have_attention_where_they_say(recipe: Callable[..., Recipe]) -> None:
    shape = recipe(architecture="gdn-hybrid", attention_every=3, depth=6, base_depth=3).shape
    stack = ARCHITECTURES["gdn-hybrid"]
    assert isinstance(stack, Stack)
    kinds = [stack.mixers_of(shape, block) for block in range(6)]
    assert kinds == [("gdn",), ("gdn",), ("attention",)] * 2
    names = {parameter.name.split(".")[2] for parameter in parameters(shape) if ".2." in parameter.name}
    assert names == {"mixer_norm", "attention", "mlp_norm", "mlp"}


def test_a_parallel_hybrid_adds_its_mixers(recipe: Callable[..., Recipe]) -> None:
    """With one mixer's output at zero, what is left is the other alone."""
    both = recipe(architecture="parallel-hybrid", depth=1)
    alone = recipe(architecture="mamba2", depth=1)
    views = {name: view.detach() for name, view in first_views([both]).items()}
    views["blocks.0.attention.output.weight"] = torch.zeros_like(views["blocks.0.attention.output.weight"])
    renamed = {name.replace(".mamba2.", ".mixer."): view for name, view in views.items()}
    sites = {site: torch.tensor([value]) for site, value in forward_multipliers(both).items()}
    torch.testing.assert_close(
        logits(both.shape, views, sites, tokens()), logits(alone.shape, renamed, sites, tokens())
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gdn-hybrid", "depth": 6}, "attention_every: depth 6 is not a multiple of 4"),
        ({"architecture": "gdn", "causal": False}, "causal: gdn reads from left to right"),
        ({"architecture": "gdn", "values_per_key": 3}, "values_per_key: 2 heads are not a multiple of 3"),
        ({"architecture": "mamba2", "state_groups": 3}, "state_groups: 2 heads are not a multiple of 3"),
        ({"architecture": "mamba2", "state_ratio": 0.01}, "state_ratio: 0.01 leaves no state at width 16"),
        ({"window": 0}, "window: 0 is not a positive integer"),
        ({"tied": True, "outputs": 3}, "tied: the data have 64 kinds of input and 3 of output"),
    ],
)
def test_impossible_shapes_are_refused(
    changes: dict[str, object], message: str, recipe: Callable[..., Recipe]
) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**changes)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_declared_parameter_is_used(variant: dict[str, object], recipe: Callable[..., Recipe]) -> None:
    one = recipe(**variant)
    sites = {site: torch.tensor([value]) for site, value in forward_multipliers(one).items()}
    views = first_views([one])
    assert set(views) == {parameter.name for parameter in parameters(one.shape)}
    out = logits(one.shape, views, sites, tokens())
    gradients = torch.autograd.grad(out.square().sum(), list(views.values()))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    assert parameter_count(one.shape) == sum(view.numel() for view in views.values())


def test_rotary_attention_sees_only_relative_positions(recipe: Callable[..., Recipe]) -> None:
    """With one repeated token all positions look alike, whatever the offset."""
    same = torch.full((1, 1, 16), 5)
    out = forward(recipe(), same)
    torch.testing.assert_close(out[0, 0, 0], out[0, 0, 15], atol=1e-5, rtol=1e-5)


def test_learned_positions_break_that_symmetry(recipe: Callable[..., Recipe]) -> None:
    out = forward(recipe(positions="learned"), torch.full((1, 1, 16), 5))
    assert (out[0, 0, 0] - out[0, 0, 15]).abs().max() > 0.01


def test_readout_multiplier_scales_the_logits(recipe: Callable[..., Recipe]) -> None:
    double = forward(recipe(readout_multiplier=2.0), tokens())
    torch.testing.assert_close(double, 2 * forward(recipe(), tokens()))


def test_each_trial_reads_its_own_table() -> None:
    table = torch.arange(24.0).view(2, 4, 3)
    found = embed(torch.tensor([[[1, 3]], [[0, 2]]]), table)
    torch.testing.assert_close(found[0, 0], table[0, [1, 3]])
    torch.testing.assert_close(found[1, 0], table[1, [0, 2]])


@pytest.mark.parametrize("time", [10, 2])
def test_convolution_is_torchs_depthwise_one(time: int) -> None:
    x_KBTC = torch.randn(2, 3, time, 5, dtype=torch.float64, requires_grad=True)
    kernel_KCS = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    found = causal_convolution(x_KBTC, kernel_KCS)
    padded = (F.pad(x_KBTC[k].transpose(1, 2), (3, 0)) for k in range(2))
    each = (F.conv1d(p, kernel_KCS[k][:, None], groups=5) for k, p in enumerate(padded))
    expected = torch.stack([y.transpose(1, 2) for y in each])
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    ours = torch.autograd.grad((found * weight).sum(), (x_KBTC, kernel_KCS))
    theirs = torch.autograd.grad((expected * weight).sum(), (x_KBTC, kernel_KCS))
    torch.testing.assert_close(ours, theirs)


def test_loss_and_gradient_are_torchs() -> None:
    out = torch.randn(2, 3, 4, 7, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(7, (2, 3, 4))
    found = loss(out, targets)
    expected = torch.stack([F.cross_entropy(out[k].flatten(0, 1), targets[k].flatten()) for k in range(2)])
    torch.testing.assert_close(found, expected)
    weight = torch.tensor([2.0, -3.0], dtype=torch.float64)
    (ours,) = torch.autograd.grad((found * weight).sum(), out)
    (theirs,) = torch.autograd.grad((expected * weight).sum(), out)
    torch.testing.assert_close(ours, theirs)


def test_start_depends_on_seed_name_and_shape_only(recipe: Callable[..., Recipe]) -> None:
    one, other = parameters(recipe().shape)[2:4]
    assert (draw(one) == draw(one)).all()
    assert (draw(one) != draw(one, seed=1)).any()
    assert (draw(one) != draw(other)).any()


def draw(parameter: Parameter, seed: int = 0) -> np.ndarray:
    return initial_draw(parameter.name, parameter.shape, parameter.start, seed)


def test_gate_starts_are_mamba2s(recipe: Callable[..., Recipe]) -> None:
    inventory = {p.pattern: p for p in parameters(recipe(architecture="gdn", width=4096).shape)}
    rate = torch.from_numpy(draw(inventory["blocks.*.mixer.a_log"])).exp()
    dt = F.softplus(torch.from_numpy(draw(inventory["blocks.*.mixer.dt_bias"])))
    assert rate.min() > 0 and 15 < rate.max() <= 16
    assert 0.0009 < dt.min() < 0.002 and 0.08 < dt.max() < 0.1001


def test_logits_of_trials_do_not_mix(recipe: Callable[..., Recipe]) -> None:
    pair = [recipe(architecture="gdn"), recipe(architecture="gdn", seed=1, parametrization="sp")]
    both = [forward_multipliers(one) for one in pair]
    sites = {site: torch.tensor([trial[site] for trial in both]) for site in both[0]}
    shared = tokens().expand(2, -1, -1)
    together = logits(pair[0].shape, first_views(pair), sites, shared)
    torch.testing.assert_close(together[:1], forward(pair[0], tokens()), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together[1:], forward(pair[1], tokens()), atol=1e-5, rtol=1e-5)
    assert Site.STATE in sites


@pytest.mark.parametrize("grouping", [{"kv_heads": 2}, {"queries_per_kv": 2}])
def test_grouped_queries_are_full_attention_with_repeated_keys(
    grouping: dict[str, int], recipe: Callable[..., Recipe]
) -> None:
    """Each of 2 key/value heads serves 2 query heads, in order."""
    grouped, full = recipe(width=32, base_width=32, **grouping), recipe(width=32, base_width=32)
    views = {name: view.detach() for name, view in first_views([grouped]).items()}
    repeated = {
        name: view.view(1, 2, 8, 32).repeat_interleave(2, dim=1).reshape(1, 32, 32)
        if ".key." in name or ".value." in name
        else view
        for name, view in views.items()
    }
    assert sum(view.numel() for view in views.values()) < sum(view.numel() for view in repeated.values())
    sites = {site: torch.tensor([value]) for site, value in forward_multipliers(full).items()}
    torch.testing.assert_close(
        logits(grouped.shape, views, sites, tokens()), logits(full.shape, repeated, sites, tokens())
    )
