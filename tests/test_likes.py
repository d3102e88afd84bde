"""`like:` in a sweep file: every such proxy is transformers' model of that name, in logits and gradients."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import logits
from test_choice import compared, rows
from test_formats import run
from torch import Tensor, nn
from transformers import (
    FalconH1Config,
    FalconH1ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
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
    Olmo2Config,
    Olmo2ForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from mutransfer.models.handover.assignment import Stored, assigned
from mutransfer.models.handover.maps.gpt import NANOGPT, matrices
from mutransfer.models.handover.maps.llama import attention, mlp
from mutransfer.models.handover.maps.model_map import ModelMap, gain, head_gain, outside
from mutransfer.models.handover.maps.qwen3_next import about_one
from mutransfer.models.handover.maps.registry import MAPS
from mutransfer.models.handover.sites import apply_multipliers_
from mutransfer.models.handover.transfer import initialize_
from mutransfer.models.handover.values import handover_at
from mutransfer.models.parametrization.rules import forward_multipliers
from mutransfer.models.recipe.likes import LIKES
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.layout import Layout
from mutransfer.orchestrator.handover.export import Target, export_object
from mutransfer.orchestrator.handover.formats.text import export_text

VOCABULARY, WIDTH, DEPTH, TIME, HEAD = 64, 64, 4, 16, 8
TOLERANCE = 1e-6
"""Of the largest entry, in float64 but for tables of angles and epsilons; most are within 1e-8."""
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY, "num_hidden_layers": DEPTH, "bos_token_id": 0, "eos_token_id": 0,
    "pad_token_id": None,
}  # fmt: skip


def rotary(units: float, base: float, share: float = 1.0, **further: object) -> dict[str, Any]:
    return {
        **COMMON, "hidden_size": WIDTH, "intermediate_size": int(units * WIDTH), "head_dim": HEAD,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": base, "partial_rotary_factor": share},
        **further,
    }  # fmt: skip


def mamba2(groups: int) -> nn.Module:
    model: nn.Module = Mamba2ForCausalLM(Mamba2Config(
        **COMMON, hidden_size=WIDTH, expand=2, head_dim=HEAD, num_heads=16, state_size=128, n_groups=groups,
        chunk_size=16, layer_norm_epsilon=1e-5, residual_in_fp32=False, tie_word_embeddings=True,
        time_step_limit=(0.0, float("inf")),
    ))  # fmt: skip
    return model


def falcon_h1(**norm: bool) -> nn.Module:
    model: nn.Module = FalconH1ForCausalLM(FalconH1Config(
        **rotary(2, 1e11), num_attention_heads=4, num_key_value_heads=1, rms_norm_eps=1e-5, mamba_d_ssm=96,
        mamba_n_heads=12, mamba_d_head=HEAD, mamba_d_state=128, mamba_n_groups=1, mamba_chunk_size=16,
        key_multiplier=0.390625,
        attention_out_multiplier=0.9375, mlp_multipliers=[0.8838834764831844, 0.5859375],
        ssm_in_multiplier=1.25, ssm_out_multiplier=0.23570226039551587,
        ssm_multipliers=[0.3535533905932738, 0.25, 0.3535533905932738, 0.5, 0.3535533905932738], **norm,
    ))  # fmt: skip
    return model


MODELS: Mapping[str, Callable[[], nn.Module]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(
        **rotary(3.5, 5e5), num_attention_heads=8, num_key_value_heads=2, rms_norm_eps=1e-5,
    )),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(
        **rotary(3, 1e6, tie_word_embeddings=True), num_attention_heads=16, num_key_value_heads=8,
        rms_norm_eps=1e-6,
    )),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(
        **rotary(3.5, 1e6), num_attention_heads=8, num_key_value_heads=2, rms_norm_eps=1e-5,
        num_local_experts=8, num_experts_per_tok=2, experts_implementation="eager",
    )),
    "qwen3-moe": lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(
        **rotary(3, 1e6), num_attention_heads=16, num_key_value_heads=2, rms_norm_eps=1e-6,
        num_experts=128, num_experts_per_tok=8, moe_intermediate_size=24, norm_topk_prob=True,
        experts_implementation="eager",
    )),
    "qwen3-next": lambda: Qwen3NextForCausalLM(Qwen3NextConfig(
        **rotary(2.5, 1e7, 0.25), num_attention_heads=16, num_key_value_heads=2, rms_norm_eps=1e-6,
        linear_num_key_heads=8, linear_num_value_heads=16, linear_key_head_dim=HEAD,
        linear_value_head_dim=HEAD, mlp_only_layers=[*range(DEPTH)],
        layer_types=["linear_attention"] * 3 + ["full_attention"],
    )),
    "mamba2": lambda: mamba2(groups=1),
    "falcon-h1": lambda: falcon_h1(mamba_rms_norm=False),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(
        **COMMON, n_embd=WIDTH, n_head=WIDTH // HEAD, n_positions=TIME, resid_pdrop=0, embd_pdrop=0,
        attn_pdrop=0,
    )),
    "gpt-neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(
        **rotary(4, 1e4, 0.25), num_attention_heads=WIDTH // HEAD,
    )),
}  # fmt: skip


def interleaved(rows: Tensor, groups: int, sizes: list[int]) -> Tensor:
    """Parts one below the other, laid out group by group: each group has its share of every part."""
    parts = rows.split([groups * size for size in sizes])
    return torch.cat([part.unflatten(0, (groups, -1)) for part in parts], dim=1).flatten(0, 1)


LAID_OUT: Mapping[str, Callable[[Tensor], Tensor]] = {
    "query_key_value.weight": lambda rows: interleaved(rows, WIDTH // HEAD, [HEAD] * 3),
    "query_key_value.bias": lambda rows: interleaved(rows, WIDTH // HEAD, [HEAD] * 3),
    "self_attn.q_proj.weight": lambda rows: interleaved(rows, 16, [HEAD] * 2) if len(rows) == 256 else rows,
    "in_proj_qkvz.weight": lambda rows: interleaved(rows, 8, [HEAD, HEAD, 2 * HEAD, 2 * HEAD]),
    "experts.gate_up_proj": lambda both: (
        both.reshape(2, len(both), -1, WIDTH).transpose(0, 1).reshape(both.shape)
    ),
    "in_proj_ba.weight": lambda rows: interleaved(rows, 8, [2, 2]),
}
"""Where theirs has the same rows in another order."""


def laid_out(name: str, rows: Tensor) -> Tensor:
    change = next((LAID_OUT[end] for end in LAID_OUT if name.endswith(end)), None)
    return rows if change is None else change(rows)


@pytest.fixture
def wholly_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """What transformers does in float32 whatever the model's precision."""
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(Tensor, "float", Tensor.double)


SIZES = {"width": WIDTH, "depth": DEPTH, "head_dim": HEAD, "sequence_length": TIME, "parametrization": "sp"}


@pytest.mark.usefixtures("wholly_in_float64")
@pytest.mark.parametrize("init", ["fan-in", "gpt2"])
@pytest.mark.parametrize("name", LIKES)
def test_a_proxy_is_the_model_that_it_is_like(name: str, init: str, recipe: Callable[..., Recipe]) -> None:
    is_the_model(recipe(**{**LIKES[name], **SIZES}, init=init), MODELS[name](), MAPS[name])


@pytest.mark.usefixtures("wholly_in_float64")
def test_groups_of_a_state_space_are_normed_apart_as_theirs(recipe: Callable[..., Recipe]) -> None:
    is_the_model(recipe(**{**LIKES["mamba2"], **SIZES}, state_groups=4), mamba2(groups=4), MAPS["mamba2"])


@pytest.mark.usefixtures("wholly_in_float64")
@pytest.mark.parametrize("before", [True, False])
def test_the_norm_of_a_state_is_before_its_gate_or_behind(
    before: bool, recipe: Callable[..., Recipe]
) -> None:
    one = recipe(**{**LIKES["falcon-h1"], **SIZES, "state_norm": True}, norm_before_gate=before)
    is_the_model(one, falcon_h1(mamba_rms_norm=True, mamba_norm_before_gate=before), MAPS["falcon-h1"])


NORMED: Mapping[str, Any] = {
    **COMMON, "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 1,
    "num_key_value_heads": 1, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.mark.usefixtures("wholly_in_float64")
def test_norms_behind_the_branches_are_those_of_olmo2(recipe: Callable[..., Recipe]) -> None:
    """One head, since its norms of queries and keys go over all heads."""
    one = recipe(
        **{**SIZES, "head_dim": WIDTH}, mlp="swiglu", qk_norm=True, norm_place="post", norm_eps=1e-5,
        rotary_base=5e5,
    )  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 5e5}
    is_the_model(one, Olmo2ForCausalLM(Olmo2Config(**NORMED, rope_parameters=rope)), OLMO2)


@pytest.mark.usefixtures("wholly_in_float64")
def test_norms_before_and_behind_the_branches_are_those_of_gemma2(recipe: Callable[..., Recipe]) -> None:
    """Its capping of logits and the constant on its embedding are left out."""
    one = recipe(**{**SIZES, "head_dim": WIDTH}, mlp="geglu", gelu="tanh", norm_place="sandwich")
    configuration = Gemma2Config(
        **NORMED, head_dim=WIDTH, query_pre_attn_scalar=WIDTH,
        attn_logit_softcapping=None, final_logit_softcapping=None, layer_types=["full_attention"] * DEPTH,
    )  # fmt: skip
    model = Gemma2ForCausalLM(configuration)
    model.model.embed_tokens.embed_scale.fill_(1.0)
    is_the_model(one, model, GEMMA2)


@pytest.mark.usefixtures("wholly_in_float64")
def test_norms_of_the_sums_are_those_of_gpt1(recipe: Callable[..., Recipe]) -> None:
    """The embeddings have no norm, and the last block's is the final one."""
    one = recipe(**{**LIKES["gpt2"], **SIZES}, norm_place="sum", final_norm="none")
    model = OpenAIGPTLMHeadModel(OpenAIGPTConfig(
        vocab_size=VOCABULARY, n_positions=TIME, n_embd=WIDTH, n_layer=DEPTH, n_head=WIDTH // HEAD,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, layer_norm_epsilon=1e-5,
    ))  # fmt: skip
    is_the_model(one, model, GPT1)


GPT1 = replace(
    NANOGPT,
    roles={
        "transformer.tokens_embed.weight": Stored("input", like="embedding.weight"),
        "lm_head.weight": Stored("output", like="readout.weight"),
        "transformer.positions_embed.weight": Stored("input", like="positions.weight"),
        **{
            f"transformer.h.*.{theirs}.{kind}": gain(f"blocks.*.{ours}.{own}", optional=kind == "bias")
            for theirs, ours in (("ln_1", "mixer_post_norm"), ("ln_2", "mlp_post_norm"))
            for kind, own in (("weight", "gain"), ("bias", "bias"))
        },
        **matrices("transformer.h.*", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
    },
)
BLOCK = "model.layers.*"
OLMO2 = replace(
    MAPS["llama"],
    roles={
        **outside("model.embed_tokens.weight", "model.norm.weight"),
        **attention(BLOCK, "mixer"),
        **mlp(BLOCK),
        f"{BLOCK}.self_attn.q_norm.weight": head_gain("blocks.*.mixer.query_norm.gain"),
        f"{BLOCK}.self_attn.k_norm.weight": head_gain("blocks.*.mixer.key_norm.gain"),
        f"{BLOCK}.post_attention_layernorm.weight": gain("blocks.*.mixer_post_norm.gain"),
        f"{BLOCK}.post_feedforward_layernorm.weight": gain("blocks.*.mlp_post_norm.gain"),
    },
)
GEMMA2 = replace(
    MAPS["llama"],
    roles={
        **outside("model.embed_tokens.weight", "model.norm.weight"),
        "model.norm.weight": Stored("vector", like="final_norm.gain", zero_centred=True),
        **attention(BLOCK, "mixer"),
        **mlp(BLOCK),
        **{
            f"{BLOCK}.{theirs}_layernorm.weight": about_one(gain(f"blocks.*.{ours}.gain"))
            for theirs, ours in (
                ("input", "mixer_norm"),
                ("post_attention", "mixer_post_norm"),
                ("pre_feedforward", "mlp_norm"),
                ("post_feedforward", "mlp_post_norm"),
            )
        },
    },
)


def is_the_model(one: Recipe, model: nn.Module, ready: ModelMap) -> None:
    """Logits and the gradient of every parameter, from the proxy's first values."""
    model = model.double()
    handover = handover_at(one)
    initialize_(model, handover, one.seed, ready.roles)
    entries = [*assigned(model, handover, ready.roles)]
    assert all(each.entry["start"] != "kept" for each in entries)
    assert all("pattern" in part for each in entries for part, _ in each.parts)
    apply_multipliers_(model, handover, ready.sites_in(handover))
    with torch.no_grad():
        for each in entries:
            each.tensor.copy_(laid_out(each.name, each.tensor))

    layout = Layout([one], torch.device("cpu"))
    ours = {n: x.detach().double().requires_grad_() for n, x in layout.views(layout.first_values()).items()}
    tokens_BT = torch.randint(VOCABULARY, (2, TIME), generator=torch.Generator().manual_seed(0))
    found_BTV = logits(one.shape, ours, forward_multipliers(one), tokens_BT[None])[0]
    expected_BTV = model(tokens_BT).logits
    close(found_BTV, expected_BTV)
    F.cross_entropy(found_BTV.flatten(0, 1), tokens_BT.roll(-1, 1).flatten()).backward()
    F.cross_entropy(expected_BTV.flatten(0, 1), tokens_BT.roll(-1, 1).flatten()).backward()
    for each in entries:
        assert each.tensor.grad is not None
        own = torch.cat([gradient_of(ours[drawn]) for _, drawn in each.parts]).view(each.shape)
        close(laid_out(each.name, own.T if each.stored.transposed else own), each.tensor.grad, each.name)


REORDERED = ("qwen3-next", "gpt-neox", "mixtral", "qwen3-moe")


def test_an_export_of_a_state_with_a_ratio_of_its_own_builds(recipe: Callable[..., Recipe]) -> None:
    changes = {**MAPS["mamba2"].proxy, "state_head_ratio": 2.0, "epsilon": 1e-6}
    frame = rows(recipe, [-5, -5, -5], **changes)
    (comparison,) = compared(frame)
    text = export_text(export_object(comparison, frame, Target(32, 2)), "huggingface", partial=True)
    model = run(text)["build_model"](seed=0)
    assert (model.config.expand, model.config.num_heads) == (2, 8)


@pytest.mark.parametrize(
    ("name", "further"),
    [
        *((name, {}) for name in LIKES if name not in REORDERED),
        ("falcon-h1", {"state_norm": True, "norm_before_gate": True}),
    ],
)
def test_an_export_builds_the_model_that_the_proxies_are_like(
    name: str, further: Mapping[str, bool], recipe: Callable[..., Recipe]
) -> None:
    """Its configuration says all that the proxies have; those that order their rows differently aside."""
    sizes = {**SIZES, "base_width": WIDTH, "init": "gpt2", **further}
    changes = {**LIKES[name], **{n: value for n, value in sizes.items() if n != "width"}}
    frame = rows(lambda **at: recipe(**{**at, "width": WIDTH}), [-5], **changes)
    (comparison,) = compared(frame)
    handed = export_object(comparison, frame, Target(WIDTH, DEPTH))
    model = run(export_text(handed, "huggingface", partial=True))["build_model"](seed=0)
    one = recipe(**changes, width=WIDTH)
    layout = Layout([one], torch.device("cpu"))
    ours, sites = layout.views(layout.first_values()), forward_multipliers(one)
    tokens_BT = torch.randint(VOCABULARY, (2, TIME), generator=torch.Generator().manual_seed(0))
    found_BTV = logits(one.shape, ours, sites, tokens_BT[None])[0].detach()
    gap = (found_BTV - model(tokens_BT).logits.detach()).abs().max() / found_BTV.abs().max()
    assert gap < 1e-5  # float32


def gradient_of(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad[0]


def close(found: Tensor, expected: Tensor, name: str = "logits") -> None:
    gap = float((found - expected).detach().abs().max() / expected.detach().abs().max())
    assert gap < TOLERANCE, (name, gap)
