"""What `prune:` would have stopped of sweeps that were trained whole, and what becomes of their verdicts.

    python benchmarks/pruning.py                 replays what is in `pruning/`, with the defaults
    python benchmarks/pruning.py DIR [DIR...]    puts the rows and training losses of sweep directories there

Each curve is taken for one job. Told are, per sweep: how high above its curve's lowest loss the best of the
stopped trials ended, how many values off the lowest it is, and how far any optimum moves when those trials
count as stopped.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mutransfer.models.recipe.recipe import FIELDS, recipe_from_point
from mutransfer.models.training.pruning import Pruning
from mutransfer.results.questions.comparison import Comparison, compare
from mutransfer.results.statistics.interval import POSITION_OCTAVES
from mutransfer.results.store.schema import PRUNED, ROWS
from mutransfer.results.store.store import read_curves, read_rows
from mutransfer.sweeps.adaptive import PruneSpec
from mutransfer.sweeps.own_tables import own_table, table_names

FOLDER = Path(__file__).parent / "pruning"
TUNED = ("learning_rate", "weight_decay")
LOSSES = "train_losses"
"""Column of all training losses of a trial, step after step."""
MANY = 6
"""More verdicts than these are counted."""


@dataclass(frozen=True)
class Replay:
    """A sweep whole, and as it would have been. `height` is in nats; `off` counts values of the grid."""

    name: str
    trials: int
    stopped: int
    saved: float
    height: float
    off: int
    whole: list[Comparison]
    pruned: list[Comparison]


def replay(path: Path) -> Replay:
    """Every curve is gone through as its training would have gone."""
    rows = pd.read_parquet(path)
    tuned = next(name for name in TUNED if rows[name].nunique() > 1)
    rule = Pruning((tuned,), **dict(PruneSpec()))
    after = {trial: step for _, curve in _curves(rows, tuned) for trial, step in _stopped(curve, rule)}
    stopped = rows["trial_id"].isin(after)
    saved = (rows["steps"] - rows["trial_id"].map(after))[stopped].sum() / rows["steps"].sum()
    heights, off = _apart(rows, stopped, tuned)
    whole = pruned = compare(rows, ROWS.names)
    if after:
        changed = rows.assign(
            status=rows["status"].where(~stopped, PRUNED), loss=rows["loss"].where(~stopped)
        )
        pruned = compare(changed, ROWS.names)
    return Replay(
        path.stem, len(rows), len(after), saved, min(heights, default=np.inf), min(off, default=0), whole,
        pruned,
    )  # fmt: skip


def _curves(rows: pd.DataFrame, tuned: str) -> Iterator[tuple[object, pd.DataFrame]]:
    """Trials that agree in all but what is tuned."""
    shared = [name for name in FIELDS if name in rows and name != tuned]
    yield from rows.groupby(shared, dropna=False)


def _stopped(curve: pd.DataFrame, rule: Pruning) -> Iterator[tuple[str, int]]:
    """The trials that are stopped, and the steps that they have done by then."""
    recipes = [recipe_from_point(_point(row)) for row in curve.to_dict("records")]
    companions = rule.companions(recipes)
    steps = recipes[0].steps
    losses_NK = np.full((steps, len(curve)), np.nan)
    for index, losses in enumerate(curve[LOSSES]):
        if losses is None:  # it broke at once
            continue
        losses_NK[: len(losses), index] = losses
    for done in sorted(rule.looks(steps)):
        for index in rule.hopeless(losses_NK[:done], companions):
            losses_NK[:, index] = np.nan
            if curve["status"].iloc[index] == "finished":
                yield curve["trial_id"].iloc[index], done


def _point(row: dict[str, object]) -> dict[str, object]:
    return {name: row[name] for name in FIELDS if name in row and not pd.isna(row[name])}


def _apart(rows: pd.DataFrame, stopped: pd.Series, tuned: str) -> tuple[list[float], list[int]]:
    """Of each stopped trial: its height above its curve's lowest loss, and the values between."""
    heights, off = [], []
    for _, curve in _curves(rows, tuned):
        ordered = curve.sort_values(tuned)
        places = np.flatnonzero(stopped[ordered.index])
        losses = ordered["loss"].to_numpy()
        heights += [float(losses[place] - np.nanmin(losses)) for place in places]
        off += [abs(int(place) - int(np.nanargmin(losses))) for place in places]
    return heights, off


def moved(replayed: Replay) -> tuple[float, int]:
    """The furthest that an optimum moves, in octaves, and how many leave their interval by more than an
    optimum is ever known to."""
    furthest, left = 0.0, 0
    for whole, pruned in zip(replayed.whole, replayed.pruned, strict=True):
        for one, other in zip(whole.drift.optima, pruned.drift.optima, strict=True):
            if one.log2_optimum is not None and other.log2_optimum is not None:
                furthest = max(furthest, abs(one.log2_optimum - other.log2_optimum))
                low, high = one.interval or (None, None)
                below = low is not None and other.log2_optimum < low - 2 * POSITION_OCTAVES
                above = high is not None and other.log2_optimum > high + 2 * POSITION_OCTAVES
                left += below or above
    return furthest, left


def keep(directory: Path) -> None:
    """One file of the sweep's rows, each with its training losses."""
    rows, curves = (read(directory)[0].to_pandas() for read in (read_rows, read_curves))
    losses = curves.sort_values("step").groupby("trial_id")["train_loss"].agg(np.float32)
    kept = rows.dropna(axis="columns", how="all").assign(**{LOSSES: rows["trial_id"].map(losses)})
    FOLDER.mkdir(exist_ok=True)
    kept.to_parquet(FOLDER / f"{directory.name}.parquet", compression="zstd", index=False)


def main() -> None:
    for shipped in table_names():  # rows know a table by its digest
        own_table(shipped)
    for directory in map(Path, sys.argv[1:]):
        keep(directory)
    print("| sweep | trials | stopped | trial-steps saved | best of them, above the lowest | values off it "
          "| optima move by at most | leave their interval | verdicts, whole | pruned |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    for path in sorted(FOLDER.glob("*.parquet")):
        found = replay(path)
        furthest, left = moved(found)
        whole, pruned = (_verdicts(compared) for compared in (found.whole, found.pruned))
        worst = f"{found.height:.2f} nats | {found.off}" if found.stopped else "– | –"
        print(
            f"| {found.name} | {found.trials} | {found.stopped} | {found.saved:.1%} "
            f"| {worst} | {furthest:.2f} octaves | {left} "
            f"| {whole} | {pruned} |"
        )


def _verdicts(compared: Sequence[Comparison]) -> str:
    told = [comparison.drift.verdict for comparison in compared]
    if len(told) <= MANY:
        return ", ".join(told)
    return ", ".join(f"{count} {verdict}" for verdict, count in Counter(told).most_common())


if __name__ == "__main__":
    main()
