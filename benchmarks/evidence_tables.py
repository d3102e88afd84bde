"""The verdicts of docs/evidence.md, computed from the measurements in benchmarks/evidence.

    python benchmarks/evidence_tables.py                  prints the tables
    python benchmarks/evidence_tables.py --keep DIR...    keeps the rows of finished sweep directories

A sweep NAME is judged together with NAME-fine and NAME-seeds, which add points to it.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mutransfer.results.questions.comparison import Comparison, compare
from mutransfer.results.questions.options import option_shifts
from mutransfer.results.report import words
from mutransfer.results.report.markdown import markdown_table
from mutransfer.results.report.tables import accuracy_table, option_table
from mutransfer.results.statistics.curve import scale_name
from mutransfer.results.store.schema import ROWS
from mutransfer.results.store.store import read_rows

FOLDER = Path(__file__).parent / "evidence"
WITH_ACCURACY = ("mqar",)


def keep(directories: list[Path]) -> None:
    """One Parquet file per sweep, rows only, in the order of their ids."""
    for directory in directories:
        table, broken = read_rows(directory)
        assert not broken, broken
        pq.write_table(table.sort_by("trial_id"), FOLDER / f"{directory.name}.parquet", compression="zstd")


def sweeps() -> dict[str, pa.Table]:
    """All rows of each sweep and of those that add to it."""
    files = sorted(FOLDER.glob("*.parquet"))
    names = [path.stem for path in files if not path.stem.endswith(("-fine", "-seeds"))]
    return {
        name: pa.concat_tables(
            (pq.read_table(path) for path in files if path.stem in (name, f"{name}-fine", f"{name}-seeds")),
            promote_options="default",  # later ones have fields that older ones do not know
        )
        for name in names
    }


def lines(name: str, table: pa.Table) -> list[str]:
    comparisons = compare(table.to_pandas(), ROWS.names)
    scales = sorted({optimum.scale for c in comparisons for optimum in c.drift.optima})
    axis = comparisons[0].axis
    heads = [
        "",
        "verdict",
        "slope",
        "penalty, nats",
        *(f"{axis} {scale_name(scale)}" for scale in scales),
    ]
    return [
        f"### `{name}`: {words.readable(comparisons[0].hyperparameter)}, {table.num_rows} trials",
        "",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
        *(_line(comparison, scales) for comparison in comparisons),
        "",
        *_further(name, comparisons, axis),
    ]


def _further(name: str, comparisons: list[Comparison], axis: str) -> list[str]:
    """Accuracies, where they are the task's own measure, and what options do to the optimum."""
    found = []
    if name in WITH_ACCURACY:
        found += [markdown_table(accuracy_table(comparisons, axis)), ""]
    if shifts := option_shifts(comparisons):
        found += [markdown_table(option_table(shifts)), ""]
    return found


def _line(comparison: Comparison, scales: list[float]) -> str:
    drift = comparison.drift
    optima = {optimum.scale: words.optimum(optimum) for optimum in drift.optima}
    cells = [
        words.label(comparison),
        f"**{drift.verdict}**",
        " ".join(words.slope(drift.slope)).strip(),
        " ".join(words.penalty(drift.penalty)).strip(),
        *(optima.get(scale, "") for scale in scales),
    ]
    return f"| {' | '.join(cells)} |"


def tuned_ratios(table: pa.Table) -> list[str]:
    """Means over seeds of the lowest loss with each value of a ratio, the others at their best."""
    rows = table.to_pandas()
    ratios = ["embedding_lr", "readout_lr", "vector_lr"]
    means = rows.groupby([*ratios, "learning_rate"], as_index=False)["loss"].mean()
    told = [f"### `ratios-base`: base ratios of roles, {table.num_rows} trials", ""]
    told += ["| ratio | its values, and the lowest loss with each |", "|---|---|"]
    for name in ratios:
        best = means.groupby(name)["loss"].min()
        told.append(f"| {name} | {', '.join(f'{value:g}: {loss:.3f}' for value, loss in best.items())} |")
    return [*told, ""]


def by_role(table: pa.Table) -> list[str]:
    """Losses by what is moved."""
    losses = table.to_pandas().pivot(
        index=["readout_multiplier", "readout_lr"], columns="embedding_lr", values="loss"
    )
    heads = ["readout_multiplier", "readout_lr", *(f"embedding_lr {value:g}" for value in losses.columns)]
    cells = [[f"{one:g}" for one in key] for key in losses.index]
    return _losses(f"`ratios-role`: which role it is, {table.num_rows} trials", heads, cells, losses)


APART = {"ratios-base": tuned_ratios, "ratios-role": by_role}
"""Sweeps of one width, which have no optimum to follow."""


def lowest(tables: Mapping[str, pa.Table]) -> list[str]:
    """The lowest loss of any rate, SP's beside muP's, under AdamW across the width."""
    best = _best(tables, ("width-transformer-adamw", "width-gdn-adamw"))
    tuned = _best(tables, ("ratios-width", "ratios-width-gdn"))
    return [
        *_table_of("The lowest losses, AdamW, each at its own best rate", best),
        *_table_of("The lowest losses, muP with base ratios, mean of two seeds", tuned),
    ]


def _best(tables: Mapping[str, pa.Table], names: Sequence[str]) -> pd.DataFrame:
    """The lowest mean over the seeds that all parametrizations share, by what is trained and width."""
    rows = pd.concat([tables[name].to_pandas() for name in names]).query("status == 'finished'")
    every = rows.groupby("architecture")["parametrization"].transform("nunique")
    with_seed = rows.groupby(["architecture", "seed"])["parametrization"].transform("nunique")
    rows = rows[with_seed == every]
    trained = ["architecture", "parametrization", "width"]
    means = rows.groupby([*trained, "learning_rate"])["loss"].mean()
    return means.groupby(trained, sort=True).min().unstack()


def _table_of(title: str, best: pd.DataFrame) -> list[str]:
    heads = ["", *(f"width {width}" for width in best.columns)]
    return _losses(title, heads, [[" ".join(map(str, key))] for key in best.index], best)


def _losses(
    title: str, heads: Sequence[str], cells: Sequence[Sequence[str]], losses: pd.DataFrame
) -> list[str]:
    """A titled table of losses, each row behind cells of its own."""
    rows = zip(cells, losses.to_numpy(), strict=True)
    return [
        f"### {title}",
        "",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
        *(f"| {' | '.join([*own, *(f'{loss:.3f}' for loss in row)])} |" for own, row in rows),
        "",
    ]


def main() -> None:
    if sys.argv[1:2] == ["--keep"]:
        keep([Path(argument) for argument in sys.argv[2:]])
        return
    tables = sweeps()
    for name, table in tables.items():
        print("\n".join(APART[name](table) if name in APART else lines(name, table)))
    print("\n".join(lowest(tables)))


if __name__ == "__main__":
    main()
