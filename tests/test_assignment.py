"""What the loader is not sure of it refuses: models of transformers, which store parameters in many ways."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_transfer import plan_of
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from mutransfer.models.handover.assignment import Roles, Stored, UnknownParameterError
from mutransfer.models.handover.names import block_count
from mutransfer.models.handover.transfer import initialize_, param_groups
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.handover.export import Target

Build = Callable[..., Recipe]
LLAMA: Roles = {
    "*embed_tokens.weight": "input", "lm_head.weight": "output", "model.norm.weight": "vector",
    "*layers.*_proj.weight": "hidden", "*layers.*norm.weight": "hidden vector",
}  # fmt: skip
GPT2: Roles = {
    "*wte.weight": "input", "*wpe.weight": "input", "lm_head.weight": "output", "*ln_f.*": "vector",
    "*.h.*.ln_?.*": "hidden vector", "*.h.*.bias": "hidden vector", "*.c_*.weight": "hidden",
}  # fmt: skip


def llama(width: int, depth: int = 2, tied: bool = False, **more: Any) -> LlamaForCausalLM:  # noqa: ANN401
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=96, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=depth,
        num_attention_heads=width // 8, tie_word_embeddings=tied, **more,
    ))  # fmt: skip


def refused(model: nn.Module, handover: dict[str, Any], roles: Roles, told: str) -> None:
    before = [tensor.detach().clone() for tensor in model.parameters()]
    for act in (lambda: initialize_(model, handover, 0, roles), lambda: param_groups(model, handover, roles)):
        with pytest.raises(UnknownParameterError, match=told):
            act()
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_another_width_or_depth_is_refused_by_role(recipe: Build) -> None:
    """A handover for 64 x 2 on a model of 128 x 4."""
    handover = plan_of(recipe, Target(64, 2))
    initialize_(llama(64), handover, 0, LLAMA)
    refused(llama(128), handover, LLAMA, r"embed_tokens\.weight: is \[96, 128\], of no model of width 64")
    refused(llama(64, 4), handover, LLAMA, "has 4 blocks by its parameters' names, and the handover is for 2")
    refused(llama(64, 1), handover, LLAMA, "has 1 blocks")
    stages = nn.Sequential(*(nn.ModuleDict({"blocks": llama(64).model.layers}) for _ in range(2)))
    refused(stages, handover, {"*norm*": "hidden vector", "*proj*": "hidden"}, "has 4 blocks")


def test_lists_inside_of_blocks_are_no_stages() -> None:
    """T5's layers of a block, a block of two sublayers, experts."""

    def counted(*names: str) -> int | None:
        return block_count([(name, [name]) for name in names])

    assert counted(*(f"encoder.block.{i}.layer.{j}.{kind}.weight" for i in range(3)
                     for j, kind in enumerate(("SelfAttention.q", "DenseReluDense.wi")))) == 3  # fmt: skip
    assert counted(*(f"blocks.{i}.sublayers.{j}.fn.weight" for i in range(3) for j in range(2))) == 3
    assert counted(*(f"blocks.{i}.blocks.{j}.{'ab'[j]}.weight" for i in range(3) for j in range(2))) == 3
    assert counted(*(f"m.stages.{i}.blocks.{j}.q.weight" for i in range(2) for j in range(3))) == 6
    assert counted("layers.0.experts.0.w.weight", "layers.0.q.weight", "layers.1.q.weight") == 2


def test_a_role_whose_parameters_are_apart_says_no_rate(recipe: Build) -> None:
    """Gains that are frozen, and a readout with another ratio of rate and decay, are told by name."""
    handover = plan_of(recipe, Target(64, 2), frozen_gains="all")
    refused(
        llama(64),
        handover,
        LLAMA,
        r"norm\.weight: the role .*vector does not .* \(frozen_gains all\); map it",
    )
    names: Roles = {
        **LLAMA, "model.norm.weight": "final_norm.gain",
        "*input_layernorm.weight": "blocks.*.mixer_norm.gain",
        "*post_attention_layernorm.weight": "blocks.*.mlp_norm.gain",
    }  # fmt: skip
    by_name = {name: role for name, role in names.items() if name != "*layers.*norm.weight"}
    assert 0.0 in {group["lr"] for group in param_groups(llama(64), handover, by_name)}
    moved = plan_of(recipe, Target(64, 2), norm_scale=2.0, weight_decay=0.1)
    refused(
        llama(64), moved, LLAMA, r"lm_head\.weight: the role output does not .* \(norm_scale 2 of readout\)"
    )


def test_a_tied_model_needs_a_tied_handover(recipe: Build) -> None:
    roles = {name: role for name, role in LLAMA.items() if name != "lm_head.weight"}
    told = r"embed_tokens\.weight and lm_head\.weight are one, .*sweep with tied: true"
    refused(llama(64, tied=True), plan_of(recipe, Target(64, 2)), roles, told)
    initialize_(llama(64, tied=True), plan_of(recipe, Target(64, 2), tied=True), 0, roles)


def test_a_model_without_values_is_refused(recipe: Build) -> None:
    handover = plan_of(recipe, Target(64, 2))
    with torch.device("meta"):
        model = llama(64)
    with pytest.raises(UnknownParameterError, match=r"has no values, as the model is on meta; model"):
        initialize_(model, handover, 0, LLAMA)
    assert param_groups(model, handover, LLAMA)
    initialize_(model.to_empty(device="cpu"), handover, 0, LLAMA)
    twin = llama(64)
    initialize_(twin, handover, 0, LLAMA)
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), twin.parameters(), strict=True))


def test_inputs_are_found_where_the_matrix_is_stored_the_other_way(recipe: Build) -> None:
    """GPT-2's Conv1D is [in, out]: a branch's end starts at the root of its four times as many inputs."""
    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=96, n_embd=64, n_layer=2, n_head=8, n_positions=16, tie_word_embeddings=False
    ))  # fmt: skip
    initialize_(model, plan_of(recipe, Target(64, 2)), 0, GPT2)
    std = {name: tensor.std().item() for name, tensor in model.named_parameters() if tensor.dim() == 2}
    assert std["transformer.h.0.mlp.c_fc.weight"] == pytest.approx(64**-0.5, rel=0.02)
    assert std["transformer.h.0.mlp.c_proj.weight"] == pytest.approx(256**-0.5, rel=0.02)


class Own(nn.Module):
    """A linear layer of a lab's own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(64, 256))


@pytest.mark.parametrize(("transposed", "inputs"), [(False, 256), (True, 64)])
def test_an_unknown_module_says_how_it_stores(transposed: bool, inputs: int, recipe: Build) -> None:
    handover, model = plan_of(recipe, Target(64, 2)), nn.ModuleDict({"own": Own()})
    told = r"own\.weight: is \[64, 256\] in a Own, which does not say on which axis its inputs are"
    refused(model, handover, {"own.*": "hidden"}, told)
    initialize_(model, handover, 0, {"own.*": Stored("hidden", transposed=transposed)})
    (weight,) = model.parameters()
    assert weight.std().item() == pytest.approx(inputs**-0.5, rel=0.02)


QWEN: Roles = {
    "*embed_tokens.weight": "input", "lm_head.weight": "output", "model.norm.weight": "vector",
    "*layers.*_proj.weight": "hidden", "*_proj_qkvz.weight": "hidden", "*_proj_ba.weight": "hidden",
    "*layers.*layernorm.weight": "hidden vector", "*linear_attn.norm.weight": "hidden vector",
    "*linear_attn.A_log": "hidden vector", "*linear_attn.dt_bias": "hidden vector",
    "*conv1d.weight": "hidden vector",
}  # fmt: skip


def qwen() -> PreTrainedModel:
    return Qwen3NextForCausalLM(Qwen3NextConfig(
        vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, head_dim=16, linear_num_key_heads=4, linear_num_value_heads=4,
        linear_key_head_dim=16, linear_value_head_dim=16, layer_types=["linear_attention"] * 2,
        mlp_only_layers=[0, 1], tie_word_embeddings=False,
    ))  # fmt: skip


def test_what_qwen_stores_in_its_own_way_is_said(recipe: Build) -> None:
    """Decays, time steps and kernels have no role's start; norms multiply by 1 + w; projections are fused."""
    handover = plan_of(recipe, Target(64, 2), architecture="gdn")
    roles = dict(QWEN)
    zeros = {"model.norm.weight": Stored("vector", zero_centred=True),
             "*layers.*layernorm.weight": Stored("hidden vector", zero_centred=True)}  # fmt: skip
    refused(qwen(), handover, roles, r"dt_bias: .*decays and time steps are drawn.*kept=True")
    roles |= {"*dt_bias": Stored("hidden vector", kept=True), "*A_log": Stored("hidden vector", kept=True)}
    del roles["*linear_attn.A_log"], roles["*linear_attn.dt_bias"]
    refused(qwen(), handover, roles, r"conv1d\.weight: .*a gain has one axis")
    mixer = "blocks.*.mixer"
    roles["*conv1d.weight"] = Stored(
        f"{mixer}.query_conv.weight", beside=(f"{mixer}.key_conv.weight", f"{mixer}.value_conv.weight")
    )
    refused(qwen(), handover, roles, r"layernorm\.weight: is a gain, and all zeros in the model")
    roles |= zeros
    model = qwen()
    kept = model.model.layers[0].linear_attn.A_log.detach().clone()
    initialize_(model, handover, 0, roles)
    layer = model.model.layers[1]
    assert layer.input_layernorm.weight.eq(0).all() and layer.linear_attn.norm.weight.eq(1).all()
    assert model.model.layers[0].linear_attn.A_log.equal(kept)
    assert layer.linear_attn.in_proj_qkvz.weight.std().item() == pytest.approx(1 / 8, rel=0.02)
    assert layer.linear_attn.conv1d.weight.std().item() == pytest.approx(1 / 2, rel=0.1)
    groups = {name: group for group in param_groups(model, handover, roles) for name in group["names"]}
    assert len(groups) == len([*model.parameters()])


def test_parts_that_train_apart_are_not_fused(recipe: Build) -> None:
    handover, mixer = plan_of(recipe, Target(64, 2), architecture="gdn"), "blocks.*.mixer"
    model = nn.ModuleDict({"both": nn.Linear(64, 72, bias=False)})
    parts = {"both.*": Stored(f"{mixer}.query.weight", beside=(f"{mixer}.query_conv.weight",))}
    refused(model, handover, parts, r"both\.weight: is fused of parts that differ in learning_rate")
    alike = {"both.*": Stored(f"{mixer}.query.weight", beside=(f"{mixer}.key.weight",))}
    refused(model, handover, alike, r"both\.weight: is \[72, 64\], but \[128, 64\] at the target")
    with pytest.raises(UnknownParameterError, match="is fused of roles; name the matrices"):
        param_groups(model, handover, {"both.*": Stored("hidden", beside=("hidden",))})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile's own
def test_wrapped_models_keep_their_names(recipe: Build) -> None:
    """Compiled: the parameters are those of the model inside."""
    handover, plain = plan_of(recipe, Target(64, 2)), llama(64)
    compiled = torch.compile(llama(64))
    assert isinstance(compiled, nn.Module)
    for model in (plain, compiled):
        initialize_(model, handover, 0, LLAMA)
    assert all(torch.equal(*pair) for pair in zip(plain.parameters(), compiled.parameters(), strict=True))
    names = [[name for group in param_groups(model, handover, LLAMA) for name in group["names"]]
             for model in (plain, compiled)]  # fmt: skip
    assert names[0] == names[1]


@pytest.mark.slow
def test_a_model_that_is_spread_over_processes_trains_as_one(recipe: Build, tmp_path: Path) -> None:
    """DDP and FSDP2 on two gloo processes: six steps' losses are one process's, up to the order of sums."""
    (tmp_path / "handover.json").write_text(json.dumps(plan_of(recipe, Target(64, 2))))
    script = str(Path(__file__).parent / "wrapped_llama.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [*launcher, script, str(tmp_path / "handover.json")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    losses = json.loads(done.stdout.splitlines()[-1])
    assert losses["ddp"] == pytest.approx(losses["one"], abs=1e-4)
    assert losses["fsdp"] == pytest.approx(losses["one"], abs=1e-4)
    assert losses["one"][-1] < losses["one"][0] - 1
