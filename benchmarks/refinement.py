"""What a refined sweep saves: replayed on full grids, whose every point was trained.

`benchmarks/refinement/*.yaml` are two sweeps on a factor-sqrt(2) grid, the parquet files beside them their
rows. A refined sweep starts from every fourth value of that grid and adds the points it asks for; it is
compared with the full grid's verdicts, optima and trial-steps. Run: python benchmarks/refinement.py
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mutransfer.results.questions.comparison import Comparison, compare
from mutransfer.results.questions.refinement import refinement
from mutransfer.results.store.schema import ROWS
from mutransfer.sweeps.adaptive import RefineSpec

FOLDER = Path(__file__).parent / "refinement"
COARSE_STEP = 2.0  # octaves


@dataclass(frozen=True)
class Replay:
    """A full grid and the refined sweep on it. `steps` are trial-steps."""

    name: str
    full: list[Comparison]
    refined: list[Comparison]
    full_steps: int
    refined_steps: int
    rounds: int


def replay(path: Path, refine: RefineSpec) -> Replay:
    """Adds what `refinement` asks for, round by round, until it asks for nothing more."""
    rows = pd.read_parquet(path)
    rows["x"] = np.log2(rows["learning_rate"])
    taken = ((rows["x"] - rows["x"].min()) % COARSE_STEP).abs() < 1e-6
    rounds = 0
    while rounds < refine.rounds:
        wanted = refinement(compare(rows[taken], ROWS.names), refine.target, refine.finest)
        asked = pd.Series(False, index=rows.index)
        for entry in wanted:
            family = rows["parametrization"] == entry.comparison.family.parametrization
            near = np.isclose(rows["x"].to_numpy()[:, None], entry.log2_values).any(axis=1)
            asked |= family & (rows["width"] == entry.scale) & near
        if not (asked & ~taken).any():
            break
        taken |= asked
        rounds += 1
    steps = rows["steps"]
    return Replay(
        path.stem,
        compare(rows, ROWS.names),
        compare(rows[taken], ROWS.names),
        int(steps.sum()),
        int(steps[taken].sum()),
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
    print("| sweep | trial-steps, full | refined | rounds | verdicts, full | refined | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for path in sorted(FOLDER.glob("*.parquet")):
        found = replay(path, RefineSpec())
        share = found.refined_steps / found.full_steps
        verdicts = [", ".join(c.drift.verdict for c in group) for group in (found.full, found.refined)]
        print(
            f"| {found.name} | {found.full_steps:,} | {found.refined_steps:,} ({share:.0%}) | {found.rounds} "
            f"| {verdicts[0]} | {verdicts[1]} | {largest_difference(found):.2f} octaves |"
        )


if __name__ == "__main__":
    main()
