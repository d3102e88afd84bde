"""What `plan` says of a program of the user's: the first commands in full, counts, GPUs, and times of
trials that have ended."""

import shlex
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ...results.store.store import read_rows
from ...sweeps.command.command import Command
from ...sweeps.command.words import filled, placeholders
from ...sweeps.load import Sweep
from .duration import duration
from .estimate import ids_of

SHOWN = 3
"""So many commands are printed."""


@dataclass(frozen=True, slots=True)
class ScaleCount:
    """The trials at one value of the scale; `seconds` is the mean of those that have ended, None before one
    has."""

    value: str
    trials: int
    gpus: float
    ended: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class ProgramPlan:
    """A sweep of a program. `commands` are the first ones, `seconds` the wall time of what is left, None
    where it is not known."""

    name: str
    trials: int
    collapsed: int
    directory: str
    commands: tuple[str, ...]
    scale: str
    scales: tuple[ScaleCount, ...]
    at_once: int
    seconds: float | None
    unasked: tuple[str, ...]
    """Axes that no word of the command holds."""


def program_plan(sweep: Sweep, path: Path, at_once: int) -> ProgramPlan:
    """`path`: the sweep directory, whose ended trials say how long one takes."""
    programs = [trial.program for trial in sweep.expansion.trials]
    commands = [program for program in programs if isinstance(program, Command)]
    taken = {trial: seconds for trial, seconds in _ended(path).items() if seconds is not None}
    scale = sweep.spec.along
    trials = [(trial.id, str(program.point().get(scale, "all")), program.gpus)
              for trial, program in zip(sweep.expansion.trials, commands, strict=True)]  # fmt: skip
    scales = []
    for value, count in Counter(value for _, value, _ in trials).items():
        times = [taken[id_] for id_, of, _ in trials if of == value and id_ in taken]
        gpus = next(gpus for _, of, gpus in trials if of == value)
        scales.append(ScaleCount(value, count, gpus, len(times), sum(times) / len(times) if times else None))
    known = all(entry.seconds is not None for entry in scales)
    left = sum((entry.trials - entry.ended) * (entry.seconds or 0.0) for entry in scales)
    return ProgramPlan(
        name=sweep.spec.name,
        trials=len(trials),
        collapsed=sweep.expansion.collapsed,
        directory=str(commands[0].definition["directory"]),
        commands=tuple(_told(one, id_) for one, (id_, _, _) in zip(commands[:SHOWN], trials, strict=False)),
        scale=scale,
        scales=tuple(scales),
        at_once=at_once,
        seconds=left / at_once if known else None,
        unasked=_unasked(sweep),
    )


def _unasked(sweep: Sweep) -> tuple[str, ...]:
    """Of a command whose loss is read from what it leaves; with the helper it is given every field."""
    program = sweep.spec.program
    assert program is not None
    if program.command is None or (program.loss and program.loss.helper):
        return ()
    asked = {name for word in program.words for name in placeholders(word)}
    for together in sweep.spec.zip:  # one of them tells all
        asked |= {*together} if asked & {*together} else set()
    space = sweep.spec.search.space if sweep.spec.search is not None else {}
    differing = [*(name for name, values in sweep.spec.axes.items() if len(values) > 1), *space]
    return tuple(name for name in differing if name not in asked)


def _told_to_nobody(names: tuple[str, ...]) -> str:
    words = ", ".join(f"{{{name}}}" for name in names)
    return (
        f"no word of the command holds {words}: trials that differ in it alone run alike, unless the program "
        "reads the file that MUTRANSFER_TRIAL names"
    )


def program_plan_object(plan: ProgramPlan, sweep: Sweep) -> dict[str, Any]:
    return {"schema": 1, **asdict(plan), "ids": ids_of(sweep)}


def print_program_plan(plan: ProgramPlan) -> None:
    console = Console(highlight=False, markup=False)
    collapsed = f" ({plan.collapsed} equal points collapsed)" if plan.collapsed else ""
    console.print(f"{plan.name}: {plan.trials} trials{collapsed}, in {plan.directory}", soft_wrap=True)
    for command in plan.commands:
        console.print(f"  {command}", soft_wrap=True)
    if plan.trials > len(plan.commands):
        console.print(f"  and {plan.trials - len(plan.commands)} more")
    table = Table(pad_edge=False)
    for name in (plan.scale, "trials", "GPUs of one", "ended", "seconds of one"):
        table.add_column(name, justify="right")
    for entry in plan.scales:
        seconds = "?" if entry.seconds is None else f"{entry.seconds:,.1f}"
        table.add_row(entry.value, str(entry.trials), f"{entry.gpus:g}", str(entry.ended), seconds)
    console.print(table)
    if plan.unasked:
        console.print(f"note: {_told_to_nobody(plan.unasked)}", soft_wrap=True)
    told = (
        "not known before a trial of each scale has ended" if plan.seconds is None else duration(plan.seconds)
    )
    console.print(f"{plan.at_once} at a time, time left: {told}")


def commands_told(sweep: Sweep) -> str:
    """What will run, and what it is not told: said before it does."""
    first, unasked = sweep.expansion.trials[0], _unasked(sweep)
    assert isinstance(first.program, Command)
    told = f"runs in {first.program.definition['directory']}: {_told(first.program, first.id)}"
    return f"{told}\n{_told_to_nobody(unasked)}" if unasked else told


def _told(command: Command, trial: str) -> str:
    if function := command.definition.get("function"):
        return f"{function}(trial) with {', '.join(f'{k}={v}' for k, v in command.point().items())}"
    given = command.placeholders(trial=trial, files="FILES", checkpoints="CHECKPOINTS", attempt=1)
    return shlex.join(filled(word, given) for word in command.definition["command"])


def _ended(path: Path) -> dict[str, float | None]:
    if not (path / "results").is_dir():
        return {}
    table, _ = read_rows(path)
    return dict(zip(table.column("trial_id").to_pylist(), table.column("seconds").to_pylist(), strict=True))
