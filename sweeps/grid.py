"""Expansion of a spec into trials: pure, in the order of the file, duplicates collapsed."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..models.optimizers.registry import OPTIMIZERS
from ..models.parametrization.registry import PARAMETRIZATIONS
from ..models.recipe.budget import NO_RULES
from ..models.recipe.recipe import EXPERTS, unruled
from ..models.recipe.shape import SHAPE_FIELDS
from .command.command import Command
from .command.spec import definition_of
from .model import builders, codes
from .problem import Problem, ProblemsFound, Where
from .program import Point, Program
from .proxy import Proxy
from .spec import SweepSpec
from .tokens import counted
from .trial import Trial, trial_of

MAX_TRIALS = 100_000
BASE = "base_"
BASE_SHAPE = ("base_width", "base_depth", *(f"base_{name}" for name in EXPERTS))
BASE_BUDGET = ("base_batch_size", "base_steps")


@dataclass(frozen=True, slots=True)
class Expansion:
    """The trials of a sweep, and how many points of the grid fell together."""

    trials: tuple[Trial, ...]
    collapsed: int


def expand(spec: SweepSpec, data: Mapping[str, Any], files: Mapping[str, str] | None = None) -> Expansion:
    """All trials of a spec; `data` are the fields that the data decide. Raises ProblemsFound when points are
    impossible or too many. `files` are the digests that code of the user's goes by, in place of those of
    its files now.

    A search starts with the middle of its space in every cell; the rest is decided while it runs.
    """
    count = point_count(spec)
    if count > MAX_TRIALS:
        raise ProblemsFound(
            [
                Problem(
                    ("axes",),
                    f"expands to {count:,} trials; at most {MAX_TRIALS:,} are taken, so thin an axis",
                )
            ]
        )
    common: dict[str, Any] = {**spec.fixed, **data}
    if spec.base is not None:
        common |= spec.base.point()
    if spec.search is not None:
        common |= {name: middle(*bounds.ends) for name, bounds in spec.search.space.items()}
    make, code_of = _maker(spec, files), _codes(spec, files)
    trials: dict[str, Trial] = {}
    problems: dict[Where, Problem] = {}
    points = 0
    for point in _points(spec):
        points += 1
        try:
            whole = {**common, **point}
            if code := code_of.get(whole.get("architecture", "")):
                whole["code"] = code
            whole = whole if spec.program else _completed(whole)
            trial = trial_of(make(_without_idle_base(whole)))
        except ValueError as error:
            problem = _point_problem(spec, str(error))
            problems.setdefault((*problem.where, problem.message), problem)
        else:
            trials.setdefault(trial.id, trial)
    if not points:
        raise ProblemsFound([Problem(("exclude",), "leaves no point of the grid")])
    if problems:
        raise ProblemsFound(list(problems.values()))
    return Expansion(tuple(trials.values()), points - len(trials))


def _completed(point: Mapping[str, Any]) -> dict[str, Any]:
    """A proxy's point with what its optimizer usually has, and steps and batch sizes in place of tokens."""
    optimizer = OPTIMIZERS.get(point.get("optimizer", ""))
    usual = {} if optimizer is None else optimizer.defaults
    return counted(counted({**usual, **point}), BASE)


def _maker(spec: SweepSpec, files: Mapping[str, str] | None) -> Callable[[Point], Program]:
    """How programs are made of points: our proxies, or a program of the user's."""
    if spec.program is None:
        return Proxy.read
    shared = definition_of(
        spec.program, spec.along, None if spec.base is None else spec.base.model_dump(exclude_none=True)
    )
    if files is not None and files != shared["files"]:
        shared = {**shared, "files": dict(files), "files_now": shared["files"]}
    return lambda point: Command(point, shared).at(point)


def _codes(spec: SweepSpec, files: Mapping[str, str] | None) -> Mapping[str, str]:
    """What the architectures of the user's own are known by."""
    return {} if spec.model is None else codes(spec.model, builders(spec.fixed, spec.axes), files)


def middle(low: float, high: float) -> float:
    """The geometric mean, as it would be typed."""
    return float(f"{math.sqrt(low * high):.6g}")


def point_count(spec: SweepSpec) -> int:
    """Points before exclusion, counted without making them."""
    return math.prod(len(spec.axes[names[0]]) for names in _columns(spec))


def _points(spec: SweepSpec) -> Iterator[dict[str, Any]]:
    columns = _columns(spec)
    rows = [list(zip(*(spec.axes[name] for name in names), strict=True)) for names in columns]
    for combination in itertools.product(*rows):
        point = {
            name: value
            for names, values in zip(columns, combination, strict=True)
            for name, value in zip(names, values, strict=True)
        }
        if not any(all(point[name] == value for name, value in out.items()) for out in spec.exclude):
            yield point


def _without_idle_base(point: dict[str, Any]) -> dict[str, Any]:
    """SP does not read the base's shape, and without rules nothing reads its batch: rows do not name them
    then."""
    table = PARAMETRIZATIONS.get(point.get("parametrization", ""))
    if "base_width" not in point or table is None:
        return point
    if not table.needs_base:
        point = {**point, **{name: None for name in BASE_SHAPE if name in point}}
    if not unruled({"budget_rules": NO_RULES, "horizon_exponent": 0.0, **point}):
        return point
    return {name: value for name, value in point.items() if name not in BASE_BUDGET}


def _columns(spec: SweepSpec) -> list[tuple[str, ...]]:
    """Axes that multiply: single ones, and each zip where its first member stands."""
    zipped = {name: tuple(names) for names in spec.zip for name in names}
    columns = [zipped.get(name, (name,)) for name in spec.axes]
    return list(dict.fromkeys(columns))


def _point_problem(spec: SweepSpec, message: str) -> Problem:
    """The recipe's `field: reason` placed where the file gives the field."""
    name, _, reason = message.partition(": ")
    if name.startswith("base"):
        return Problem(tuple(name.split(".")), reason)
    section = "axes" if name in spec.axes else "fixed"
    if name == "vocab_size" or (
        name not in spec.fixed and name not in spec.axes and name not in SHAPE_FIELDS
    ):
        return Problem((), message)
    return Problem((section, name), reason)
