"""What `import mutransfer as mt` offers: sweeps, their trials, verdicts, charts and hand-overs, from Python.

    import mutransfer as mt

    sweep = mt.load("quickstart", set=["steps=20"])
    mt.plan(sweep)                                  # what it costs
    trials = mt.run(sweep, out="runs/quickstart")   # a DataFrame, a row for each trial
    verdicts = mt.judge(trials)                     # of any table with a learning rate and a loss
    mt.charts(verdicts)                             # Vega-Lite, by name
    mt.export("runs/quickstart", width=2048, depth=24)

What the command line refuses raises a subclass of `mt.Fault` here, with the same line for a message.
"""

import math
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd
import pyarrow as pa

from ..models.recipe.fault import Fault
from ..models.training.execution import Execution
from ..results.questions.choice import choose
from ..results.questions.comparison import Comparison, rows_behind
from ..results.questions.view import View
from ..results.sources.fault import ImportFault
from ..results.statistics.tolerance import Tolerance
from ..sweeps.load import Sweep, load_sweep
from .backends.registry import BACKENDS
from .evidence.gather import gather, measurements
from .handover.export import OF_MODELS, Leave, Target, export_object
from .handover.own_models import make_models_known
from .handover.program_export import is_of_programs, program_export
from .planning.device import Choice, find_device
from .planning.estimate import estimate, estimate_object
from .planning.program_plan import program_plan, program_plan_object
from .record.directory import SweepDirectory
from .run.options import RunOptions

if TYPE_CHECKING:
    from torch import nn

    from .run.driver import Watcher

Paths = str | PathLike[str] | Sequence[str | PathLike[str]]

Bounds = tuple[type, float, float]
AT_LEAST: Mapping[str, Bounds] = {
    "workers": (int, 1, math.inf), "jobs_per_gpu": (int, 1, 64), "gpus_per_job": (int, 1, 64),
    "gpu_memory_gb": (float, 0.1, math.inf), "checkpoint_seconds": (float, 0, math.inf),
    "hang_seconds": (float, 6, math.inf), "tolerance": (float, 0, math.inf),
}  # fmt: skip
SIZES: Mapping[str, Bounds] = {
    "width": (int, 1, 10**7), "depth": (int, 1, 10**5), "batch": (int, 1, 10**9),
    "tokens": (int, 1, 10**18), "sequence_length": (int, 1, 10**8), "vocabulary": (int, 2, 10**8),
    "experts": (int, 2, 10**6), "granularity": (int, 1, 10**6),
}  # fmt: skip
"""What the command line allows of its options."""
FAMILY = ("architecture", "optimizer", "parametrization")

__all__ = [
    "Comparison",
    "Fault",
    "Sweep",
    "charts",
    "expand",
    "export",
    "judge",
    "load",
    "plan",
    "run",
    "trained",
    "trials",
]


def load(spec: str | PathLike[str], set: Sequence[str] = ()) -> Sweep:
    """A sweep file, or a preset by its name. `set` are overrides as on the command line: "width=[16, 32]".

    Raises SpecError with every fault of the file at once.
    """
    return load_sweep(str(spec), _several(set))


def expand(sweep: Sweep) -> pd.DataFrame:
    """The trials of a sweep, a row for each: its id, and its point."""
    _must_be_loaded(sweep)
    return pd.DataFrame([{"trial_id": trial.id, **trial.program.point()} for trial in sweep.expansion.trials])


def plan(
    sweep: Sweep, backend: str = "local", device: Choice = "auto", workers: int | None = None
) -> dict[str, Any]:
    """What a sweep costs, as `plan -f json` says it; of programs by the trials that have ended in runs/NAME
    here, on whatever backend. Raises Fault for a module of one's own that cannot be trained."""
    from .planning.try_out import try_out

    _must_be_loaded(sweep)
    _must_be_within({"workers": workers}, AT_LEAST)
    workers = None if workers is None else int(workers)  # NumPy's have no place in JSON
    try_out(sweep)
    if sweep.spec.program is not None:
        at_once = workers or find_device(device).count
        return program_plan_object(program_plan(sweep, Path("runs") / sweep.spec.name, at_once), sweep)
    options = _options(backend=backend, device=device, max_concurrent=workers)
    planned = BACKENDS[backend].planned_for(sweep, options)
    return estimate_object(estimate(sweep, *planned, backend=backend), sweep)


def run(
    sweep: Sweep,
    out: str | PathLike[str] | None = None,
    *,
    backend: str = "local",
    device: Choice = "auto",
    workers: int | None = None,
    progress: bool = False,
    **options: Any,  # noqa: ANN401 - the other fields of RunOptions
) -> pd.DataFrame:
    """Trains what is missing of a sweep in its directory (runs/<name> by default), and returns its trials.

    `options` are those of `RunOptions`: fail_fast, checkpoint_seconds, hang_seconds, ... `progress` draws
    the line that the command line does. Warns of jobs that were given up. Raises Fault and its like before
    anything runs.
    """
    from .planning.own_code import changed, known_as_before
    from .planning.program_plan import commands_told
    from .planning.try_out import try_out
    from .run.progress import Progress, Quiet
    from .run.session import runner_of

    _must_be_loaded(sweep)
    path = Path(out) if out is not None else Path("runs") / sweep.spec.name
    directory = SweepDirectory(path)
    directory.check(sweep.spec.name)
    if sweep.spec.program is not None:
        warnings.warn(commands_told(sweep), stacklevel=2)
    asked = _options(backend=backend, device=device, max_concurrent=workers, **options)
    try_out(sweep)
    changes = changed(sweep, directory) if path.exists() else None
    if changes is not None and asked.keep and not changes.parts:
        sweep = known_as_before(sweep, changes)
    elif changes is not None:
        warnings.warn(changes.told, stacklevel=2)
    with Progress() if progress else nullcontext(Quiet()) as watcher:
        shown: Watcher = watcher
        failed = runner_of(sweep)(sweep, directory, asked, shown)
    for job, end in failed.items():
        warnings.warn(f"job {job} was given up: {end.kind}: {end.reason}", stacklevel=2)
    return trials(path)


def trials(directories: Paths) -> pd.DataFrame:
    """The finished trials of sweep directories, or of tables of losses from elsewhere: a row for each.

    Warns of what was left out. Raises DirectoryError and ImportFault.
    """
    found = measurements(_paths(directories))
    _tell(found.problems)
    return found.rows


def trained(directory: str | PathLike[str], trial: str) -> "nn.Module":
    """The trained model of a trial of proxies whose run kept it (`run --keep-weights`): a module that makes
    logits [B, T, V] of tokens [B, T], on the CPU.

    `trial` is its id, or how that begins. Raises DirectoryError where there are none and Fault where its
    weights were not kept.
    """
    from .upkeep.found import found_trial
    from .upkeep.weights import trained_model

    if not isinstance(trial, str):
        raise Fault(f"trial {trial!r}: give its id, or how that begins")
    held = SweepDirectory(Path(directory))
    held.must_exist()
    return trained_model(held, found_trial(held, trial))


def judge(
    what: pd.DataFrame | Paths,
    *,
    axis: str | None = None,
    hyperparameter: str | None = None,
    hold: Mapping[str, str] | None = None,
    pool: Sequence[str] = (),
    tolerance: float | None = None,
) -> list[Comparison]:
    """Whether the optimum is stable across scale: a comparison for each family, its `drift.verdict` with
    optima, slope and penalty.

    `what` is a table with a column of learning rates and one of losses, by usual names (docs/results.md), or
    sweep directories. `axis` is the scale, `hyperparameter` what is tuned, as in `report`; `tolerance` in
    nats. Warns of what was left out. Raises ImportFault, DirectoryError and ViewFault.
    """
    if hold is not None and not isinstance(hold, Mapping):
        raise Fault(f"hold {hold!r}: give a mapping of columns to values, {{'depth': '4'}}")
    _must_be_within({"tolerance": tolerance}, AT_LEAST)
    for name, told in {"axis": axis, "hyperparameter": hyperparameter}.items():
        if told is not None and not isinstance(told, str):
            raise Fault(f"{name} {told!r}: give the name of one column")
    view = View.along(axis, hyperparameter, hold or {}, _several(pool))
    allowed = None if tolerance is None else Tolerance(tolerance)
    if not isinstance(what, pd.DataFrame):
        evidence = gather(_paths(what), allowed, view)
        _tell(evidence.problems)
        return list(evidence.content.comparisons)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "table.parquet"
        try:
            what.to_parquet(path)
        except (pa.ArrowException, ValueError) as error:  # pandas' own of columns of one name
            raise ImportFault(f"the table cannot be read: {error}") from None
        try:
            evidence = gather([path], allowed, view)
        except pa.ArrowException as error:
            raise ImportFault(f"the table cannot be read: {error}") from None
        except Fault as fault:
            raise type(fault)(str(fault).replace(f"{scratch}/", "")) from None
    _tell(problem.replace(f"{scratch}/", "") for problem in evidence.problems)
    return list(evidence.content.comparisons)


def charts(
    comparisons: Comparison | Iterable[Comparison], target: float | None = None
) -> dict[str, dict[str, Any]]:
    """Every picture of the report, by name, as a Vega-Lite specification; `target` is the large run's
    scale. Raises Fault."""
    from ..results.report.charts import charts as drawn

    if target is not None and not (isinstance(target, Real) and 0 < target < math.inf):
        raise Fault(f"target {target!r}: give a number above 0")
    several = [comparisons] if isinstance(comparisons, Comparison | str) else [*comparisons]
    if others := [one for one in several if not isinstance(one, Comparison)]:
        raise Fault(f"a {type(others[0]).__name__} where comparisons are asked for; give those of judge(...)")
    return drawn(several, target)


def export(
    directories: Paths,
    width: int,
    depth: int,
    *,
    batch: int | None = None,
    tokens: int | None = None,
    sequence_length: int | None = None,
    vocabulary: int | None = None,
    experts: int | None = None,
    granularity: int | None = None,
    rules: Sequence[str] = (),
    extrapolate: bool = False,
    hyperparameter: str = "learning_rate",
    **family: str,
) -> dict[str, Any]:
    """The handover to a large run, as `export -f json` writes it: what the loader
    (`mutransfer.models.handover.transfer`) takes.

    `batch` is in sequences. `rules` are those of `export --rule`. `family` picks one of several:
    architecture, optimizer, parametrization. Raises ChoiceError, NothingTunedError and ExportError.
    """
    if unknown := sorted({*family} - {*FAMILY}):
        raise Fault(f"{unknown[0]}: is no argument of export; a family is told by {', '.join(FAMILY)}")
    sizes = {"width": width, "depth": depth, "batch": batch, "tokens": tokens, "vocabulary": vocabulary,
             "sequence_length": sequence_length, "experts": experts, "granularity": granularity}  # fmt: skip
    _must_be_within(sizes, SIZES)
    if width is None or depth is None:
        raise Fault("width, depth: give both, the large model's")
    evidence = gather(_paths(directories))
    _tell(evidence.problems)
    chosen = choose(evidence.content.comparisons, hyperparameter, OF_MODELS, **family)
    large = Target(width, depth, batch, tokens, sequence_length, None, vocabulary, experts, granularity)
    if is_of_programs(chosen, evidence.rows):
        handed = program_export(chosen, evidence.rows, large)
    else:
        _tell(make_models_known(_paths(directories), rows_behind(chosen, evidence.rows)))
        leave = Leave(tuple(_several(rules)), extrapolate)
        handed = export_object(chosen, evidence.rows, large, evidence.content.comparisons, leave)
    _tell(one["text"] for one in handed["warnings"] if one["severity"] != "note")
    return handed


def _options(**told: Any) -> RunOptions:  # noqa: ANN401 - fields
    known = [field.name for field in fields(RunOptions)]
    if unknown := [name for name in told if name not in known]:
        raise Fault(f"{unknown[0]}: is no option of a run; there are {', '.join(known)}")
    if told["backend"] not in tuple(BACKENDS) or told["device"] not in get_args(Choice):
        raise Fault(
            f"backend {told['backend']!r}, device {told['device']!r}: give one of {', '.join(BACKENDS)}, and "
            f"one of {', '.join(get_args(Choice))}"
        )
    if told.get("execution", "auto") not in get_args(Execution):
        raise Fault(f"execution {told['execution']!r}: give one of {', '.join(get_args(Execution))}")
    _must_be_within({"workers": told.get("max_concurrent"), **told}, AT_LEAST)
    return RunOptions(**told)


def _must_be_loaded(sweep: object) -> None:
    """Raises Fault for what is no sweep, such as the name of its file."""
    if not isinstance(sweep, Sweep):
        raise Fault(f"{sweep!r}: is no sweep; load(...) reads one from its file")


def _must_be_within(given: Mapping[str, Any], bounds: Mapping[str, Bounds]) -> None:
    """Raises Fault for arguments out of the command line's ranges; None is one that is not given."""
    for name, (kind, least, most) in bounds.items():
        value = given.get(name)
        if value is None:
            continue
        fits = isinstance(value, Integral if kind is int else Real)
        if not fits or isinstance(value, bool) or not least <= value <= most:
            number = "a whole number" if kind is int else "a number"
            end = f" to {most:,}" if most < math.inf else " on"
            raise Fault(f"{name} {value!r}: give {number} from {least}{end}")


def _several(told: str | Sequence[str] | None) -> Sequence[str]:
    """Texts; one alone is one of them. Raises Fault for anything else."""
    if not isinstance(told, str | Iterable | None):
        raise Fault(f"{told!r}: is no list of texts")
    found = [told] if isinstance(told, str) else [*(told or ())]
    if others := [one for one in found if not isinstance(one, str)]:
        raise Fault(f"{others[0]!r}: is no text; give a list of them")
    return found


def _paths(directories: Paths) -> list[Path]:
    """Raises Fault for what are none."""
    if isinstance(directories, str | PathLike):
        return [Path(directories)]
    iterable = isinstance(directories, Iterable) and not isinstance(directories, pd.DataFrame | bytes)
    found = [*directories] if iterable else []
    if not found or not all(isinstance(each, str | PathLike) for each in found):
        what = type(next(iter(found), directories)).__name__
        raise Fault(f"a {what} where directories are asked for: give their paths; judge(...) takes one table")
    return [*map(Path, found)]


def _tell(problems: Iterable[str]) -> None:
    for problem in problems:
        warnings.warn(problem, stacklevel=3)
