"""Learnable multipliers: what the norm that weight decay holds costs with and without them, and clipping.

    python benchmarks/multipliers.py > benchmarks/results/multipliers.md

The norm-scale probe of the preset `norm-scale` on the readout and on the MLP block; then trainings with
multipliers everywhere, counted in the gradient norm that is clipped at 0.1 or left out of it.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch

from mutransfer.models.training.loop import train
from mutransfer.models.training.outcome import Outcome
from mutransfer.orchestrator.studies.probe import Plan, factors, probe_families, usual_placements
from mutransfer.results.report.markdown import markdown_table
from mutransfer.results.report.norm_scale_page import probe_table
from mutransfer.sweeps.load import Sweep, load_sweep
from mutransfer.sweeps.proxy import recipe_of

SEEDS = 3
FIRST_STEPS = 10
CLIP = 0.1  # below the norms of a small model, so that it clips


def probes(sweep: Sweep, part: str) -> None:
    plan = Plan(part, factors(6, 7), usual_placements(part), seeds=2)
    for probe in probe_families(sweep, plan, torch.device("cpu"), note=lambda text: None):
        print(markdown_table(probe_table(probe)) + "\n", flush=True)


def clipping(sweep: Sweep) -> None:
    """First gradient norms and final losses, by what counts in the norm."""
    print("**Clipping at 0.1: multipliers in the norm and out of it**\n")
    print(f"| optimizer | multipliers | gradient norm, first {FIRST_STEPS} steps | final loss |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        source = sweep.materialised(Path(scratch))
        for trial in sweep.expansion.trials:
            plain = replace(recipe_of(trial), grad_clip=CLIP, frozen_gains="none")
            multiplied = replace(plain, shape=replace(plain.shape, learnable_multipliers="everywhere"))
            for name, recipe in (
                ("none", plain),
                ("everywhere, out of the norm", multiplied),
                ("everywhere, in the norm", replace(multiplied, clip_multipliers=True)),
            ):
                group = [replace(recipe, seed=seed) for seed in range(SEEDS)]
                outcomes = train(group, source.batches(recipe.shape.sequence_length), torch.device("cpu"))
                print(
                    f"| {recipe.optimizer} | {name} | {_norm(outcomes):.2f} | {_loss(outcomes)} |", flush=True
                )


def _norm(outcomes: list[Outcome]) -> float:
    return mean(point.gradient_norm for outcome in outcomes for point in outcome.curve[:FIRST_STEPS])


def _loss(outcomes: list[Outcome]) -> str:
    losses = [outcome.loss for outcome in outcomes if outcome.loss is not None]
    if len(losses) < len(outcomes):
        return "diverged"
    return f"{mean(losses):.4f} ({min(losses):.4f} to {max(losses):.4f})"


def main() -> None:
    torch.set_num_threads(1)
    sweep = load_sweep("norm-scale")
    one = recipe_of(sweep.expansion.trials[0])
    title, _, rest = (__doc__ or "").partition("\n\n    python")
    print(f"# Learnable multipliers\n\n{title}\n{rest.partition(chr(10))[2]}")
    size = f"width {one.shape.width}, depth {one.shape.depth}, {one.steps} steps"
    print(f"A transformer of {size}; columns are S = sqrt(lr / decay).\n")
    for part in ("readout", "mlp"):
        probes(sweep, part)
    clipping(sweep)


if __name__ == "__main__":
    main()
