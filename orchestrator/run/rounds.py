"""Sweeps that decide their trials while they run: round after round, each from the results of the last.

Everything is worked out again from the sweep file and the store, so there is nothing to lose: a run that
was interrupted, on whatever backend, comes to the same trials and goes on with those that are missing.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from ...models.recipe.recipe import FIELDS
from ...results.questions.comparison import Comparison, compare
from ...results.questions.per_parameter import DIGITS, PER_PARAMETER
from ...results.questions.refinement import refinement, smallest
from ...results.questions.wanted import Wanted
from ...results.statistics.tolerance import Tolerance
from ...results.store.schema import WAITING
from ...results.store.store import read_rows
from ...sweeps.adaptive import RefineSpec, SearchSpec
from ...sweeps.grid import Expansion
from ...sweeps.load import Sweep
from ...sweeps.program import Program
from ...sweeps.proxy import Proxy
from ...sweeps.search import Measured, suggest
from ...sweeps.tokens import at_scale
from ...sweeps.trial import Trial, trial_of
from ..record.attempt import End
from ..record.directory import SweepDirectory
from .driver import Watcher
from .options import RunOptions
from .reconcile import as_recorded
from .session import run_sweep

OUTCOME = ("status", "loss", "flops")
"""Columns of what came of a trial that decide on further ones."""


def run_rounds(
    sweep: Sweep,
    directory: SweepDirectory,
    options: RunOptions,
    watcher: Watcher,
    only: Collection[str] | None = None,
) -> dict[str, End]:
    """`run_sweep`, and again for what its results ask for, until they ask for nothing more."""
    trials = as_recorded(sweep.expansion.trials, directory)
    rounds = Rounds(replace(sweep, expansion=Expansion(trials, sweep.expansion.collapsed)))
    while True:
        rounds.catch_up(_rows(directory) if directory.path.exists() else pd.DataFrame())
        known = replace(sweep, expansion=Expansion(tuple(rounds.trials), sweep.expansion.collapsed))
        failed = run_sweep(known, directory, options, watcher, only)
        before = len(rounds.trials)
        if failed:
            watcher.note(
                f"no further round begins before the trials of {len(failed)} failed jobs have a result; mend "
                "what fails and run again, or exclude their points"
            )
        if failed or only is not None:
            return failed
        rounds.catch_up(_rows(directory))
        if len(rounds.trials) == before:
            return failed
        count = len(rounds.trials) - before
        watcher.note(f"round {rounds.number}: {count} further trial{'s'[: count > 1]}, {rounds.why}")


@dataclass(slots=True)
class Rounds:
    """The trials that are asked for so far, in their order, and why the last ones were."""

    sweep: Sweep
    trials: list[Trial] = field(init=False)
    number: int = 0
    why: str = ""
    _tightened: int = 0
    """Rounds that began no scale."""
    _cells: list["Cell"] = field(init=False)

    def __post_init__(self) -> None:
        self.trials = list(self.sweep.expansion.trials)
        search, refine = self.sweep.spec.search, self.sweep.spec.refine
        self._cells = cells(self.trials, search) if search is not None else []
        if refine is not None:
            self.trials = _first(self.trials)

    def catch_up(self, rows: pd.DataFrame) -> None:
        """Takes all rounds whose predecessors are finished; the last one is what is left to train."""
        done = set(rows["trial_id"]) if len(rows) else set()
        while all(trial.id in done for trial in self.trials):
            further = self._further(rows)
            if not further:
                return
            self.trials += further
            self.number += 1

    def _further(self, rows: pd.DataFrame) -> list[Trial]:
        spec = self.sweep.spec
        if spec.search is not None:
            self.why = f"suggested by {spec.search.sampler}"
            return [trial for cell in self._cells for trial in cell.next_batch(spec.search, rows)]
        return [] if spec.refine is None else self._refined(rows, spec.refine)

    def _refined(self, rows: pd.DataFrame, refine: RefineSpec) -> list[Trial]:
        """New trials of the grid, and around the optima, by the rows of those that were asked for."""
        asked = {trial.id for trial in self.trials}
        every = list({trial.id: trial for trial in (*self.sweep.expansion.trials, *self.trials)}.values())
        table = _table(every, rows[rows["trial_id"].isin(asked)])
        tolerance = self.sweep.spec.tolerance
        judged = compare(table, list(table), None if tolerance is None else Tolerance(**dict(tolerance)))
        wanted = refinement(judged, refine.target, refine.finest)
        if self._tightened >= refine.rounds:
            wanted = [entry for entry in wanted if entry.begins]
        self._tightened += not any(entry.begins for entry in wanted)
        self.why = "; ".join(dict.fromkeys(entry.why for entry in wanted))
        return new_trials(every, wanted, asked)


@dataclass(slots=True)
class Cell:
    """One search: the trials of one point of the axes, one for each seed, and the batches so far."""

    seeds: list[Program]
    batches: list[list[dict[str, float]]]

    def next_batch(self, search: SearchSpec, rows: pd.DataFrame) -> list[Trial]:
        measured = [[self._measured(point, rows) for point in batch] for batch in self.batches]
        suggested = suggest(search, measured)
        if suggested:
            self.batches.append(suggested)
        return list(dict.fromkeys(trial for point in suggested for trial in self._trials(point)))

    def _trials(self, point: Mapping[str, float]) -> list[Trial]:
        return [trial_of(program.at(point)) for program in self.seeds]

    def _measured(self, point: dict[str, float], rows: pd.DataFrame) -> Measured:
        ids = {trial.id for trial in self._trials(point)}
        losses = rows.loc[rows["trial_id"].isin(ids), "loss"]
        return Measured(
            point, None if losses.isna().any() or losses.empty else math.fsum(losses) / len(losses)
        )


def cells(trials: Sequence[Trial], search: SearchSpec) -> list[Cell]:
    """The searches of a sweep: one per point of its axes, seeds together."""
    found: dict[tuple[tuple[str, Any], ...], list[Program]] = {}
    for trial in trials:
        point = trial.program.point()
        key = tuple((name, value) for name, value in point.items() if name not in {*search.space, "seed"})
        found.setdefault(key, []).append(trial.program)
    cells = []
    for programs in found.values():
        point = programs[0].point()
        cells.append(Cell(programs, [[{name: point[name] for name in search.space}]]))
    return cells


def _first(trials: Sequence[Trial]) -> list[Trial]:
    """Those that train before anything is known: no comparison has a smaller scale."""
    table = _table(trials, pd.DataFrame(columns=["trial_id"]))
    first = smallest(table, list(table))
    return [trial for trial, begins in zip(trials, first, strict=True) if begins]


def _table(trials: Sequence[Trial], rows: pd.DataFrame) -> pd.DataFrame:
    """The points of all trials, in their order, with what was measured; the others wait."""
    points = pd.DataFrame([{**_planned(trial.program), "trial_id": trial.id} for trial in trials])
    points = points.reindex(columns=list(dict.fromkeys([*points, *FIELDS])))
    outcome = rows.reindex(columns=["trial_id", *OUTCOME]).drop_duplicates("trial_id")
    table = points.merge(outcome, on="trial_id", how="left")
    status = table["status"].astype(object)
    return table.assign(status=status.where(status.notna(), WAITING))


def _planned(program: Program) -> dict[str, Any]:
    """The point, and of a proxy the tokens and parameters that its row will have."""
    if not isinstance(program, Proxy):
        return program.point()
    cost = program.cost()
    return {**program.point(), "tokens": cost.tokens, "parameters": cost.parameters}


def new_trials(trials: Sequence[Trial], wanted: Sequence[Wanted], known: Collection[str]) -> list[Trial]:
    """The trials that make the wanted points and are not known: copies of those at the same scale, at the new
    values."""
    found = {trial.id: trial for entry in wanted for trial in _copies(trials, entry)}
    return [trial for id_, trial in found.items() if id_ not in known]


def _copies(trials: Sequence[Trial], wanted: Wanted) -> Iterator[Trial]:
    comparison = wanted.comparison
    fixed = {**comparison.family._asdict(), **comparison.fixed}
    points = [_planned(trial.program) for trial in trials]
    alike = [
        (trial.program, point)
        for trial, point in zip(trials, points, strict=True)
        if _is(point, comparison.axis, wanted.like)
        and all(_is(point, name, value) for name, value in fixed.items())
    ]
    values = [point[comparison.hyperparameter] for point in points if point[comparison.hyperparameter] > 0]
    # A program of the user's need not have seeds.
    last_seed = max((point["seed"] for _, point in alike if "seed" in point), default=-1)
    if wanted.new_seed and last_seed < 0:
        return
    for program, _ in alike:
        for log2 in wanted.log2_values:
            changed = _moved(program, comparison, wanted.scale)
            changed[comparison.hyperparameter] = _value(log2, values)
            if wanted.new_seed:
                changed["seed"] = last_seed + 1
            try:
                yield trial_of(program.at(changed))
            except ValueError:
                return  # such a shape does not exist


def _is(point: Mapping[str, Any], name: str, value: object) -> bool:
    """Tokens for each parameter are what whole steps made of them."""
    if name != PER_PARAMETER or not isinstance(value, float):
        return bool(point.get(name) == value)
    ratio = point["tokens"] / point["parameters"]
    return bool(abs(ratio / value - 1) < 0.5 / point["steps"] + 10.0**-DIGITS)


def _moved(program: Program, comparison: Comparison, scale: float) -> dict[str, Any]:
    """What changes at another scale of a comparison."""
    point, axis = program.point(), comparison.axis
    if isinstance(program, Proxy):
        return at_scale(point, program.cost().parameters, axis, scale, comparison.duration)
    return {axis: type(point[axis])(scale)}


def _value(log2: float, values: Sequence[float]) -> float:
    """2**log2, or the value that was meant where there is one: 0.0003 does not survive a logarithm."""
    return next((value for value in values if abs(math.log2(value) - log2) < 1e-9), 2.0**log2)


def _rows(directory: SweepDirectory) -> pd.DataFrame:
    return read_rows(directory.path)[0].to_pandas()
