"""Trials trained as one program against plain PyTorch modules, one after the other: time per trial-step.

    python benchmarks/batching.py [--device cuda] > benchmarks/results/batching-<machine>.md

Both sides train the same models on the same batches, with clipping and AdamW (`torch.optim`, its own
default implementation; fused on a GPU). They take turns within each repetition, so that a machine whose
speed drifts slows both; the figures are medians of the paired ratios.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from conftest import first_views
from plain_modules import Plain

from mutransfer.models.data.batches import Batches
from mutransfer.models.data.token_file import TokenFile
from mutransfer.models.recipe.recipe import Recipe, recipe_from_point
from mutransfer.models.training.loop import GroupTraining

REPETITIONS, STEPS = 5, 6
CASES = [(a, w, k) for a in ("transformer", "gdn") for w in (32, 128) for k in (1, 4, 8)]
GPU_CASES = [(a, w, k) for a in ("transformer", "gdn") for w in (64, 128, 256) for k in (1, 8, 32)]


def recipe(architecture: str, width: int, trial: int) -> Recipe:
    return recipe_from_point({
        "architecture": architecture, "width": width, "depth": 2, "head_dim": 16, "sequence_length": 64,
        "vocab_size": 256, "parametrization": "mup", "base_width": 32, "base_depth": 2,
        "optimizer": "adamw", "learning_rate": 0.01 / (trial + 1), "steps": 1000, "batch_size": 16,
        "data": "noise",
    })  # fmt: skip


class PlainTraining:
    """One trial as anybody would write it."""

    def __init__(self, one: Recipe, batches: Batches, device: torch.device) -> None:
        self.model = Plain(one)
        self.model.load(first_views([one]), 0)
        self.model.to(device)
        fused = {"fused": True} if device.type == "cuda" else {}
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=one.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, **fused
        )
        self.batches, self.device, self.one = batches, device, one

    def step(self, step: int) -> None:
        batch = self.batches.training([self.one.seed], step, self.one.batch_size)
        tokens, labels = (torch.from_numpy(x[0]).to(self.device) for x in (batch.inputs, batch.labels))
        loss = F.cross_entropy(self.model(tokens).flatten(0, 1), labels.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()


def milliseconds(step: object, start: int, device: torch.device) -> float:
    begin = time.perf_counter()
    for index in range(start, start + STEPS):
        step(index)  # type: ignore[operator]
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begin) / STEPS * 1e3


def measure(architecture: str, width: int, k: int, batches: Batches, device: torch.device) -> str:
    recipes = [recipe(architecture, width, trial) for trial in range(k)]
    group = GroupTraining(recipes, batches, device)
    plain = [PlainTraining(one, batches, device) for one in recipes]
    ours, theirs = [], []
    for repetition in range(-1, REPETITIONS):
        start = (repetition + 1) * STEPS
        one = milliseconds(group.step, start, device) / k
        other = sum(milliseconds(single.step, start, device) for single in plain) / k
        if repetition >= 0:
            ours.append(one)
            theirs.append(other)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return (
        f"| {architecture} | {width} | {k} | {statistics.median(ours):.2f} | {statistics.median(theirs):.2f} "
        f"| {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = torch.device(parser.parse_args().device)
    torch.set_num_threads(1)
    path = Path("/tmp/mutransfer-noise.bin")
    np.random.default_rng(0).integers(0, 256, 1 << 20, dtype=np.uint8).tofile(path)
    source = TokenFile(paths=(str(path),), dtype="uint8", tokens=1 << 20, vocab_size=256,
                       validation_fraction=0.1, digest="noise")  # fmt: skip
    batches = source.batches(64)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, one thread"
    print(f"torch {torch.__version__}, {name}; 16 x 64 tokens a step, depth 2, heads of 16; "
          f"median of {REPETITIONS} paired repetitions of {STEPS} steps.\n")  # fmt: skip
    print("| architecture | width | trials | batched, ms per trial-step | plain, ms per trial-step "
          "| plain / batched | range |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for case in GPU_CASES if device.type == "cuda" else CASES:
        print(measure(*case, batches, device), flush=True)


if __name__ == "__main__":
    main()
