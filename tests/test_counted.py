"""What a GPU would hold and do, counted without one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Command

from mutransfer.models.architectures.registry import ARCHITECTURES
from mutransfer.models.mixers.gdn import forward as gdn
from mutransfer.models.mixers.mamba2 import forward as mamba2
from mutransfer.models.optimizers import spectral_sphere
from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.recipe.recipe import FIELDS, Recipe, recipe_from_point
from mutransfer.models.training import readout_loss
from mutransfer.models.training.counted import META, Watch, counted
from mutransfer.models.training.evaluate import evaluate
from mutransfer.models.training.group import Group
from mutransfer.models.training.state import GroupState
from mutransfer.models.training.step import Placed, advance
from mutransfer.orchestrator.planning import device as devices
from mutransfer.orchestrator.planning.device import PreflightError, cores, find_device, must_suit
from mutransfer.orchestrator.planning.plan import Device, group_size
from mutransfer.sweeps import gpu
from mutransfer.sweeps.card import H200, Card, card_named, keep_card
from mutransfer.sweeps.cost import gpu_seconds
from mutransfer.sweeps.load import load_sweep
from mutransfer.sweeps.program import DeviceKind
from mutransfer.sweeps.proxy import Proxy

CPU = torch.device("cpu")
Build = Callable[..., Recipe]
LARGE = {
    "precision": "bf16", "head_dim": 128, "base_width": 128, "sequence_length": 2048, "batch_size": 8,
    "vocab_size": 50_304, "depth": 6, "base_depth": 6, "width": 2048, "eval_sequences": 128,
    "parametrization": "mup", "optimizer": "adamw", "learning_rate": 0.01, "steps": 1000, "data": "noise",
}  # fmt: skip
SMALL = {
    "precision": "float32", "head_dim": 32, "base_width": 32, "sequence_length": 128, "batch_size": 16,
    "vocab_size": 256, "depth": 2, "base_depth": 2, "width": 128, "eval_sequences": 128,
    "parametrization": "mup", "optimizer": "adamw", "learning_rate": 0.01, "steps": 1000, "data": "noise",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "gib"), [("transformer", 17.9), ("gdn", 30.2)])
def test_the_peak_is_what_a_gpu_held(architecture: str, gib: float) -> None:
    """torch.cuda.max_memory_allocated on an H200, benchmarks/results/gpu-h200.md."""
    one = recipe_from_point({**LARGE, "architecture": architecture})
    assert counted([one]).peak_bytes / 2**30 == pytest.approx(gib, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "trials", "milliseconds"),
    [
        ({"architecture": "transformer"}, 1, 1.16),
        ({"architecture": "transformer"}, 4, 2.51),
        ({"architecture": "transformer"}, 16, 5.56),
        ({"architecture": "transformer", "precision": "tf32"}, 64, 12.66),
        ({"architecture": "gdn"}, 1, 2.33),
        ({"architecture": "gdn"}, 16, 11.25),
        ({"architecture": "gdn", "precision": "tf32"}, 64, 31.01),
    ],
)
def test_a_step_takes_what_it_took_on_a_gpu(
    changes: dict[str, object], trials: int, milliseconds: float
) -> None:
    """An H200's times of recorded steps, benchmarks/results/gpu-h200.md."""
    one = recipe_from_point({**SMALL, **changes})
    assert 1e3 * gpu.step_seconds(one, trials, H200) == pytest.approx(milliseconds, rel=0.2)


@pytest.mark.parametrize("trials", [1, 16])
@pytest.mark.parametrize("seconds", [gpu.trial_seconds, lambda one, trials, card: gpu_seconds(one, trials)])
def test_evaluations_take_time(seconds: Callable[..., float], trials: int) -> None:
    """At every step one of eight times a batch's sequences, without a backward pass: 2.7 times the arithmetic
    of the steps, a third of the launches at least; a step is recorded anew behind each."""
    never, often = (
        recipe_from_point({**SMALL, "architecture": "transformer", "eval_every": every}) for every in (0, 1)
    )
    assert 1.3 < seconds(often, trials, H200) / seconds(never, trials, H200) < 20


def test_evaluations_are_counted_part_by_part(recipe: Build) -> None:
    """As all of one on the meta device."""
    one = recipe(width=64, sequence_length=512, eval_sequences=256)
    with Watch() as watch:
        group = Group([one] * 2, META)
        state = GroupState.first(group)
        held = torch.zeros(256, 512, dtype=torch.int64, device=META)
        watch.begin()
        evaluate(group, group.layout.views(state.buffers_KP), held, held)
    whole = watch.work
    still = Card("still", 0.0, 1.0, {"float32": 1e30})
    recording = gpu._counts(one, 1, 1).step.launches * gpu.UNRECORDED_SECONDS
    seconds = gpu._evaluation_seconds(one, 2, still) - recording
    assert seconds * gpu.REACHED == pytest.approx(whole.bytes_moved, rel=0.02)
    idle = Card("idle", 1.0, 1e30, {"float32": 1e30})
    seconds = gpu._evaluation_seconds(one, 2, idle) - recording
    assert seconds * gpu.REACHED / gpu.LAUNCHES == pytest.approx(whole.launches, rel=0.02)


SHAPES: list[tuple[dict[str, object], int]] = [
    ({}, 1), ({}, 4), ({"depth": 6}, 2), ({"vocab_size": 5000}, 2), ({"mlp": "swiglu", "qk_norm": True}, 2),
    ({"z_loss": 0.1, "vocab_size": 3000}, 1), ({"norm": "layernorm", "biases": "all"}, 2),
    ({"architecture": "gdn"}, 2), ({"architecture": "gdn", "depth": 4, "activation_checkpointing": True}, 2),
    ({"architecture": "mamba2"}, 2), ({"optimizer": "muon", "adamw_lr_ratio": 0.5}, 2),
    ({"learnable_multipliers": "everywhere"}, 2),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "trials"), SHAPES, ids=str)
def test_a_real_step_holds_what_was_counted(
    changes: dict[str, object], trials: int, recipe: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same program on a CPU with real tensors, in the sizes of parts that a GPU takes."""
    for module in (gdn, mamba2):
        monkeypatch.setattr(module, "chunk_size", lambda device: 64)
    monkeypatch.setattr(readout_loss, "PART_BYTES", {"cpu": 1 << 29, "cuda": 1 << 29})
    sizes = {"width": 64, "sequence_length": 64, "batch_size": 8, "head_dim": 16, "base_width": 16}
    recipes = [recipe(**{**sizes, **changes}, seed=0) for _ in range(trials)]
    with Watch() as watch:
        group = Group(recipes, CPU)
        state = GroupState.first(group)
        tokens = torch.zeros(trials, 8, 64, dtype=torch.int64)
        held = torch.zeros(recipes[0].eval_sequences, 64, dtype=torch.int64)
        evaluate(group, group.layout.views(state.buffers_KP), held, held)
        for step in range(2):
            advance(group, state, Placed(tokens, tokens), step)
    assert counted(recipes).peak_bytes == pytest.approx(watch.peak_bytes, rel=0.1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_everything_of_ours_can_be_counted(
    architecture: str, recipe: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("POWER_ITERATIONS", "BISECTIONS"):
        monkeypatch.setattr(spectral_sphere, name, 1)
    depth = 2 if "hybrid" in architecture else 1
    common = {"architecture": architecture, "depth": depth, "base_depth": depth, "attention_every": 2}
    options: list[dict[str, object]] = [{"dropout": 0.1}, {"activation_checkpointing": True}, {"window": 4}]
    options += [{"activation_checkpointing": True, "precision": name} for name in ("bf16", "fp16")]
    options += [{"optimizer": name, "adamw_lr_ratio": 0.5} for name in OPTIMIZERS]
    options += [{"precision": name} for name in FIELDS["precision"].choices or ()]
    for changes in options:
        counts = counted([recipe(**common, **changes)])
        for work in (counts.step, counts.evaluation):
            assert min(work.launches, work.bytes_moved, work.flops, counts.peak_bytes) > 0
        repeats = OPTIMIZERS[str(changes.get("optimizer", "adamw"))].repeats
        assert counts.recordable == (
            repeats and changes.get("precision") != "fp16" and "dropout" not in changes
        )


def test_traffic_and_arithmetic_grow_by_as_much_with_each_trial(recipe: Build) -> None:
    one = recipe(architecture="gdn", width=64, vocab_size=512)
    told, direct = gpu._of_step(one, 5), gpu._counts(one, 5, 1).step
    assert (told.launches, told.flops) == (direct.launches, direct.flops)
    assert told.bytes_moved == pytest.approx(direct.bytes_moved, rel=1e-3)


def test_a_group_is_as_large_as_fits(recipe: Build) -> None:
    one = Proxy(recipe(width=64, vocab_size=512, sequence_length=64))
    memory = int(one.memory_bytes(11, counted=True) / 0.85) + 1
    assert group_size(one, Device("cuda", 1, memory)) == 11
    assert group_size(one, Device("cuda", 1, memory - 2)) == 10


@pytest.mark.parametrize(("kind", "holder"), [("cuda", "the GPU"), ("cpu", "this machine")])
def test_what_no_device_holds_is_refused(kind: DeviceKind, holder: str, sweep_file: Path) -> None:
    sweep = load_sweep(str(sweep_file))
    must_suit(sweep, Device(kind, 1, 80 << 30))
    told = f"architecture transformer, width 8, depth 1: a trial needs .*, and {holder} has 0; give"
    with pytest.raises(PreflightError, match=told):
        must_suit(sweep, Device(kind, 1, 10_000))


def test_a_plan_for_this_machine_says_what_it_cannot_hold(
    sweep_file: Path, mutransfer: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU, `auto` may be a plan for one elsewhere."""
    monkeypatch.setattr(devices, "find_device", lambda choice: Device("cpu", 2, 80 << 30))
    huge = ("plan", str(sweep_file), "--set", "width=[8, 1048576]", "--set", "parametrization=mup")
    assert mutransfer(*huge).returncode == 0
    refused = mutransfer(*huge, "--device", "cpu")
    assert refused.returncode == 6
    assert refused.stderr.count("\n") == 1
    assert "width 1048576, depth 1: a trial needs" in refused.stderr


def test_a_machine_has_what_its_container_may_take(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = find_device("cpu").memory_bytes
    assert whole > 100 << 20
    (tmp_path / "limit").write_text("1048576\n")
    (tmp_path / "none").write_text("max\n")
    limits = [str(tmp_path / name) for name in ("none", "limit", "missing")]
    monkeypatch.setattr(devices, "CONTAINER_LIMITS", limits)
    assert find_device("cpu") == Device("cpu", cores(), 1 << 20)


def test_tf32_needs_a_gpu(sweep_file: Path) -> None:
    tf32 = load_sweep(str(sweep_file), ["precision=tf32"])
    must_suit(tf32, Device("cuda", 1, 80 << 30))
    with pytest.raises(PreflightError, match="tf32"):
        must_suit(tf32, Device("cpu", 2))


def test_a_card_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUTRANSFER_CACHE", str(tmp_path))
    assert card_named("Large") is H200
    card = Card("Large", 1e-6, 1e12, {"float32": 1e13})
    keep_card(card)
    keep_card(Card("Other", 1e-6, 1e12, {}))
    assert card_named("Large") == card
    (tmp_path / "cards.json").write_text('{"of": "another version"}')
    assert card_named("Large") is H200


def test_a_plan_for_a_gpu_says_what_binds(
    sweep_file: Path, mutransfer: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "find_device", lambda choice: Device("cuda", 1, 80 << 30))
    plan = json.loads(mutransfer("plan", str(sweep_file), "-f", "json").stdout)
    assert {shape["bound"] for shape in plan["shapes"]} == {"launches"}
    (time,) = (each for each in plan["times"] if each["device"] == "cuda")
    assert time["basis"] == "counted launches, bytes and operations, at the rates of an NVIDIA H200"
    assert "bound" in mutransfer("plan", str(sweep_file)).stdout
