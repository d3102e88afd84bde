"""A trained proxy as a checkpoint of transformers: the same logits, whatever its multipliers were."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Command
from transformers import AutoModelForCausalLM, AutoTokenizer

from mutransfer.models.data.batches import Batches
from mutransfer.models.handover.folded import folded
from mutransfer.models.recipe.likes import LIKES
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.loop import GroupTraining
from mutransfer.models.training.trained import Trained
from mutransfer.orchestrator.handover.fault import ExportError
from mutransfer.orchestrator.handover.pretrained import GAP, as_pretrained
from mutransfer.orchestrator.record.directory import SweepDirectory

Build = Callable[..., Recipe]
SIZES = {"width": 128, "depth": 2, "base_width": 64, "base_depth": 1, "vocab_size": 64}
LOUD = {"embedding_multiplier": 3.0, "residual_multiplier": 0.5, "readout_multiplier": 2.0}
"""Each is another number, so that one in another's place would be seen."""


def moved(recipe: Recipe, batches: Batches) -> Trained:
    """A model after some steps, that no parameter is at its start."""
    training = GroupTraining([recipe], batches, torch.device("cpu"))
    for step in range(3):
        training.step(step)
    return Trained(recipe, {name: view[0].detach().clone() for name, view in training.views().items()})


@pytest.mark.parametrize("parametrization", ["sp", "mup"])
@pytest.mark.parametrize("like", LIKES)
def test_its_logits_are_the_proxys(like: str, parametrization: str, recipe: Build, batches: Batches) -> None:
    """Checked where it is made, too: what computes something else is never written."""
    depth = LIKES[like].get("attention_every", 2)
    sizes = {**SIZES, "depth": depth, "base_depth": depth}
    one = recipe(**{**LIKES[like], **sizes, **LOUD}, parametrization=parametrization, learning_rate=0.01)
    ours = moved(one, batches)
    theirs = as_pretrained(ours)
    tokens_BT = torch.arange(32).view(2, 16)
    expected_BTV = ours(tokens_BT).detach()
    assert (theirs(tokens_BT).logits - expected_BTV).abs().max() < GAP * expected_BTV.abs().max()


@pytest.mark.parametrize(
    "changes",
    [
        {"qk_norm": True, "attention_multiplier": 2.0},
        {"learnable_multipliers": "everywhere"},
        {"tied": True, "embedding_multiplier": 2.0, "readout_multiplier": 2.0},
        {"parametrization": "depth-mup", "queries_per_kv": 2},
        {"biases": "all", "residual_multiplier": 0.5},
    ],
    ids=str,
)
def test_what_a_llama_has_no_place_for_is_in_its_weights(
    changes: dict[str, object], recipe: Build, batches: Batches
) -> None:
    one = recipe(**{**LIKES["llama"], **SIZES, "parametrization": "mup", **changes})
    theirs = as_pretrained(moved(one, batches))
    assert type(theirs).__name__ == ("Qwen3ForCausalLM" if "qk_norm" in changes else "LlamaForCausalLM")
    assert not any(module._forward_hooks for module in theirs.modules())


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_place": "pre"},
        {"norm_place": "post"},
        {"norm_place": "sandwich"},
        {"norm_place": "sum"},
        {"architecture": "gdn-hybrid", "attention_every": 2, "base_depth": 2},
        {"architecture": "gdn-hybrid", "attention_every": 2, "base_depth": 2, "qk_norm": True},
    ],
    ids=str,
)
def test_what_it_is_without_multipliers_is_the_same_function(
    changes: dict[str, object], recipe: Build, batches: Batches
) -> None:
    """Whatever transformers has: norms behind the branches, positions that are learned, other queries than
    attention's."""
    sizes = {**SIZES, **changes, "positions": "learned"}
    one = recipe(**sizes, **LOUD, learnable_multipliers="everywhere")
    ours = moved(one, batches)
    weights, plain = folded(dict(ours.named_parameters()), one)
    ones = {"base_width": None, "base_depth": None, "parametrization": "sp"}
    neutral = recipe(**{**plain.point(), **ones, **dict.fromkeys(LOUD, 1.0)})
    tokens_BT = torch.arange(32).view(2, 16)
    expected_BTV = ours(tokens_BT).detach()
    found_BTV = Trained(neutral, {n: x.detach() for n, x in weights.items()})(tokens_BT).detach()
    assert torch.allclose(found_BTV, expected_BTV, atol=GAP * float(expected_BTV.abs().max()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({**LIKES["llama"], "window": 4}, "has no attention over a window of 4"),
        ({"mlp": "swiglu", "norm_place": "post"}, "has no "),
        ({"architecture": "gdn"}, "no model of transformers that we know is like the proxies"),
    ],
    ids=lambda told: told if isinstance(told, str) else "",
)
def test_what_transformers_has_not_is_refused(
    changes: dict[str, object], said: str, recipe: Build, batches: Batches
) -> None:
    with pytest.raises(ExportError, match=said):
        as_pretrained(moved(recipe(**{**changes, **SIZES}), batches))


@pytest.mark.slow
def test_from_the_sweep_to_a_tool_of_others(sweep_file: Path, tmp_path: Path, mutransfer: Command) -> None:
    """Its loss on the held-out text, by transformers alone, is the one that the sweep measured."""
    like = ["like=llama", "learning_rate=[0.01]", "base.width=32", "width=[32, 64]"]
    words = [word for setting in like for word in ("--set", setting)]
    done = mutransfer("run", str(sweep_file), "--out", "out", *words, "--keep-weights")
    assert done.returncode == 0, done.stderr
    trials = json.loads(mutransfer("status", "out", "-f", "json").stdout)["counts"]
    assert trials["finished"] == 4
    for job in SweepDirectory(tmp_path / "out").planned().values():
        for number, trial in enumerate(job):
            written = mutransfer("weights", "out", trial, "--out", f"model-{trial}")
            assert written.returncode == 0, written.stderr
            assert "LlamaForCausalLM" in written.stderr and "a tokenizer of bytes" in written.stderr
            row = json.loads(mutransfer("show", "out", trial, "-f", "json").stdout)["row"]
            model = AutoModelForCausalLM.from_pretrained(tmp_path / f"model-{trial}")
            held = SweepDirectory(tmp_path / "out").read_data(row["data"]).batches(16).validation(4)
            tokens_BT, labels_BT = torch.from_numpy(held.inputs).long(), torch.from_numpy(held.labels).long()
            loss = torch.nn.functional.cross_entropy(
                model(tokens_BT).logits.flatten(0, 1), labels_BT.flatten()
            )
            assert loss.item() == pytest.approx(row["loss"], abs=1e-4), number
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / f"model-{trial}")
    text = "the quick brown fox: naïve\n  ≥ 2"
    assert tokenizer(text)["input_ids"] == [*text.encode()] and tokenizer.decode([*text.encode()]) == text
    again = mutransfer("weights", "out", trial, "--out", f"model-{trial}")
    assert again.returncode == 2 and "is there already" in again.stderr
    assert math.isfinite(row["loss"])


@pytest.mark.slow
def test_weights_that_were_not_kept_are_named(sweep_file: Path, tmp_path: Path, mutransfer: Command) -> None:
    assert mutransfer("run", str(sweep_file), "--out", "out", "--only", "width=8").returncode == 0
    (trial, *_) = next(iter(SweepDirectory(tmp_path / "out").planned().values()))
    done = mutransfer("weights", "out", trial, "--out", "model")
    assert done.returncode == 2 and "no weights of trial" in done.stderr and "--keep-weights" in done.stderr
