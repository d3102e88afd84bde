"""What a refined sweep saves: replayed on full grids, whose every point was trained.

`benchmarks/refinement/*.yaml` are sweeps on a factor-sqrt(2) grid, the parquet files beside them their rows.
The grid of a refined sweep is every fourth of these values, and it may ask for all of them; it is compared
with the full grid's verdicts, optima, trial-steps and operations. Run: python benchmarks/refinement.py
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mutransfer.results.questions.comparison import Comparison, compare
from mutransfer.results.questions.refinement import refinement, smallest
from mutransfer.results.store.schema import ROWS, WAITING
from mutransfer.sweeps.adaptive import RefineSpec

FOLDER = Path(__file__).parent / "refinement"
COARSE_STEP, FINEST_STEP = 2.0, 0.5  # octaves


@dataclass(frozen=True)
class Replay:
    """A full grid and the refined sweep on it. `steps` are trial-steps."""

    name: str
    full: list[Comparison]
    refined: list[Comparison]
    full_steps: int
    refined_steps: int
    flops_share: float
    rounds: int


def replay(path: Path, refine: RefineSpec) -> Replay:
    """Asks `refinement` round by round, until it asks for nothing more."""
    rows = pd.read_parquet(path)
    rows["x"] = np.log2(rows["learning_rate"])
    coarse = ((rows["x"] - rows["x"].min()) % COARSE_STEP).abs() < 1e-6
    asked = coarse & smallest(rows[coarse], ROWS.names).reindex(rows.index, fill_value=False)
    rounds = tightened = 0
    while True:
        known = rows[coarse | asked]
        known = known.assign(status=known["status"].where(asked[known.index], WAITING))
        wanted = refinement(compare(known, ROWS.names), refine.target, refine.finest)
        begins = any(entry.begins for entry in wanted)
        if tightened >= refine.rounds:
            wanted = [entry for entry in wanted if entry.begins]
        new = pd.Series(False, index=rows.index)
        for entry in wanted:
            family = rows["parametrization"] == entry.comparison.family.parametrization
            near = np.isclose(rows["x"].to_numpy()[:, None], entry.log2_values).any(axis=1)
            new |= family & (rows["width"] == entry.scale) & near
        if not (new & ~asked).any():
            break
        asked |= new
        rounds, tightened = rounds + 1, tightened + (not begins)
    steps, flops = rows["steps"], rows["flops"]
    return Replay(
        path.stem,
        compare(rows, ROWS.names),
        compare(rows[asked], ROWS.names),
        int(steps.sum()),
        int(steps[asked].sum()),
        float(flops[asked].sum() / flops.sum()),
        rounds,
    )


def largest_difference(replayed: Replay) -> float:
    """Octaves between the optima of the two, over all scales."""
    return max(
        abs(one.log2_optimum - other.log2_optimum)
        for full, refined in zip(replayed.full, replayed.refined, strict=True)
        for one, other in zip(full.drift.optima, refined.drift.optima, strict=True)
        if one.log2_optimum is not None and other.log2_optimum is not None
    )


def main() -> None:
    print(
        "| sweep | trial-steps, full | refined | operations | rounds "
        "| verdicts, full | refined | largest difference |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for path in sorted(FOLDER.glob("*.parquet")):
        found = replay(path, RefineSpec(finest=FINEST_STEP))
        share = found.refined_steps / found.full_steps
        verdicts = [", ".join(c.drift.verdict for c in group) for group in (found.full, found.refined)]
        print(
            f"| {found.name} | {found.full_steps:,} | {found.refined_steps:,} ({share:.0%}) "
            f"| {found.flops_share:.0%} | {found.rounds} | {verdicts[0]} | {verdicts[1]} "
            f"| {largest_difference(found):.2f} octaves |"
        )


if __name__ == "__main__":
    main()
