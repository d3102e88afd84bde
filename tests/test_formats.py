"""The export as what frameworks run: each loaded by the real package, or held against its recorded names."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from test_choice import compared, rows
from torch import nn

from mutransfer.models.handover.maps.registry import MAPS
from mutransfer.models.handover.transfer import param_groups
from mutransfer.models.handover.verify import verify
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.schedule import schedule_factor
from mutransfer.orchestrator.handover.export import Target, export_object
from mutransfer.orchestrator.handover.fault import ExportError
from mutransfer.orchestrator.handover.formats.registry import FORMATS
from mutransfer.orchestrator.handover.formats.text import export_text

Build = Callable[..., Recipe]
LLAMA: dict[str, Any] = {
    **MAPS["llama"].proxy, "parametrization": "depth-mup", "weight_decay": 0.1, "embedding_multiplier": 2.0,
    "attention_multiplier": 1.5, "epsilon": 1e-6,
}  # fmt: skip


def handed_over(recipe: Build, target: Target, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - fields
    frame = rows(recipe, [-5, -5, -5, -5], **changes)
    (comparison,) = compared(frame)
    return export_object(comparison, frame, target)


def run(text: str) -> dict[str, Any]:
    """What a module of this text holds."""
    held: dict[str, Any] = {"__name__": "handover"}
    exec(compile(text, "handover.py", "exec"), held)
    return held


def test_all_formats_are_here() -> None:
    named = {"yaml", "json", "pytorch", "huggingface", "nanogpt", "torchtitan", "megatron"}
    assert set(FORMATS) == named


@pytest.mark.parametrize("style", FORMATS)
def test_every_format_holds_the_rate_and_the_warnings(style: str, recipe: Build) -> None:
    model = MAPS["nanogpt" if style == "nanogpt" else "llama"].proxy
    frame = rows(recipe, [-4, -5, -6, -7], parametrization="sp", tied=style == "nanogpt", **model)
    (comparison,) = compared(frame)
    handed = export_object(comparison, frame, Target(32, 2, batch=64, tokens=1_000_000))
    text = export_text(handed, style, partial=True)
    words = " ".join(text.replace("#", "").split())
    assert repr(handed["hyperparameters"]["learning_rate"]) in text
    assert "the verdict is drifts" in words and "sweep batch_size to have it corrected for" in words


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "wsd"])
def test_pytorch_has_the_schedule_of_the_sweep(schedule: str, recipe: Build) -> None:
    changes = {**LLAMA, "schedule": schedule, "warmup": 0.2, "final_lr": 0.1, "steps": 30}
    held = run(export_text(handed_over(recipe, Target(64, 2), **changes), "pytorch"))
    one = recipe(**changes)
    factors = [held["factor"](step) for step in range(30)]
    assert factors == pytest.approx([schedule_factor(one, step) for step in range(30)])
    assert held["STEPS"] == 30 and held["MODEL"]["mlp_width"] == 256


def test_pytorch_hands_over_to_any_module(recipe: Build) -> None:
    held = run(export_text(handed_over(recipe, Target(64, 2), **LLAMA), "pytorch"))
    from test_maps import llama

    model, ready = llama(64), MAPS["llama"]
    sites = ready.sites_in(held["HANDOVER"])
    held["start_"](model, ready.roles, sites, 0)
    optimizer = held["optimizer"](model, ready.roles)
    tokens_BT = torch.arange(32).view(2, 16)
    verify(model, held["HANDOVER"], ready.roles, optimizer, sites, lambda: model(tokens_BT))


def test_pytorch_puts_no_other_optimizer_in_place_of_what_it_leaves_out(recipe: Build) -> None:
    """Nor does it give torch's SGD a decay that would be another."""
    from test_maps import llama

    changes = {**LLAMA, "weight_decay": 0.1, "momentum": 0.9}
    muon = handed_over(recipe, Target(64, 2), **changes, optimizer="muon", adamw_lr_ratio=0.1)
    held = run(export_text(muon, "pytorch", partial=True))
    with pytest.raises(
        RuntimeError, match=r"torch has no muon as it is here; give an optimizer of yours param"
    ):
        held["optimizer"](llama(64), MAPS["llama"].roles)
    sgd = handed_over(recipe, Target(64, 2), **changes, optimizer="sgd")
    held = run(export_text(sgd, "pytorch", partial=True))
    optimizer = held["optimizer"](llama(64), MAPS["llama"].roles)
    assert isinstance(optimizer, torch.optim.SGD)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0}
    assert {group["momentum"] for group in optimizer.param_groups} == {0.9}
    plain = handed_over(recipe, Target(64, 2), **{**changes, "parametrization": "mup"}, optimizer="sgd")
    assert "--weight-decay 0.0" in export_text(plain, "megatron", partial=True)


@pytest.mark.parametrize(
    "name", [name for name, ready in MAPS.items() if ready.of.startswith("transformers")]
)
def test_hugging_face_builds_and_groups_the_model(name: str, recipe: Build, tmp_path: Path) -> None:
    """By transformers itself, from the architecture in the handover."""
    depth = {"attention_every": 2, "base_depth": 2, "depth": 2} if name == "qwen3-next" else {}
    handed = handed_over(recipe, Target(64, 2), **{**LLAMA, **MAPS[name].proxy, **depth})
    held = run(export_text(handed, "huggingface"))
    model = held["build_model"](seed=0)
    assert type(model).__name__ == MAPS[name].of.removeprefix("transformers.")
    trainer = held["HandedTrainer"](
        model, held["arguments"](output_dir=str(tmp_path), use_cpu=True, report_to="none")
    )
    optimizer = trainer.create_optimizer()
    ready, tokens_BT = MAPS[name], torch.arange(32).view(2, 16)
    verify(model, handed, ready.roles, optimizer, ready.sites_in(handed), lambda: model(tokens_BT))
    assert trainer.args.max_steps == handed["target"]["steps"]


def test_hugging_face_trains(recipe: Build, tmp_path: Path) -> None:
    """Their Trainer with our groups: the schedule moves every group from its own peak."""
    handed = handed_over(recipe, Target(64, 2), **{**LLAMA, "steps": 4, "schedule": "cosine"})
    held = run(export_text(handed, "huggingface"))
    model = held["build_model"](seed=0)
    data = [{"input_ids": torch.arange(16), "labels": torch.arange(16)} for _ in range(16)]
    words = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none", "disable_tqdm": True,
             "save_strategy": "no", "per_device_train_batch_size": 4}  # fmt: skip
    trainer = held["HandedTrainer"](model, held["arguments"](**words), train_dataset=data)
    trainer.train()
    groups = trainer.optimizer.param_groups
    peaks = {group["role"]: group["initial_lr"] for group in groups}
    assert peaks["hidden"] == pytest.approx(handed["roles"]["hidden"]["learning_rate"])
    shares = [group["lr"] / group["initial_lr"] for group in groups]
    assert shares == pytest.approx([shares[0]] * len(shares)) and shares[0] < 1


NANOGPT = {
    "n_layer": int, "n_head": int, "n_embd": int, "block_size": int, "dropout": float, "bias": bool,
    "batch_size": int, "gradient_accumulation_steps": int, "learning_rate": float, "min_lr": float,
    "weight_decay": float, "beta1": float, "beta2": float, "grad_clip": float, "max_iters": int,
    "lr_decay_iters": int, "warmup_iters": int, "decay_lr": bool,
}  # fmt: skip
"""Keys of nanoGPT's train.py of November 2025, with the types that its configurator asks for."""


def test_nanogpt_is_given_the_keys_that_it_has(recipe: Build) -> None:
    gpt = {**LLAMA, **MAPS["nanogpt"].proxy, "tied": True, "schedule": "cosine"}
    handed = handed_over(recipe, Target(64, 2), **gpt)
    held = run(export_text(handed, "nanogpt"))
    told = {name: type(value) for name, value in held.items() if not name.startswith("_")}
    assert told == NANOGPT
    assert json.loads(held["_HANDOVER"])["parameters"] == handed["parameters"]
    with pytest.raises(
        ExportError, match=r"nanogpt: has mlp: gelu, norm: layernorm, .* tied: True, the proxies"
    ):
        export_text(handed_over(recipe, Target(64, 2), **LLAMA), "nanogpt")


TITAN = """\
import json, sys
from unittest.mock import MagicMock
import torch
torch.compile(torch.sin)  # looks for Triton, and finds none
# What torchtitan imports of it is decorators and types of kernels for GPUs.
sys.modules |= {"triton": MagicMock(), "triton.language": MagicMock()}
sys.path.insert(0, sys.argv[1])
import handover
config = handover.large_run()
torch.manual_seed(0)
model = config.model_spec.model.build()
model.init_states()
groups = config.optimizer.build(model_parts=[model])
schedule = config.lr_scheduler.build(optimizers=groups, training_steps=config.training.steps)
x = torch.randn(2, handover.WIDTH)
told = {"shapes": {n: list(p.shape) for n, p in model.named_parameters()},
        "std": {n: p.float().pow(2).mean().sqrt().item() for n, p in model.named_parameters()},
        "groups": {n: {k: g[k] for k in ("initial_lr", "weight_decay", "eps", "betas")}
                   for o in groups for g in o.param_groups for n in g["param_names"]},
        "logits": model.layers["0"].attention.scaling,
        "multipliers": {n: ((m(x[:, :m.in_features]) if hasattr(m, "in_features") else m(torch.arange(2)))
                            .norm() / (x[:, :m.in_features] @ m.weight.T if hasattr(m, "in_features")
                            else m.weight[:2]).norm()).item()
                        for n, m in model.named_modules()
                        if n in ("tok_embeddings", "lm_head", "layers.1.attention.wo")},
        "training": [config.training.steps, config.training.seq_len, config.training.global_batch_size]}
factors = []
for step in range(config.training.steps):
    peak = groups.optimizers[0].param_groups[0]["initial_lr"]
    factors.append(schedule.schedulers[0].get_last_lr()[0] / peak)
    for optimizer in groups.optimizers: optimizer.step()
    schedule.step()
print(json.dumps({**told, "factors": factors}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("qk_norm", [False, True])
def test_torchtitan_builds_the_model_and_its_groups(qk_norm: bool, recipe: Build, tmp_path: Path) -> None:
    """By torchtitan 0.3 itself: sizes, starts, groups, multipliers, schedule."""
    changes = {**LLAMA, "qk_norm": qk_norm, "steps": 40, "warmup": 0.1, "schedule": "wsd", "cooldown": 0.25}
    handed = handed_over(recipe, Target(64, 2), **changes)
    (tmp_path / "handover.py").write_text(export_text(handed, "torchtitan"))
    done = subprocess.run(
        [sys.executable, "-c", TITAN, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])

    ready = MAPS["torchtitan"]
    model = nn.ParameterDict(
        {name.replace(".", "/"): torch.ones(shape) for name, shape in told["shapes"].items()}
    )
    roles = {pattern.replace(".", "/"): stored for pattern, stored in ready.roles.items()}
    expected = {
        name.replace("/", "."): group
        for group in param_groups(model, handed, roles)
        for name in group["names"]
    }
    assert expected.keys() == told["groups"].keys() and len(expected) == (25 if qk_norm else 21)
    for name, group in expected.items():
        given = told["groups"][name]
        assert (given["initial_lr"], given["weight_decay"]) == pytest.approx(
            (group["lr"], group["weight_decay"])
        )
        assert given["eps"] == pytest.approx(group["eps"]) and tuple(given["betas"]) == group["betas"]
    stds = {entry["role"]: entry["init_std"] for entry in handed["parameters"].values()}
    for name, role in (
        ("tok_embeddings", "input"),
        ("lm_head", "output"),
        ("layers.1.feed_forward.w2", "hidden"),
    ):
        wanted = (
            handed["parameters"]["blocks.*.mlp.down.weight"]["init_std"] if role == "hidden" else stds[role]
        )
        assert told["std"][f"{name}.weight"] == pytest.approx(wanted, rel=0.1)
    sites = handed["multipliers"]
    assert told["logits"] == pytest.approx(sites["attention logits"])
    assert told["multipliers"] == pytest.approx(
        {"tok_embeddings": sites["embedding"], "lm_head": sites["readout"],
         "layers.1.attention.wo": sites["residual branch"]}
    )  # fmt: skip
    assert told["training"] == [40, 16, 4]
    large = recipe(**changes)
    ours = [schedule_factor(large, step) for step in range(40)]
    assert told["factors"] == pytest.approx(ours)


def test_torchtitan_has_llama_alone(recipe: Build) -> None:
    with pytest.raises(
        ExportError, match=r"torchtitan: its Llama 3 and Qwen3 have .*; the proxies have mlp: gelu"
    ):
        export_text(handed_over(recipe, Target(64, 2)), "torchtitan")


@pytest.mark.parametrize("style", ["torchtitan", "megatron"])
def test_a_framework_without_the_optimizer_is_refused(style: str, recipe: Build) -> None:
    known = {"torchtitan": "adamw", "megatron": "adamw, sgd, muon"}[style]
    with pytest.raises(ExportError, match=rf"{style} is not known to have lion \(known: {known}\)"):
        export_text(handed_over(recipe, Target(32, 2), optimizer="lion"), style)


@pytest.mark.parametrize(("init", "std"), [("fan-in", 8**-0.5), ("gpt2", 0.02)])
def test_megatron_is_given_the_flags_that_it_has(init: str, std: float, recipe: Build) -> None:
    """Of its main branch of August 2026: the base's standard deviation, and the head that its logits had."""
    handed = handed_over(recipe, Target(64, 2), init=init, queries_per_kv=2, mlp="swiglu", head_dim=4)
    lines = export_text(handed, "megatron", partial=True).splitlines()
    flags = dict(line[2:].partition(" ")[::2] for line in lines if line.startswith("--"))
    told = {name: value for name, value in flags.items() if name.startswith(("use-", "mup-", "scaling-"))}
    assert told == {
        "use-mup": "", "mup-base-hidden-size": "8", "mup-base-head-dim": "4", "mup-embedding-mult": "1.0",
        "mup-output-mult": "0.125",
    }  # fmt: skip
    assert float(flags["embedding-init-method-std"]) == handed["parameters"]["embedding.weight"]["init_std"]
    assert float(flags["init-method-std"]) == pytest.approx(std)
    assert {name: flags[name] for name in ("num-attention-heads", "num-query-groups", "ffn-hidden-size")} == {
        "num-attention-heads": "16", "num-query-groups": "8", "ffn-hidden-size": "256"
    }  # fmt: skip
    assert flags.keys() <= MEGATRON


MEGATRON = {
    "num-layers", "hidden-size", "ffn-hidden-size", "num-attention-heads", "kv-channels",
    "group-query-attention", "num-query-groups", "swiglu", "normalization", "norm-epsilon",
    "qk-layernorm", "position-embedding-type", "rotary-base", "rotary-percent",
    "untie-embeddings-and-output-weights",
    "disable-bias-linear", "attention-dropout", "hidden-dropout", "seq-length",
    "max-position-embeddings", "global-batch-size", "train-iters", "optimizer", "lr", "min-lr",
    "lr-decay-style", "lr-wsd-decay-style", "lr-wsd-decay-iters", "lr-warmup-fraction",
    "weight-decay", "clip-grad", "adam-beta1", "adam-beta2", "adam-eps", "muon-momentum",
    "sgd-momentum", "use-mup", "mup-base-hidden-size", "mup-base-head-dim", "init-method-std",
    "embedding-init-method-std", "mup-embedding-mult", "mup-output-mult",
}  # fmt: skip
"""Arguments of Megatron-LM's main branch of August 2026 (d98e8a6)."""


def test_what_megatron_cannot_be_told_is_refused_or_left_out(recipe: Build) -> None:
    """Its muP scales neither decay nor the ends of branches."""
    handed = handed_over(
        recipe, Target(64, 2), weight_decay=0.1, residual_multiplier=0.5, decay="independent"
    )
    told = (
        r"megatron cannot be told: the multiplier on residual branch, .*; the start of blocks\.\*\.mixer"
        r"\.output\.weight, .*; the epsilon of .*; the decay of hidden matrices"
    )
    with pytest.raises(ExportError, match=told):
        export_text(handed, "megatron")
    text = export_text(handed, "megatron", partial=True)
    assert text.startswith("# left out: the multiplier on residual branch")


def test_megatron_has_no_depth_mup(recipe: Build) -> None:
    with pytest.raises(ExportError, match=r"megatron has no depth-mup \(known: sp, mup\)"):
        export_text(handed_over(recipe, Target(32, 2), parametrization="depth-mup"), "megatron")


def test_options_that_a_framework_has_not_are_said(recipe: Build) -> None:
    handed = handed_over(recipe, Target(64, 2), **{**LLAMA, "window": 8})
    with pytest.raises(
        ExportError, match="huggingface cannot be told: attention over a window of 8; export json"
    ):
        export_text(handed, "huggingface")
    assert math.isfinite(run(export_text(handed, "huggingface", partial=True))["CONFIGURATION"]["vocab_size"])


@pytest.mark.parametrize(
    ("style", "changes", "told"),
    [
        ("pytorch", {"optimizer": "sgd", "weight_decay": 0.1}, "weight decay of SGD"),
        ("pytorch", {"learnable_multipliers": "everywhere"}, r"learnable multipliers \(everywhere\)"),
        ("huggingface", {"positions": "none"}, "no model of transformers .* positions: none"),
        ("huggingface", {"final_norm": "layernorm"}, "no model of transformers .* final_norm: layernorm"),
        ("torchtitan", {"final_norm": "layernorm"}, "the proxies have final_norm: layernorm"),
        ("huggingface", {**MAPS["gpt2"].proxy, "kv_heads": 1}, "its gpt2 has as many key and value heads"),
        ("huggingface", {**MAPS["mamba2"].proxy, "optimizer": "sgd"}, "its mamba2 fuses matrices"),
        (
            "huggingface",
            {**MAPS["mamba2"].proxy, "state_ratio": 0.5},
            "no place for the multiplier on state scores",
        ),
        ("megatron", {"final_norm": "layernorm"}, "final_norm: layernorm"),
        ("megatron", {"frozen_gains": "all"}, r"decay of final_norm\.gain, 0 and 0 \(frozen_gains all\)"),
        (
            "megatron",
            {"norm_scale": 2.0, "weight_decay": 0.1},
            r"decay of readout\.weight, .* \(norm_scale 2 of readout\)",
        ),
        ("nanogpt", {**MAPS["gpt2"].proxy, "tied": True, "final_norm": "rmsnorm"}, "final_norm: rmsnorm"),
        ("megatron", {"optimizer": "muon", "adamw_lr_ratio": 0.1}, "muon as it is here"),
        ("megatron", {"parametrization": "sp", "attention_multiplier": 2.0}, "the scale of attention logits"),
    ],
)
def test_what_would_train_as_something_else_is_refused(
    style: str, changes: dict[str, Any], told: str, recipe: Build
) -> None:
    mup = {"parametrization": "mup"} if style == "megatron" else {}
    with pytest.raises(ExportError, match=told):
        export_text(handed_over(recipe, Target(64, 2), **{**LLAMA, "epsilon": 1e-8, **mup, **changes}), style)


def test_megatron_scales_growing_heads(recipe: Build) -> None:
    handed = handed_over(recipe, Target(64, 2), heads=2, head_dim=None, attention_multiplier=1.5)
    lines = export_text(handed, "megatron", partial=True).splitlines()
    flags = dict(line[2:].partition(" ")[::2] for line in lines if line.startswith("--"))
    scale = float(flags["mup-base-head-dim"]) ** 0.5 / handed["target"]["head_size"]
    assert scale == pytest.approx(handed["multipliers"]["attention logits, growing head"])


@pytest.mark.parametrize(
    ("style", "changes", "told"),
    [
        ("megatron", {"optimizer": "muon", "adamw_lr_ratio": 0.1, "fused_qkv": True}, "fused_qkv: True"),
        ("megatron", {"optimizer": "muon", "adamw_lr_ratio": 0.1, "embedding_lr": 4.0}, "embedding_lr: 4.0"),
        ("nanogpt", {**MAPS["nanogpt"].proxy, "tied": True, "biases": "qkv"}, "biases: qkv"),
        ("nanogpt", {**MAPS["nanogpt"].proxy, "tied": True, "norm_eps": 1e-3}, "norm_eps: 0.001"),
    ],
)
def test_conventions_that_a_framework_cannot_be_told_are_named(
    style: str, changes: dict[str, Any], told: str, recipe: Build
) -> None:
    with pytest.raises(ExportError, match=told):
        export_text(handed_over(recipe, Target(64, 2), **changes), style)


def test_yaml_reads_alike_in_both_versions(recipe: Build) -> None:
    """`no` is no falsehood in one of them, and 1e-08 no text."""
    handed = {**handed_over(recipe, Target(64, 2)), "moves": {"answer": "no"}}
    text = export_text(handed, "yaml")
    assert not text.startswith(("%", "---"))
    for version in ("1.1", "1.2"):
        reader = YAML(typ="safe", pure=True)
        reader.version = version
        assert reader.load(text) == json.loads(export_text(handed, "json"))
