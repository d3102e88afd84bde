"""Coordinate checks along batch and duration: what 16 times the batch has learned after the same tokens, and
16 times the duration at its end, with and without each rule for them.

    python benchmarks/budget_updates.py > benchmarks/results/budget-updates.md

A transformer of width 32 and depth 2 under muP and AdamW at 2^-8, constant schedule, decay 0.1, the standard
library's text, 4 seeds. Batch: 640 sequences of 64 tokens in batches of 4 to 64, the base's the largest.
Duration: 20 to 320 steps of 16 sequences, the base's the shortest. Wanted is 0 for what every module has
learned, (W_t - W_0) x, as where the noise of the gradient decides: rules of its limit (arXiv:2205.10287) make
all of them one process in time. Where the gradient's mean decides, what is learned goes with the rate times
the steps: at the same tokens a rule that moves the rate by m_B^1/2 leaves m_B^-1/2.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from mutransfer.models.data.batches import Batches
from mutransfer.models.recipe.recipe import Recipe, recipe_from_point
from mutransfer.models.training.coordinates import measure
from mutransfer.results.checks.coordinates import Row, judge_row
from mutransfer.results.report.coordinates_terminal import measured
from mutransfer.sweeps.load import load_sweep
from mutransfer.sweeps.proxy import recipe_of

SWEEP = """\
name: budget
base: {width: 32, depth: 2}
fixed:
  {architecture: transformer, parametrization: mup, optimizer: adamw, width: 32, depth: 2, head_dim: 8,
   mlp_ratio: 2, sequence_length: 64, learning_rate: 0.00390625, weight_decay: 0.1, schedule: constant,
   warmup: 0, batch_size: 16, steps: 20}
axes: {seed: [0]}
data: {corpus: python-stdlib}
"""
BATCHES, SEQUENCES = (4, 8, 16, 32, 64), 640
DURATIONS, BATCH = (20, 40, 80, 160, 320), 16
SEEDS, PROBES = 4, 16
RULES = {
    "batch": ("none", "batch-sqrt", "batch-linear", "batch-sqrt+adam-sde", "complete-d"),
    "duration": ("none", "horizon_exponent 0.32", "complete-d"),
}


def budgets(axis: str) -> Iterator[tuple[int, dict[str, object]]]:
    """Each scale with its batch and steps, and those of the base."""
    if axis == "batch":
        base = {"base_batch_size": BATCHES[-1], "base_steps": SEQUENCES // BATCHES[-1]}
        for batch in BATCHES:
            yield batch, {**base, "batch_size": batch, "steps": SEQUENCES // batch}
    else:
        base = {"base_batch_size": BATCH, "base_steps": DURATIONS[0]}
        for steps in DURATIONS:
            yield steps, {**base, "batch_size": BATCH, "steps": steps}


def rows(one: Recipe, batches: Batches, axis: str, rule: str) -> list[Row]:
    """One for every module's update."""
    followed: dict[str, object] = {"budget_rules": rule}
    if rule.startswith("horizon_exponent"):
        followed = {"budget_rules": "none", "horizon_exponent": float(rule.split()[1])}
    found: dict[str, dict[float, tuple[float, ...]]] = {}
    for scale, budget in budgets(axis):
        point = {**one.point(), **budget, **followed}
        recipes = [recipe_from_point({**point, "seed": seed}) for seed in range(SEEDS)]
        for each in measure(recipes, batches, torch.device("cpu"), recipes[0].steps, PROBES):
            if each.quantity == "update":
                found.setdefault(each.module, {})[float(scale)] = each.values
    return [
        judge_row(
            module=module, role="", quantity="update", axis=axis, expected=0.0, at_most=False, values=values
        )
        for module, values in found.items()
    ]  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    (folder / "budget.yaml").write_text(SWEEP)
    sweep = load_sweep(str(folder / "budget.yaml"), [])
    one = recipe_of(sweep.expansion.trials[0])
    batches = sweep.materialised(folder).batches(one.shape.sequence_length)
    title, _, rest = (__doc__ or "").partition("\n\n    python")
    print(f"# Updates along batch and duration\n\n{title}\n{rest.partition(chr(10))[2]}")
    print("| axis | rule | as wanted | median exponent | hidden matrices | embedding | readout |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for axis, rules in RULES.items():
        for rule in rules:
            found = rows(one, batches, axis, rule)
            passed = sum(row.verdict == "passes" for row in found)
            median = float(np.median([row.exponent for row in found if row.exponent is not None]))
            told = [
                measured(next(row for row in found if row.module.startswith(name)))
                for name in ("blocks.*.mlp.up", "embedding", "readout")
            ]
            print(
                f"| {axis} | {rule} | {passed} of {len(found)} | {median:+.2f} | {' | '.join(told)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
