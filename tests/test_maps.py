"""The ready maps on the real packages: everything has its role, start and multiplier, and the model trains as
our proxy does, where the two are the same function."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from plain_modules import plain_losses
from test_transfer import large_recipe, plan_of
from torch import nn
from transformers import (
    FalconH1Config,
    FalconH1ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from mutransfer.models.data.batches import Batches
from mutransfer.models.handover.assignment import UnknownParameterError
from mutransfer.models.handover.maps.registry import MAPS
from mutransfer.models.handover.sites import apply_multipliers_
from mutransfer.models.handover.transfer import initialize_, param_groups
from mutransfer.models.handover.verify import verify
from mutransfer.models.recipe.recipe import FIELDS, Recipe
from mutransfer.models.training.loop import train
from mutransfer.orchestrator.handover.export import Target

Build = Callable[[int], nn.Module]
VOCABULARY, DEPTH, TIME, HEAD = 64, 2, 16, 8
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY, "num_hidden_layers": DEPTH, "tie_word_embeddings": False, "bos_token_id": 0,
    "eos_token_id": 0, "pad_token_id": None,
}  # fmt: skip


def rotary(width: int) -> dict[str, Any]:
    return {
        **COMMON, "hidden_size": width, "intermediate_size": 4 * width, "rms_norm_eps": 1e-6,
        "num_attention_heads": width // HEAD, "num_key_value_heads": width // HEAD, "head_dim": HEAD,
    }  # fmt: skip


def llama(width: int) -> nn.Module:
    model: nn.Module = LlamaForCausalLM(LlamaConfig(**rotary(width)))
    return model


def qwen3(width: int) -> nn.Module:
    model: nn.Module = Qwen3ForCausalLM(Qwen3Config(**rotary(width)))
    return model


def gpt2(width: int) -> nn.Module:
    model: nn.Module = GPT2LMHeadModel(GPT2Config(
        **COMMON, n_embd=width, n_head=width // HEAD, n_positions=TIME, activation_function="gelu",
        layer_norm_epsilon=1e-6, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    ))  # fmt: skip
    return model


def neox(width: int) -> nn.Module:
    model: nn.Module = GPTNeoXForCausalLM(GPTNeoXConfig(
        **COMMON, hidden_size=width, intermediate_size=4 * width, num_attention_heads=width // HEAD,
        layer_norm_eps=1e-6, use_parallel_residual=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
    ))  # fmt: skip
    return model


def mamba2(width: int) -> nn.Module:
    model: nn.Module = Mamba2ForCausalLM(Mamba2Config(
        **COMMON, hidden_size=width, expand=1, head_dim=HEAD, num_heads=width // HEAD, state_size=16,
        n_groups=1, chunk_size=16, use_conv_bias=False, layer_norm_epsilon=1e-6, residual_in_fp32=False,
        time_step_limit=(0.0, float("inf")),
    ))  # fmt: skip
    return model


def falcon_h1(width: int) -> nn.Module:
    model: nn.Module = FalconH1ForCausalLM(FalconH1Config(
        **rotary(width), mamba_d_ssm=width, mamba_n_heads=width // HEAD, mamba_d_head=HEAD, mamba_d_state=16,
        mamba_n_groups=1, mamba_chunk_size=16, mamba_rms_norm=True, mamba_norm_before_gate=False,
        mamba_conv_bias=False,
    ))  # fmt: skip
    return model


def qwen3_next(width: int) -> nn.Module:
    model: nn.Module = Qwen3NextForCausalLM(Qwen3NextConfig(
        **rotary(width), linear_num_key_heads=width // HEAD, linear_num_value_heads=width // HEAD,
        linear_key_head_dim=HEAD, linear_value_head_dim=HEAD, mlp_only_layers=[*range(DEPTH)],
        layer_types=["linear_attention", "full_attention"],
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
    ))  # fmt: skip
    return model


def mixtral(width: int) -> nn.Module:
    model: nn.Module = MixtralForCausalLM(MixtralConfig(
        **rotary(width), num_local_experts=8,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    ))  # fmt: skip
    return model


def qwen3_moe(width: int) -> nn.Module:
    model: nn.Module = Qwen3MoeForCausalLM(Qwen3MoeConfig(
        **rotary(width), num_experts=8, num_experts_per_tok=2, norm_topk_prob=True,
        moe_intermediate_size=4 * width,
    ))  # fmt: skip
    return model


@dataclass(frozen=True)
class Case:
    """A model of transformers, how far its losses may be from our proxy's over 20 steps, and what is done to
    it first so that the two are the same function."""

    build: Build
    gap: float = 1e-4
    proxy: Mapping[str, object] = field(default_factory=dict)
    made_like_ours: Callable[[Any], object] = lambda model: None


def without_biases(model: nn.Module) -> None:
    """Those of linear layers, which our proxies do not have, stay zero."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("norm" in name or "ln_" in name or not name.endswith("bias"))


@torch.no_grad()
def by_heads(model: Any) -> None:  # noqa: ANN401 - a model of transformers
    """Queries, keys and values one below the other are laid out head by head."""
    without_biases(model)
    for name, weight_FD in model.named_parameters():
        if not name.endswith(("query_key_value.weight", "linear_qkv.weight")):
            continue
        parts_3HCD = weight_FD.clone().view(3, -1, HEAD, weight_FD.shape[-1])
        weight_FD.copy_(parts_3HCD.transpose(0, 1).reshape(weight_FD.shape))


@torch.no_grad()
def by_experts(model: Any) -> None:  # noqa: ANN401 - a model of transformers
    """Gates and ups of all experts one below the other are laid out expert by expert."""
    for name, weight_EFD in model.named_parameters():
        if name.endswith("gate_up_proj"):
            parts_2EUD = weight_EFD.clone().view(2, len(weight_EFD), -1, weight_EFD.shape[-1])
            weight_EFD.copy_(parts_2EUD.transpose(0, 1).reshape(weight_EFD.shape))


CASES = {
    "llama": Case(llama),
    "qwen3": Case(qwen3),
    "gpt2": Case(gpt2, made_like_ours=without_biases),
    "gpt-neox": Case(neox, made_like_ours=by_heads),
    # The epsilon of B and C is that of x in a fused matrix; smaller, it does not matter.
    "mamba2": Case(mamba2, proxy={"epsilon": 1e-6}),
    "falcon-h1": Case(falcon_h1, proxy={"epsilon": 1e-6}),
    # What loads cost is theirs of all blocks together: left out here.
    "mixtral": Case(mixtral, proxy={"balance_loss": 0.0}, made_like_ours=by_experts),
    "qwen3-moe": Case(qwen3_moe, proxy={"balance_loss": 0.0}, made_like_ours=by_experts),
    # Gate on attention's output, scale of the delta rule's queries, order of rows (docs/conventions.md).
    "qwen3-next": Case(qwen3_next, gap=0.3, proxy={"attention_every": 2, "base_depth": 2}),
}
OPTIONS: dict[str, Any] = {
    "parametrization": "depth-mup", "weight_decay": 0.1, "steps": 20, "epsilon": 1e-3, "seed": 3,
    "embedding_multiplier": 2.0, "attention_multiplier": 1.5, "base_width": 16,
}  # fmt: skip


@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("name", CASES)
def test_a_model_is_handed_over_and_trains_as_the_proxy(
    name: str, width: int, recipe: Callable[..., Recipe], batches: Batches
) -> None:
    trains_as_the_proxy(name, CASES[name], width, recipe, batches)


def trains_as_the_proxy(
    name: str, case: Case, width: int, recipe: Callable[..., Recipe], batches: Batches
) -> None:
    ready = MAPS[name]
    changes = {**OPTIONS, **ready.proxy, **case.proxy}
    handover = plan_of(recipe, Target(width, DEPTH), **changes)
    model = case.build(width)
    sites = ready.sites_in(handover)
    initialize_(model, handover, 3, ready.roles)
    apply_multipliers_(model, handover, sites)
    optimizer = torch.optim.AdamW(param_groups(model, handover, ready.roles))
    tokens_BT = torch.arange(2 * TIME).view(2, TIME)
    verify(model, handover, ready.roles, optimizer, sites, lambda: model(tokens_BT))

    case.made_like_ours(model)
    large = large_recipe(recipe, handover, **changes)
    ours = [point.train_loss for point in train([large], batches, torch.device("cpu"))[0].curve]
    theirs = plain_losses(model, optimizer, large, batches)
    gap = max(abs(one - other) for one, other in zip(ours, theirs, strict=True))
    print(name, width, f"{gap:.2g}", ours[-1], theirs[-1])
    assert gap < case.gap
    assert theirs[-1] < theirs[0]


@pytest.mark.parametrize("name", MAPS)
def test_the_page_names_every_difference(name: str) -> None:
    page = (Path(__file__).parent.parent / "docs/conventions.md").read_text()
    ready = MAPS[name]
    section = page.partition(f"## `{name}`: {ready.of}\n")[2].partition("\n## ")[0]
    assert section
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert rows == [f"| {d.what} | {d.ours} | {d.theirs} | {d.remedy} |" for d in ready.differences]
    assert set(ready.proxy) <= set(FIELDS)


class NanoGPT(nn.Module):
    """The parameters of nanoGPT's GPT by name and shape (model.py of November 2025), with biases."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = {
            "attn": {"c_attn": nn.Linear(width, 3 * width), "c_proj": nn.Linear(width, width)},
            "mlp": {"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)},
        }
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(VOCABULARY, width), "wpe": nn.Embedding(TIME, width), "drop": nn.Dropout(0),
            "h": nn.ModuleList(
                nn.ModuleDict({
                    "ln_1": nn.LayerNorm(width), "ln_2": nn.LayerNorm(width),
                    **{name: nn.ModuleDict(copy.deepcopy(held)) for name, held in layers.items()},
                })
                for _ in range(DEPTH)
            ),
            "ln_f": nn.LayerNorm(width),
        })  # fmt: skip
        self.lm_head = nn.Linear(width, VOCABULARY, bias=False)
        self.transformer["wte"].weight = self.lm_head.weight


def test_nanogpt_by_its_recorded_names(recipe: Callable[..., Recipe]) -> None:
    """Tied as it is; a multiplier on the logits goes onto the queries in c_attn."""
    ready = MAPS["nanogpt"]
    changes = {**OPTIONS, **ready.proxy, "tied": True}
    handover, model = plan_of(recipe, Target(32, DEPTH), **changes), NanoGPT(32)
    initialize_(model, handover, 0, ready.roles)
    groups = param_groups(model, handover, ready.roles)
    assert sum(len(group["params"]) for group in groups) == len([*model.parameters()])
    apply_multipliers_(model, handover, ready.sites_in(handover))
    x_BD = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    c_attn = model.get_submodule("transformer.h.1.attn.c_attn")
    query_BD, rest_BF = c_attn(x_BD)[:, :32], c_attn(x_BD)[:, 32:]
    plain_BF = F.linear(x_BD, c_attn.get_parameter("weight"), c_attn.get_parameter("bias"))
    torch.testing.assert_close(
        query_BD, 1.5 * plain_BF[:, :32]
    )  # the multiplier; 1 / sqrt(head_dim) is there
    torch.testing.assert_close(rest_BF, plain_BF[:, 32:])
    untied = plan_of(recipe, Target(32, DEPTH), **{**changes, "tied": False})
    with pytest.raises(
        UnknownParameterError, match=r"the handover has readout\.weight|are one, and the handover"
    ):
        initialize_(NanoGPT(32), untied, 0, ready.roles)


def test_what_the_model_has_not_is_refused(recipe: Callable[..., Recipe]) -> None:
    """A handover of proxies with an MLP, or with queries that are normed, on a model without."""
    mamba = plan_of(recipe, Target(32, DEPTH), **OPTIONS, **{**MAPS["mamba2"].proxy, "mlp": "gelu"})
    with pytest.raises(
        UnknownParameterError, match=r"has blocks\.\*\.mlp_norm\.gain, .* of another architecture"
    ):
        initialize_(mamba2(32), mamba, 0, MAPS["mamba2"].roles)
    normed = plan_of(recipe, Target(32, DEPTH), **OPTIONS, **MAPS["qwen3"].proxy)
    with pytest.raises(UnknownParameterError, match=r"query_norm\.gain, .* and the model nothing like it"):
        param_groups(llama(32), normed, MAPS["llama"].roles)


def test_a_norm_that_the_model_may_have_is_missed(recipe: Callable[..., Recipe]) -> None:
    """Optional in the map, and in the handover, but not in this model."""
    handover = plan_of(recipe, Target(32, DEPTH), **OPTIONS, **MAPS["falcon-h1"].proxy)
    config: Any = falcon_h1(32).config
    config.mamba_rms_norm = False
    with pytest.raises(
        UnknownParameterError, match=r"has blocks\.\*\.mamba2\.norm\.gain, and the model nothing"
    ):
        initialize_(FalconH1ForCausalLM(config), handover, 0, MAPS["falcon-h1"].roles)


def test_a_handover_by_roles_takes_the_maps_as_well(recipe: Callable[..., Recipe]) -> None:
    """That of a program, which names no parameters: decays and kernels keep the start of the model."""
    handover = plan_of(recipe, Target(32, DEPTH), **OPTIONS, **MAPS["mamba2"].proxy)
    handover["parameters"] = {}
    model = mamba2(32)
    before = model.get_parameter("backbone.layers.1.mixer.A_log").clone()
    initialize_(model, handover, 0, MAPS["mamba2"].roles)
    assert torch.equal(model.get_parameter("backbone.layers.1.mixer.A_log"), before)
    verify(
        model,
        handover,
        MAPS["mamba2"].roles,
        torch.optim.AdamW(param_groups(model, handover, MAPS["mamba2"].roles)),
    )
