"""Whether code of the user's own is that which a sweep directory's trials were trained with."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...results.store.store import finished_trials
from ...sweeps.command.command import IDENTITY
from ...sweeps.grid import expand
from ...sweeps.load import Sweep
from ...sweeps.program import Program
from ..record.directory import SweepDirectory

PARTS = {f"program.{part}": part for part in IDENTITY if part not in ("files", "gpus")} | {
    "model.roles": "roles"
}
"""What decides a result beside the files, by its place in the sweep file, and how a definition calls it."""


@dataclass(frozen=True, slots=True)
class Changed:
    """`names` of files that are no longer what the trials asked for last were planned with, whose digests are
    `before`; `parts` of the sweep file that are not, such as program.command; `trials` that have ended would
    be trained again."""

    names: tuple[str, ...]
    parts: tuple[str, ...]
    before: Mapping[str, str]
    trials: int

    @property
    def told(self) -> str:
        changes = [*self.names, *self.parts]
        remedy = (
            "put them back as they were, or give another --out, to keep these"
            if self.parts
            else ("run --keep trains only what is missing, under the old identity")
        )
        return (
            f"changed since the trials ran: {', '.join(changes)}; {self.trials} that have ended are "
            f"trained again ({remedy})"
        )


def changed(sweep: Sweep, directory: SweepDirectory) -> Changed | None:
    """None where nothing that has ended is trained again. Raises DirectoryError."""
    asked, now = directory.wanted_trials(), sweep.expansion.trials
    programs = {trial.id: trial.program for job in directory.read_plan() for trial in job.trials}
    last = {id_: one for id_, one in programs.items() if id_ in asked and one.definition}
    done, _ = finished_trials(directory.path)
    # Of equal values: the trial as it is asked for now, where it has not ended.
    left = {_values(trial.program): trial.program for trial in now if trial.id not in done}
    again = [one for id_, one in last.items() if id_ in done and _values(one) in left]
    if not again:
        return None
    held, new = again[0].definition, left[_values(again[0])].definition
    before, files = held["files"], new["files"]
    names = sorted(name for name in {*before, *files} if before.get(name) != files.get(name))
    parts = [name for name, part in PARTS.items() if held.get(part) != new.get(part)]
    if any(one.gpus != left[_values(one)].gpus for one in again):
        parts.append("program.gpus")
    return Changed(tuple(names), tuple(parts), before, len(again))


def known_as_before(sweep: Sweep, found: Changed) -> Sweep:
    """The sweep with its trials known by the files as they were."""
    fields = {} if sweep.corpus is None else sweep.corpus.fields
    return replace(sweep, expansion=expand(sweep.spec, fields, found.before))


def _values(program: Program) -> tuple[tuple[str, str], ...]:
    """Equal for trainings that differ at most in their code."""
    return tuple(sorted((name, str(value)) for name, value in program.point().items() if name != "code"))
