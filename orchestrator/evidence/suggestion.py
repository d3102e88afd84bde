"""`report --suggest`: the trials that could settle what is inconclusive, as a sweep file to run."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ...results.questions.comparison import Comparison
from ...results.questions.refinement import suggestion
from ...results.report import words
from ...sweeps.load import load_sweep, resolved
from ...sweeps.trial import Trial
from ..record.directory import DirectoryError, SweepDirectory
from ..run.rounds import new_trials

GRID = {"name", "fixed", "axes", "zip", "exclude", "search", "refine"}
"""What a suggestion says anew; all other sections of a sweep file stay as they are."""


def suggested_sweep(directories: Sequence[Path], comparisons: Sequence[Comparison]) -> str | None:
    """The sweep file's text; None where nothing is inconclusive. Its trials go to a directory of their own.

    Raises DirectoryError for measurements that were imported: there is no sweep to add to.
    """
    wanted = suggestion(comparisons)
    if not wanted:
        return None
    trained = [SweepDirectory(path) for path in directories if SweepDirectory(path).wanted_trials()]
    if not trained:
        raise DirectoryError(
            f"{directories[0]}: holds imported measurements; --suggest needs a sweep that was trained here"
        )
    sweep = load_sweep(str(trained[0].path / "sweep.yaml"))
    known = [trial for directory in trained for job in directory.read_plan() for trial in job.trials]
    trials = new_trials(known, wanted)
    if not trials:
        return None
    values = resolved(sweep.spec)
    name = _new_name(sweep.spec.name, {directory.sweep_name() for directory in trained})
    why = [f"{words.label(w.comparison)}, scale {w.scale:g}: {w.why}" for w in wanted]
    header = [
        f"# Suggested by mutransfer report: {len(trials)} trials that could settle what is inconclusive.",
        f"# Then: mutransfer report {' '.join(map(str, directories))} runs/{name}",
        *(f"# {reason}" for reason in why),
    ]
    kept = {key: value for key, value in values.items() if key not in GRID}
    text = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.dump({"name": name, **kept, **_points(trials, values)}, text)
    return "\n".join(header) + "\n" + text.getvalue()


def _new_name(name: str, taken: set[str | None]) -> str:
    """NAME-more, NAME-more2, ...: suggestions follow each other, each in a directory of its own."""
    numbered = (f"{name[:90]}-more{number or ''}" for number in (0, *range(2, 1000)))
    return next(candidate for candidate in numbered if candidate not in taken)


def _points(trials: Sequence[Trial], values: dict[str, Any]) -> dict[str, Any]:
    """The trials as axes that advance together; what is the same in all of them is fixed."""
    points = [trial.program.point() for trial in trials]
    searched = values.get("search", {}).get("space", {})
    named = [*values.get("fixed", {}), *values.get("axes", {}), *searched, "seed"]
    columns = {name: [point[name] for point in points] for name in dict.fromkeys(named)}
    fixed = {name: column[0] for name, column in columns.items() if len({*column}) == 1}
    axes = {name: column for name, column in columns.items() if name not in fixed}
    zipped = {"zip": [[*axes]]} if len(axes) > 1 else {}
    return {"fixed": {k: v for k, v in fixed.items() if v is not None}, "axes": axes, **zipped}
