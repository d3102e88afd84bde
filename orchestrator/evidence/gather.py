"""The measurements of one or several sweep directories, gathered for reports and exports."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ...results.checks.coordinates import Check, checks_from_object
from ...results.questions.comparison import compare
from ...results.questions.contrast import contrasts
from ...results.questions.facts import Facts, facts_of, of_proxies
from ...results.questions.grouping import MIN_SWEPT, NOT_COORDINATES, SCALE_AXES, by_duration
from ...results.questions.options import option_shifts
from ...results.questions.plane import joint
from ...results.questions.searched import best_of_searches
from ...results.questions.view import ALL, View, collinear
from ...results.report.content import Content
from ...results.sources.importing import name_of, understand
from ...results.sources.names import one_spelling
from ...results.statistics.tolerance import Tolerance
from ...results.store.schema import COORDINATE, coordinate_names
from ...results.store.store import concatenated, finished_trials, publish_table, published_jobs, read_rows
from ...sweeps.command.command import IDENTITY
from ..record.directory import IMPORTED, DirectoryError, SweepDirectory
from ..record.journal import read_journal, replay
from ..record.lease import drives, holder
from ..record.output import write_output

CHECK = "coordcheck/coordcheck.json"
"""Where a sweep keeps its coordinate check: `coordcheck SPEC --out DIR/coordcheck`."""
SWEEP = "sweep.yaml"
ADDRESS = re.compile(r"[a-z][a-z0-9+]*:/")


Search = tuple[list[str], set[str]]
"""The fields that a directory searches, and the ids of its trials."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """The rows that are looked at, the columns that may tell trials apart, and what stands in the way.

    `searches` are the fields that a directory searches and the ids of its trials, `of_grids` all other ids.
    """

    rows: pd.DataFrame
    coordinates: Sequence[str]
    facts: Facts
    searches: Sequence[Search]
    of_grids: set[str]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Rows, what they say, and what stands in the way."""

    rows: pd.DataFrame
    content: Content

    @property
    def problems(self) -> tuple[str, ...]:
        return self.content.problems

    def lacks(self, axis: str | None, hyperparameter: str | None) -> str:
        """Why there is nothing to compare, and the remedy."""
        told = {name for name in self.rows if self.rows[name].notna().any()}
        scale = next((name for name in ([axis] if axis else ("width", "depth")) if name in told), None)
        if scale is None:
            return f"no trial has a {axis or 'width'}; say what was scaled with --axis COLUMN"
        return (
            f"the trials have a {scale}, and no {hyperparameter or 'learning_rate'} with several values; say "
            "what was tuned with --hyperparameter COLUMN"
        )


def measurements(directories: Sequence[Path], view: View = ALL) -> Measurements:
    """Reads the directories, or tables of losses from elsewhere. Raises DirectoryError for what is neither;
    broken files are named."""
    tables: list[pa.Table] = []
    problems, names, runs = [], [], []
    elsewhere: dict[int, Path] = {}
    of_grids: set[str] = set()
    searches: list[Search] = []
    programs: dict[int, Mapping[str, Any]] = {}
    failures, lost_seconds = Counter[str](), 0.0
    for path in directories:
        if path.is_file():
            found = understand(path)
            elsewhere[len(tables)] = path
            tables.append(found.table)
            of_grids |= {*found.table.column("trial_id").to_pylist()}
            names.append(name_of(path))
            problems += [f"{path}: {note}" for note in found.notes]
            continue
        directory = SweepDirectory(path)
        name = directory.sweep_name()
        if name is None:
            neither = "is neither a sweep directory nor a table; run a sweep, or import measurements first"
            neither += " (a folder of runs, too)"
            if str(path).startswith("sqlite:"):
                neither = "is a database's address; give the path of its file"
            elif ADDRESS.match(str(path)):
                neither = "is an address; import the database there, or what was downloaded from it, first"
            raise DirectoryError(directory.nameless() or f"{path}: {neither}")
        table, broken = read_rows(path)
        problems += [f"{item.path}: unreadable, left out ({item.reason})" for item in broken]
        if "program" in _resolved(path):  # of a changed program only what was asked for last counts
            table = table.filter(pc.is_in(table.column("trial_id"), pa.array(directory.wanted_trials())))
            programs[len(tables)] = _program(directory)
        if published_jobs(path) == {IMPORTED}:
            elsewhere[len(tables)] = path
        tables.append(table)
        ids = {*table.column("trial_id").to_pylist()}
        if space := searched_fields(path):
            searches.append((space, ids))
        else:
            of_grids |= ids
        names.append(name)
        runs += directory.provenance()
        history = replay(read_journal(directory.journal))
        failures.update(history.failures)
        lost_seconds += history.lost_seconds
        problems += _unfinished(directory, table, any(not item.damaged for item in broken))
    if told := _differing([*programs.values()]):
        problems.append(
            f"{', '.join(map(str, directories))}: ran programs that differ in {', '.join(told)}; their "
            "trials are compared apart, by the column program"
        )
        for index, program in programs.items():
            held = pa.array([_digest(program)] * tables[index].num_rows, pa.string())
            tables[index] = tables[index].append_column(
                pa.field("program", pa.string(), metadata=COORDINATE), held
            )
    for index in _of_one_name(elsewhere, names):
        told = pa.array([str(elsewhere[index])] * tables[index].num_rows, pa.string())
        place = tables[index].schema.get_field_index("sweep")
        tables[index] = tables[index].set_column(place, tables[index].schema.field(place), told)
    whole = concatenated(tables)
    coordinates = coordinate_names(whole)
    rows = whole.to_pandas()
    if elsewhere and len(tables) > 1:  # as within one table
        rows, spelled = one_spelling(rows)
        problems += spelled
    if rows.empty:
        problems.append(f"{', '.join(str(path) for path in directories)}: no finished trials to report yet")
    else:
        rows = view.of(rows).drop_duplicates("trial_id", ignore_index=True)  # what is held may be in several
    facts = facts_of(rows, names, runs, dict(sorted(failures.items())), lost_seconds)
    return Measurements(rows, coordinates, facts, searches, of_grids, tuple(problems))


def _of_one_name(elsewhere: Mapping[int, Path], names: Sequence[str]) -> list[int]:
    """The measurements from elsewhere that are called as others are, and are not those: `a/runs.csv` and
    `b/runs.csv`."""
    places: dict[str, set[Path]] = {}
    for index, path in elsewhere.items():
        places.setdefault(names[index], set()).add(path.resolve())
    return [index for index in elsewhere if len(places[names[index]]) > 1]


def _program(directory: SweepDirectory) -> Mapping[str, Any]:
    """What the program of a sweep is known by, but for its GPUs; empty before a trial is planned."""
    wanted = directory.wanted_trials()
    job = next((job for job, trials in directory.planned().items() if wanted & {*trials}), None)
    definition = {} if job is None else directory.read_job(job)[0][0].program.definition
    return {name: definition.get(name) for name in IDENTITY if name != "gpus"} if definition else {}


def _differing(programs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parts in which programs are not one; those that nothing is known of are none."""
    known = [program for program in programs if program]
    return [
        name for name in IDENTITY if len({json.dumps(one.get(name), sort_keys=True) for one in known}) > 1
    ]


def _digest(program: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(program, sort_keys=True).encode()).hexdigest()[:8]


def gather(directories: Sequence[Path], tolerance: Tolerance | None = None, view: View = ALL) -> Evidence:
    """What the directories say; a tolerance of None is that of the first sweep file that gives one.

    Raises DirectoryError and ViewFault.
    """
    view = replace(
        view,
        axes=view.axes or asked_field(directories, "scale"),
        hyperparameters=view.hyperparameters or asked_field(directories, "hyperparameter"),
    )
    found = measurements(directories, view)
    tolerance = tolerance or next(filter(None, map(asked_tolerance, directories)), None)
    checks: list[Check] = []
    problems = list(found.problems)
    for path in directories:
        try:
            checks += _checks(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"{path / CHECK}: is no coordinate check, left out ({error})")
    problems += [told for path in directories if (told := _unread_sweep(path))]
    content = _content(found, checks, tolerance, view)
    if content.comparisons:
        problems += view.pooled(found.rows, found.coordinates)
        problems += _together(found.rows, view.axes)
        problems += _untuned(found.rows, content)
    return Evidence(found.rows, replace(content, problems=tuple(problems)))


def _together(rows: pd.DataFrame, axes: Sequence[str]) -> list[str]:
    """A line where scales that vary cannot be told apart; of others' trainings tokens are one, too."""
    scales = [*SCALE_AXES, *axes]
    if not of_proxies(rows) and "steps" in rows and rows["steps"].nunique() < 2:
        scales.append("tokens")
    varying = [name for name in dict.fromkeys(scales) if name in rows and rows[name].nunique() > 1]
    told = collinear(rows, by_duration(rows, varying))
    return [] if told is None else [f"{told}; what is said of one is said of all"]


def _untuned(rows: pd.DataFrame, content: Content) -> list[str]:
    """A line where the learning rate, which is judged, is one everywhere, and something else may be meant."""
    rates = rows["learning_rate"].unique()
    if len(rates) > 1 or any(one.hyperparameter != "learning_rate" for one in content.comparisons):
        return []
    columns = rows.columns.difference([*NOT_COORDINATES, *SCALE_AXES, "source"])
    numbers = rows[columns].apply(pd.to_numeric, errors="coerce").nunique()
    if (most := numbers.max()) < MIN_SWEPT:
        return []
    told = f"--hyperparameter {numbers.idxmax()}, which has {most} values, says what was tuned in its place"
    return [f"the learning rate is {rates[0]:g} in all trials; {told}"]


def _content(
    found: Measurements, checks: Sequence[Check], tolerance: Tolerance | None, view: View
) -> Content:
    """What the rows say: comparisons of the grids, and the best of each search."""
    rows, coordinates = found.rows, found.coordinates
    searched = {trial for _, ids in found.searches for trial in ids} - found.of_grids
    grid = rows[~rows["trial_id"].isin(searched)]
    asked = (next(iter(view.axes), None), next(iter(view.hyperparameters), None))
    comparisons = compare(grid, coordinates, tolerance, *asked, view.pool) if len(grid) else []
    best = [
        entry
        for space, ids in found.searches
        for entry in best_of_searches(rows[rows["trial_id"].isin(ids)], space, coordinates)
    ]
    return Content(
        comparisons=tuple(comparisons),
        contrasts=tuple(contrasts(comparisons)),
        options=tuple(option_shifts(comparisons)),
        joint=tuple(joint(grid, coordinates) if len(grid) else []),
        searches=tuple(best),
        checks=tuple(checks),
        facts=found.facts,
    )


def _checks(path: Path) -> tuple[Check, ...]:
    file = path / CHECK
    return checks_from_object(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else ()


def searched_fields(path: Path) -> list[str]:
    """The hyperparameters that a sweep searches, by its resolved file; none where there is no search."""
    try:
        return list(_resolved(path)["search"]["space"])
    except (KeyError, TypeError):
        return []


def asked_field(directories: Sequence[Path], key: str) -> list[str]:
    """The scale or hyperparameter of the first sweep file that names one; none where the trials say it."""
    for path in directories:
        if name := _resolved(path).get(key):
            return [str(name)]
    return []


def asked_tolerance(path: Path) -> Tolerance | None:
    """Of a sweep's resolved file; None where it gives none."""
    try:
        return Tolerance(**{name: float(value) for name, value in _resolved(path)["tolerance"].items()})
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def asked(directories: Sequence[Path], nats: float | None, doublings: float | None) -> Tolerance | None:
    """What the command line says, the rest as the first sweep file that gives a tolerance; None: nothing."""
    given = {name: value for name, value in (("nats", nats), ("doublings", doublings)) if value is not None}
    if not given:
        return None
    return replace(next(filter(None, map(asked_tolerance, directories)), Tolerance()), **given)


def _resolved(path: Path) -> dict[str, Any]:
    """A sweep's resolved file; empty where it has none that can be read (`_unread_sweep`)."""
    try:
        held = YAML(typ="safe").load((path / SWEEP).read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError):
        return {}
    return held if isinstance(held, dict) else {}


def _unread_sweep(path: Path) -> str | None:
    """A line where a sweep has no file that says something of scale, hyperparameter and tolerance."""
    file = path / SWEEP
    if _resolved(path) or not (file.is_file() or (path / "plan.json").is_file()):
        return None
    why = "cannot be read" if file.is_file() else "is missing"
    return f"{file}: {why}; its scale, hyperparameter and tolerance are not followed"


def write_trials(rows: pd.DataFrame, out: Path, read: Sequence[Path]) -> None:
    """Writes rows as a CSV or Parquet file, by its name. Raises Fault where that is no place for it."""
    if out.suffix not in (".csv", ".parquet"):
        raise DirectoryError(f"{out}: give a name that ends in .csv or .parquet")
    content = rows.to_csv(index=False).encode() if out.suffix == ".csv" else rows.to_parquet(index=False)
    write_output(out, content, read)


def store_import(table: pa.Table, source: Path, out: Path) -> int:
    """Publishes imported rows as a sweep directory named after the file; importing again adds nothing."""
    directory, name = SweepDirectory(out), name_of(source)
    directory.check(name)
    if directory.wanted_trials():
        raise DirectoryError(f"{out}: holds a sweep that was trained; give another --out")
    directory.write_sweep(name, f"# imported\nname: {json.dumps(name)}\n")
    if not publish_table(out, IMPORTED, table):
        held, _ = finished_trials(out)
        if held != set(table.column("trial_id").to_pylist()):
            raise DirectoryError(f"{out}: holds another version of these measurements; give another --out")
    return int(table.num_rows)


def _unfinished(directory: SweepDirectory, table: pa.Table, unread: bool) -> list[str]:
    """Lines where trials are missing, some of which may be in files that could not be read, and where there
    are more than were asked for last."""
    wanted = directory.wanted_trials()
    if not wanted and published_jobs(directory.path) - {IMPORTED}:
        return [f"{directory.path}: has no plan; run the sweep again"]
    there = set(table.column("trial_id").to_pylist())
    told = []
    if wanted and (others := there - wanted):
        count = f"{len(others)} trial{'s' if len(others) > 1 else ''}"
        told.append(
            f"{directory.path}: counts {count} that its sweep no longer asks for; --hold COLUMN=VALUE keeps "
            "those of one setting, and a sweep into another --out what is asked for now"
        )
    if missing := wanted - there:
        remedy = "make what is named above readable" if unread else "run the sweep again"
        held = holder(directory.path)
        remedy = "a run of it goes on" if held is not None and drives(directory.path, held) else remedy
        told.append(f"{directory.path}: {len(missing)} of {len(wanted)} trials are not there yet; {remedy}")
    return told
