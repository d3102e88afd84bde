"""The coordinate check of a model of transformers, and the twelve usual mistakes in it: each by name."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import Command
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from mutransfer.models.handover.assignment import Stored
from mutransfer.models.handover.coordinates import Built, Subject
from mutransfer.models.handover.maps.model_map import ModelMap
from mutransfer.models.handover.maps.registry import MAPS
from mutransfer.models.handover.sites import apply_multipliers_
from mutransfer.models.handover.transfer import initialize_, param_groups
from mutransfer.models.handover.values import Handed
from mutransfer.orchestrator.studies.coordcheck import check_families, ladders_of
from mutransfer.results.checks.coordinates import Check
from mutransfer.sweeps.load import load_sweep

SWEEP = """\
name: llama
base: {width: 32, depth: 2}
fixed:
  architecture: transformer
  mlp: swiglu
  mlp_ratio: 2
  optimizer: adamw
  parametrization: depth-mup
  steps: 6
  batch_size: 8
  sequence_length: 16
  learning_rate: 0.00390625
  weight_decay: 0.1
  heads: 4
axes:
  width: [32, 64, 128]
  depth: [2]
data: {corpus: python-stdlib}
"""


def llama(handover: Handed) -> LlamaForCausalLM:
    sizes = handover["model"]
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=sizes["vocab_size"], hidden_size=sizes["width"], num_hidden_layers=sizes["depth"],
        intermediate_size=sizes["mlp_width"], num_attention_heads=sizes["head_count"],
        num_key_value_heads=sizes["kv_head_count"], tie_word_embeddings=sizes["tied"],
    ))  # fmt: skip


def ready(handover: Handed) -> tuple[Any, torch.optim.Optimizer]:
    """As a user makes it ready, without a mistake."""
    model, mapped = llama(handover), MAPS["llama"]
    initialize_(model, handover, handover["seed"], mapped.roles)
    apply_multipliers_(model, handover, mapped.sites_in(handover))
    return model, torch.optim.AdamW(param_groups(model, handover, mapped.roles))


def checked(build: Callable[[Handed], Built], folder: Path, *changes: str) -> tuple[Check, list[str]]:
    path = folder / "check.yaml"
    path.write_text(SWEEP)
    sweep = load_sweep(str(path), changes)
    ladders = ladders_of(sweep, None)
    subject = Subject(build, MAPS["llama"])
    cpu = torch.device("cpu")
    (check,) = check_families(sweep, ladders, cpu, 6, 4, lambda text: None, subject.measure)
    source = sweep.materialised(folder)
    (largest,) = ladders[0].largest
    return check, subject.faults(largest, source.batches(largest.shape.sequence_length))


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["width", "depth"])
@pytest.mark.parametrize("build", [llama, ready])
def test_a_model_that_is_handed_over_passes(
    build: Callable[[Handed], Built], axis: str, tmp_path: Path
) -> None:
    changes = ["width=32", "depth=[2, 4, 8]"] if axis == "depth" else []
    check, faults = checked(build, tmp_path, *changes)
    assert [f"{row.module} {row.quantity} {row.exponent}" for row in check.failures] == [] and faults == []
    passed_on = {"propagated"} if axis == "width" else set()
    assert {row.quantity for row in check.rows} == {"activation", "update", "change", "gradient"} | passed_on
    assert len(check.rows) > 25


@pytest.mark.slow
def test_the_logits_of_a_tied_model_are_measured(tmp_path: Path) -> None:
    check, faults = checked(ready, tmp_path, "tied=true", "width=[32, 64]")
    measured = {(row.module, row.quantity) for row in check.rows}
    assert {("logits", "activation"), ("logits", "change")} <= measured and faults == []
    assert not [row for row in check.failures if row.module == "logits"]


def test_a_builder_that_starts_all_seeds_alike_is_told(tmp_path: Path) -> None:
    def alike(handover: Handed) -> tuple[Any, torch.optim.Optimizer]:
        return ready({**handover, "seed": 0})

    path = tmp_path / "check.yaml"
    path.write_text(SWEEP)
    sweep = load_sweep(str(path))
    (shape,) = ladders_of(sweep, None)[0].largest
    batches = sweep.materialised(tmp_path).batches(shape.shape.sequence_length)
    (fault,) = Subject(alike, MAPS["llama"]).faults(shape, batches)
    assert fault.startswith("the builder starts all seeds alike: initialize_(model, handover, handover[")


def group_of(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> dict[str, Any]:
    return next(g for g in optimizer.param_groups if any(one is parameter for one in g["params"]))


def move(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, **values: float) -> None:
    """Into a group of its own, with other values."""
    group = group_of(optimizer, parameter)
    leave_out(optimizer, parameter)
    optimizer.add_param_group({**group, "params": [parameter], **values})


def leave_out(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> None:
    group = group_of(optimizer, parameter)
    group["params"] = [one for one in group["params"] if one is not parameter]


def named(model: nn.Module, end: str) -> list[nn.Parameter]:
    return [parameter for name, parameter in model.named_parameters() if name.endswith(end)]


def rate(handover: Handed, role: str) -> float:
    return float(handover["roles"][role]["learning_rate"])


Mistake = Callable[[Any, torch.optim.Optimizer, Handed], object]


def all_of(act: Callable[[nn.Parameter], object], end: str) -> Mistake:
    return lambda model, optimizer, handover: [act(one) for one in named(model, end)]


def at(end: str, value: Callable[[Handed], float], name: str = "lr") -> Mistake:
    """Parameters in groups with another value."""

    def act(model: Any, optimizer: torch.optim.Optimizer, handover: Handed) -> None:  # noqa: ANN401
        for one in named(model, end):
            move(optimizer, one, **{name: value(handover)})

    return act


def ratio(handover: Handed) -> float:
    return float(handover["target"]["width"] / handover["base"]["width"])


MISTAKES: dict[str, tuple[str, Mistake, str]] = {
    "the readout is not scaled": (
        "width", lambda model, opt, handover: model.lm_head._forward_hooks.clear(), "lm_head",
    ),
    "attention by 1 / sqrt(d) where 1 / d is due": (
        "width",
        lambda model, opt, handover: [
            vars(layer.self_attn).update(scaling=layer.self_attn.head_dim**-0.5)
            for layer in model.model.layers
        ],
        "self_attn",
    ),
    "a layer is left out of the groups": (
        "width",
        lambda model, opt, handover: leave_out(opt, model.model.layers[1].mlp.up_proj.weight),
        "layers.1.mlp.up_proj",
    ),
    "the embedding at the hidden rate": (
        "width", at("embed_tokens.weight", lambda handover: rate(handover, "hidden")), "embed_tokens",
    ),
    "the readout at the hidden rate": (
        "width", at("lm_head.weight", lambda handover: rate(handover, "hidden")), "lm_head",
    ),
    "hidden matrices at the base's rate": (
        "width", at("down_proj.weight", lambda handover: rate(handover, "input")), "down_proj",
    ),
    "gains at the hidden rate": (
        "width", at("input_layernorm.weight", lambda handover: rate(handover, "hidden")), "input_layernorm",
    ),
    "decay scaled twice": (
        "width",
        at("gate_proj.weight", lambda handover: 0.1 * ratio(handover) ** 2, "weight_decay"),
        "gate_proj",
    ),
    "epsilon of the base": ("width", at("o_proj.weight", lambda handover: 1e-8, "eps"), "o_proj"),
    "one standard deviation for every width": (
        "width", all_of(lambda one: nn.init.normal_(one, std=0.1), "up_proj.weight"), "up_proj",
    ),
    "the readout starts as wide as it is": (
        "width", all_of(lambda one: nn.init.normal_(one, std=1.0), "lm_head.weight"), "lm_head",
    ),
    "branches are not scaled with the depth": (
        "depth",
        lambda model, opt, handover: [
            module._forward_hooks.clear() for name, module in model.named_modules()
            if name.endswith(("o_proj", "down_proj"))
        ],
        "stream.end",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_by_the_name_of_its_module(mistake: str, tmp_path: Path) -> None:
    """By what training does, and by what of the model is not as the handover has it."""
    axis, make, module = MISTAKES[mistake]

    def mistaken(handover: Handed) -> Built:
        model, optimizer = ready(handover)
        with torch.no_grad():
            make(model, optimizer, handover)
        return model, optimizer

    changes = ["width=32", "depth=[2, 4, 8]"] if axis == "depth" else []
    check, faults = checked(mistaken, tmp_path, *changes)
    said = {f"{row.module} {row.quantity}" for row in check.failures}
    assert any(module in line for line in [*said, *faults]), (sorted(said), faults)


OWN = """\
from test_module_coordcheck import SWEEP, llama, ready
def broken(handover):
    return handover["nothing"]
"""


class Kernels(nn.Module):
    """Blocks of matrices that are no plain linear layers: a convolution, and experts in one parameter."""

    def __init__(self, width: int, depth: int, vocabulary: int) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(vocabulary, width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"conv": nn.Conv1d(width, width, 3, padding=1), "mixed": Mixed(width)})
            for _ in range(depth)
        )
        self.readout = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        x_BTD = self.embed(tokens_BT)
        for block in self.blocks.children():
            conv, mixed = block.children()
            x_BTD = x_BTD + conv(F.layer_norm(x_BTD, x_BTD.shape[-1:]).mT).mT.tanh()
            x_BTD = x_BTD + mixed(F.layer_norm(x_BTD, x_BTD.shape[-1:]))
        made: torch.Tensor = self.readout(self.norm(x_BTD))
        return made


class Mixed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.randn(2, width, width))  # [experts, out, in]

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        return torch.stack([(x_BTD @ w_OI.mT).tanh() for w_OI in self.up]).mean(0)


KERNELS = ModelMap(
    of="Kernels",
    proxy={},
    roles={
        "embed.weight": "input",
        "norm.*": "vector",
        "blocks.*.conv.weight": "hidden",
        "blocks.*.conv.bias": "hidden vector",
        "blocks.*.mixed.up": Stored("expert in", transposed=False),
        "readout.weight": "output",
    },
    sites={"readout": ["readout"], "residual branch": ["blocks.*.conv", "blocks.*.mixed"]},
)


@pytest.mark.slow
def test_kernels_and_stacked_experts_are_measured_as_matrices(tmp_path: Path) -> None:
    """Their entries fall by m_W, as their rate does; what they do to their inputs does not."""
    path = tmp_path / "check.yaml"
    of_gdn = SWEEP.replace("depth-mup", "mup").replace("transformer", "gdn")  # without attention's logits
    path.write_text(of_gdn.replace("heads: 4", "head_dim: 8\n  experts: 2"))
    sweep = load_sweep(str(path), ())

    def build(handover: Handed) -> nn.Module:
        sizes = handover["model"]
        return Kernels(sizes["width"], sizes["depth"], sizes["vocab_size"])

    subject, cpu = Subject(build, KERNELS), torch.device("cpu")
    (check,) = check_families(sweep, ladders_of(sweep, None), cpu, 6, 4, lambda text: None, subject.measure)
    updates = {row.module: row.verdict for row in check.rows if row.quantity == "update"}
    assert updates["blocks.*.conv"] == updates["blocks.*.mixed.up"] == "passes"
    assert {row.quantity for row in check.rows if row.module == "blocks.*.conv"} >= {
        "activation",
        "propagated",
    }


@pytest.mark.slow
def test_the_command_checks_a_model_of_ones_own(
    mutransfer: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_model.py").write_text(OWN)
    (tmp_path / "check.yaml").write_text(SWEEP)
    monkeypatch.setattr(sys, "path", [*sys.path])
    words = ["coordcheck", "check.yaml", "--steps", "6", "--set", "width=[32, 64]"]
    done = mutransfer(*words, "--model", "own_model:ready", "--roles", "llama", "-f", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["passed"] and told["faults"] == []
    assert {row["module"] for row in told["checks"][0]["rows"]} >= {"lm_head", "model.layers.*.mlp.up_proj"}
    sp = mutransfer(*words, "--model", "own_model:ready", "--roles", "llama", "--set", "parametrization=sp")
    assert sp.returncode == 3 and "lm_head" in sp.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "own_model:broken", "--roles", "llama"], "KeyError: 'nothing' \\(.*own_model.py:3\\)"),
        (["--model", "own_model:llama", "--roles", "qwen3"], "no parameter matches .*k_norm.weight"),
        (["--model", "nowhere:llama", "--roles", "llama"], "nowhere:llama cannot be imported"),
        (["--model", "own_model:nothing", "--roles", "llama"], "own_model has no nothing"),
        (["--model", "own_model:llama"], "--model, --roles: give both"),
        (["--model", "own_model:llama", "--roles", "lama"], "ready maps are llama, qwen3"),
        (["--model", "own_model:llama", "--roles", "json:dumps"], "--roles: json:dumps is a function"),
        (["--model", "own_model:SWEEP", "--roles", "llama"], "TypeError: 'str' object is not callable"),
        (
            ["--model", "own_model:llama", "--roles", "llama", "--set", "optimizer=lion"],
            "torch's lion is not ours",
        ),
    ],
)
def test_a_model_that_cannot_be_checked_is_said(
    words: list[str], told: str, mutransfer: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_model.py").write_text(OWN)
    (tmp_path / "check.yaml").write_text(SWEEP)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_model", raising=False)
    done = mutransfer("coordcheck", "check.yaml", *words)
    assert done.returncode == 2 and re.search(told, done.stderr), done.stderr
    assert len(done.stderr.splitlines()) == 1
