"""Roles that follow from a model at two widths: of transformers' own models, and what stays open in them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_assignment import llama
from test_transfer import plan_of
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from mutransfer.models.handover.assignment import Stored
from mutransfer.models.handover.roles import OpenRolesError, find_roles
from mutransfer.models.handover.transfer import initialize_, param_groups
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.handover.export import Target

VOCABULARY = 96


def qwen3(width: int) -> nn.Module:
    model: nn.Module = Qwen3ForCausalLM(Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=width // 16, num_key_value_heads=width // 16, head_dim=16,
        tie_word_embeddings=False,
    ))  # fmt: skip
    return model


def gpt2(width: int) -> nn.Module:
    model: nn.Module = GPT2LMHeadModel(GPT2Config(
        vocab_size=VOCABULARY, n_embd=width, n_layer=2, n_head=width // 16, n_positions=16,
        tie_word_embeddings=False,
    ))  # fmt: skip
    return model


def neox(width: int) -> nn.Module:
    model: nn.Module = GPTNeoXForCausalLM(GPTNeoXConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=2,
        num_attention_heads=width // 16, tie_word_embeddings=False,
    ))  # fmt: skip
    return model


def mamba2(width: int) -> nn.Module:
    model: nn.Module = Mamba2ForCausalLM(Mamba2Config(
        vocab_size=VOCABULARY, hidden_size=width, num_hidden_layers=2, head_dim=16, num_heads=width // 8,
        state_size=16, n_groups=1, tie_word_embeddings=False,
    ))  # fmt: skip
    return model


def qwen_next(width: int) -> nn.Module:
    model: nn.Module = Qwen3NextForCausalLM(Qwen3NextConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=width // 16, num_key_value_heads=width // 16, head_dim=16,
        linear_num_key_heads=width // 16, linear_num_value_heads=width // 16, linear_key_head_dim=16,
        linear_value_head_dim=16, layer_types=["linear_attention", "full_attention"], mlp_only_layers=[0, 1],
        tie_word_embeddings=False,
    ))  # fmt: skip
    return model


@pytest.mark.parametrize("build", [llama, qwen3, gpt2, neox], ids=lambda build: build.__name__)
def test_models_of_matrices_and_gains_need_nothing_told(
    build: Callable[[int], nn.Module], recipe: Callable[..., Recipe]
) -> None:
    """And the handover takes them: every parameter has a group and a start."""
    roles = find_roles(build, 32, 64)
    counted = {role: sum(one == role for one in roles.values()) for role in ("input", "output", "vector")}
    assert counted["input"] >= 1 and counted["output"] == 1 and counted["vector"] >= 1
    assert sum(role == "hidden" for role in roles.values()) >= 4
    handover, model = plan_of(recipe, Target(64, 2), qk_norm=build is qwen3), build(64)
    initialize_(model, handover, 0, roles)
    groups = param_groups(model, handover, roles)
    assert sum(len(group["params"]) for group in groups) == len([*model.parameters()])


def test_the_roles_of_a_llama() -> None:
    block = "model.layers.*"
    hidden = [f"self_attn.{name}_proj" for name in "qkvo"] + [
        f"mlp.{name}_proj" for name in ("gate", "up", "down")
    ]
    assert find_roles(llama, 32, 64) == {
        "model.embed_tokens.weight": "input", "lm_head.weight": "output", "model.norm.weight": "vector",
        **{f"{block}.{name}.weight": "hidden" for name in hidden},
        f"{block}.input_layernorm.weight": "hidden vector",
        f"{block}.post_attention_layernorm.weight": "hidden vector",
    }  # fmt: skip


def test_a_gain_of_every_head_does_not_grow() -> None:
    roles = find_roles(qwen3, 32, 64)
    assert roles["model.layers.*.self_attn.q_norm.weight"] == "hidden scalar"


@pytest.mark.parametrize(
    ("build", "left"),
    [(mamba2, {"A_log", "dt_bias", "conv1d.weight"}), (qwen_next, {"A_log", "dt_bias", "conv1d.weight"})],
    ids=["mamba2", "qwen3-next"],
)
def test_what_two_widths_do_not_tell_is_asked_for(build: Callable[[int], nn.Module], left: set[str]) -> None:
    """Decays, time steps and kernels; once they are told, all is."""
    with pytest.raises(OpenRolesError) as caught:
        find_roles(build, 64, 128)
    lines = str(caught.value).splitlines()
    assert all("give its role in `told`" in line for line in lines)
    patterns = [line.partition(":")[0] for line in lines]
    assert {next(name for name in left if pattern.endswith(name)) for pattern in patterns} == left
    told: dict[str, Any] = {pattern: Stored("hidden vector", kept=True) for pattern in patterns}
    roles = find_roles(build, 64, 128, told)
    assert {*told} < {*roles}
    if build is qwen_next:
        norm = roles["model.layers.*.input_layernorm.weight"]
        assert isinstance(norm, Stored) and norm.zero_centred and norm.role == "hidden vector"


def test_a_builder_that_ignores_its_width_is_told(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(OpenRolesError, match=r"lm_head\.weight: \[96, 64\] becomes \[96, 64\] in a Linear"):
        find_roles(lambda width: llama(64), 32, 64)
    assert torch.get_default_device() == torch.device("cpu")


def head(*layers: Callable[[int], nn.Module]) -> Callable[[int], nn.Module]:
    return lambda width: nn.ModuleDict({"head": nn.Sequential(*(layer(width) for layer in layers))})


def test_layers_of_a_list_that_differ_are_asked_for_by_name() -> None:
    """The last reads out. What is told of one is not told of the others."""
    deep = head(lambda w: nn.Linear(w, w), lambda w: nn.GELU(), lambda w: nn.Linear(w, 7, bias=False))
    with pytest.raises(OpenRolesError, match=r"head\.2\.weight: \[7, 16\] becomes"):
        find_roles(deep, 16, 32)
    told: dict[str, Any] = {"head.2.*": "output", "head.0.weight": "hidden"}
    assert find_roles(deep, 16, 32, told) == {**told, "head.*.bias": "hidden vector"}
    with pytest.raises(OpenRolesError, match=r"head\.\*\.weight: \[7, 16\] becomes"):
        find_roles(head(lambda w: nn.Dropout(), lambda w: nn.Linear(w, 7, bias=False)), 16, 32)


def test_what_starts_at_neither_zero_nor_one_is_asked_for() -> None:
    """A LayerScale, a token of its own: `initialize_` would start them at one."""

    def build(width: int) -> nn.Module:
        model = nn.Module()
        model.token = nn.Parameter(0.02 * torch.randn(width))
        scaled = nn.Module()
        scaled.gamma, scaled.gain = nn.Parameter(torch.full((width,), 1e-5)), nn.Parameter(torch.ones(width))
        model.blocks = nn.ModuleList([scaled])
        return model

    with pytest.raises(OpenRolesError) as caught:
        find_roles(build, 16, 32)
    told = str(caught.value)
    assert "blocks.*.gamma: would be hidden vector, and starts at 1e-05, not at zero or one" in told
    assert "Stored('hidden vector', kept=True) keeps" in told
    assert "token: would be vector, and starts at -" in told and "gain" not in told


def test_gains_that_start_unlike_in_their_blocks_are_asked_for() -> None:
    def build(width: int) -> nn.Module:
        model = nn.Module()
        model.blocks = nn.ModuleList(nn.RMSNorm(width) for _ in range(3))
        for layer, norm in enumerate(model.blocks):
            nn.init.constant_(norm.get_parameter("weight"), (layer + 1) ** -0.5)
        return model

    with pytest.raises(OpenRolesError, match="hidden vector, and does not start alike in all blocks"):
        find_roles(build, 16, 32)


def test_what_grows_unlike_the_width_is_asked_for() -> None:
    """Queries of all heads above the keys and values of one."""
    with pytest.raises(OpenRolesError, match=r"blocks\.\*\.qkv\.weight: \[96, 64\] becomes \[160, 128\]"):
        find_roles(
            lambda width: nn.ModuleDict({
                "blocks": nn.ModuleList([nn.ModuleDict({"qkv": nn.Linear(width, width + 32, bias=False)})])
            }), 64, 128,
        )  # fmt: skip


def test_what_is_told_is_by_any_pattern() -> None:
    def plain(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(5, width), nn.Linear(width, width), nn.Linear(width, 7))

    told: dict[str, Any] = {"0.weight": "input", "2.weight": "output", "[012].bias": "vector"}
    assert find_roles(plain, 16, 32, told) == {**told, "1.weight": "hidden"}


def test_a_lazy_module_is_asked_for() -> None:
    with pytest.raises(OpenRolesError, match=r"weight: has no shape yet; have `build` run the model once"):
        find_roles(lambda width: nn.LazyLinear(width, bias=False), 16, 32)
