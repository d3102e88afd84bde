"""`report --suggest`: the trials that could settle what is inconclusive, as a sweep file or a table."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ...results.questions.comparison import rows_behind
from ...results.questions.suggestion import suggestion
from ...results.questions.view import MEASURED
from ...results.questions.wanted import Wanted
from ...results.report import words
from ...results.statistics.curve import scale_name
from ...results.store.schema import BUDGETS, WAITING
from ...sweeps.load import load_sweep, resolved
from ...sweeps.tokens import INSTEAD
from ...sweeps.trial import Trial
from ...sweeps.yaml_file import yaml_text
from ..record.directory import DirectoryError, SweepDirectory
from ..run.rounds import new_trials
from .gather import Evidence

GRID = {"name", "fixed", "axes", "zip", "exclude", "search", "refine"}
"""What a suggestion says anew; all other sections of a sweep file stay as they are."""


def suggested(directories: Sequence[Path], evidence: Evidence, out: Path) -> str | None:
    """The text of a sweep file, or of a table where `out` ends in .csv; None where nothing is inconclusive.

    Raises DirectoryError where a sweep file is asked for measurements that were all imported: there is no
    sweep to add to.
    """
    wanted = suggestion(evidence.content.comparisons)
    if not wanted:
        return None
    return _table(evidence.rows, wanted) if out.suffix == ".csv" else _sweep(directories, wanted)


def _table(rows: pd.DataFrame, wanted: Sequence[Wanted]) -> str:
    """A row for each trial, as `import` reads it once the losses are filled in; those that are not wait.

    At a scale that is new, what goes with the scale is left empty, too.
    """
    own = rows["job_id"].notna().any()  # of trials of our own, budgets follow from the rest
    left_out = MEASURED | (BUDGETS if own else set())
    kept = [name for name in rows.columns if name not in left_out and rows[name].notna().any()]
    found = [row for entry in wanted for row in _copies(rows_behind(entry.comparison, rows)[kept], entry)]
    return str(pd.concat(found).drop_duplicates().assign(loss=WAITING).to_csv(index=False))


def _copies(members: pd.DataFrame, wanted: Wanted) -> Iterator[pd.DataFrame]:
    """Trials like those of a scale, at each value that is wanted."""
    axis, hyperparameter = wanted.comparison.axis, wanted.comparison.hyperparameter
    trials = members[members[axis] == wanted.like].drop(columns=hyperparameter).drop_duplicates()
    if wanted.scale != wanted.like:
        values = members.drop(columns=[axis, hyperparameter]).groupby(members[axis]).nunique(dropna=False)
        moving = [name for name in values if values[name].max() == 1 and members[name].nunique() > 1]
        scale = int(wanted.scale) if wanted.scale.is_integer() else wanted.scale
        trials = trials.assign(**dict.fromkeys(moving), **{axis: scale})
    if wanted.new_seed:
        last = int(trials["seed"].max()) if "seed" in trials else 0
        trials = trials.assign(seed=last + 1).drop_duplicates()
    for log2 in wanted.log2_values:
        yield trials.assign(**{hyperparameter: 2.0**log2})


def _sweep(directories: Sequence[Path], wanted: Sequence[Wanted]) -> str | None:
    why = [f"{words.label(w.comparison)}, scale {scale_name(w.scale)}: {w.why}" for w in wanted]
    told = "Suggested by mutransfer report: {} trials that could settle what is inconclusive."
    found = added(directories, wanted, told, why, "; --suggest FILE.csv writes a table")
    return None if found is None else found[0]


def added(
    directories: Sequence[Path], wanted: Sequence[Wanted], told: str, why: Sequence[str], remedy: str = ""
) -> tuple[str, list[Trial]] | None:
    """The text of a sweep file of the wanted trials that are not known, and these; None where all are. `told`
    is its first line, with {} for their number; `why` further ones; `remedy` what to do without a sweep.

    Raises DirectoryError where all measurements were imported: there is no sweep to add to.
    """
    folders = [SweepDirectory(path) for path in directories if not path.is_file()]
    trained = [directory for directory in folders if directory.wanted_trials()]
    if not trained:
        raise DirectoryError(f"{directories[0]}: holds imported measurements, no sweep to add to{remedy}")
    sweep = load_sweep(str(trained[0].path / "sweep.yaml"))
    known = [trial for directory in trained for job in directory.read_plan() for trial in job.trials]
    trials = new_trials(known, wanted, {trial.id for trial in known})
    if not trials:
        return None
    values = resolved(sweep.spec)
    name = _new_name(sweep.spec.name, {directory.sweep_name() for directory in trained})
    header = [
        f"# {told.format(len(trials))}",
        f"# Then: mutransfer report {' '.join(map(str, directories))} runs/{name}",
        *(f"# {reason}" for reason in why),
    ]
    kept = {key: value for key, value in values.items() if key not in GRID}
    return "\n".join(header) + "\n" + yaml_text({"name": name, **kept, **_points(trials, values)}), trials


def _new_name(name: str, taken: set[str | None]) -> str:
    """NAME-more, NAME-more2, ...: suggestions follow each other, each in a directory of its own."""
    numbered = (f"{name[:90]}-more{number or ''}" for number in (0, *range(2, 1000)))
    return next(candidate for candidate in numbered if candidate not in taken)


def _points(trials: Sequence[Trial], values: dict[str, Any]) -> dict[str, Any]:
    """The trials as axes that advance together; what is the same in all of them is fixed."""
    points = [trial.program.point() for trial in trials]
    searched = values.get("search", {}).get("space", {})
    given = [*values.get("fixed", {}), *values.get("axes", {}), *searched]
    counted = {other: name for name, others in INSTEAD.items() for other in others}
    named = [*(name for one in given for name in (counted.get(one, one), one)), "seed"]
    named = [name for name in named if any(name in point for point in points)]
    columns = {name: [point.get(name) for point in points] for name in dict.fromkeys(named)}
    fixed = {name: column[0] for name, column in columns.items() if len({*column}) == 1}
    axes = {name: column for name, column in columns.items() if name not in fixed}
    zipped = {"zip": [[*axes]]} if len(axes) > 1 else {}
    return {"fixed": {k: v for k, v in fixed.items() if v is not None}, "axes": axes, **zipped}
