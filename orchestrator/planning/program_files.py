"""Whether a program is the one that a sweep directory's trials were trained with."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...results.store.store import finished_trials
from ...sweeps.command.command import IDENTITY, Command
from ...sweeps.load import Sweep
from ..record.directory import SweepDirectory


@dataclass(frozen=True, slots=True)
class Changed:
    """`names` of files that are no longer what the newest jobs were planned with, whose digests are `before`;
    `parts` of the section that are not; `trials` that have ended would be trained again."""

    names: tuple[str, ...]
    parts: tuple[str, ...]
    before: Mapping[str, str]
    trials: int

    @property
    def told(self) -> str:
        changes = [*self.names, *(f"program.{part}" for part in self.parts)]
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
    """None where nothing has changed, or nothing was planned yet. Raises DirectoryError."""
    now = sweep.expansion.trials[0].program
    if not isinstance(now, Command) or not (jobs := directory.read_plan()):
        return None
    held = jobs[-1].trials[0].program.definition
    before, files = held["files"], now.definition["files"]
    names = sorted(name for name in {*before, *files} if before.get(name) != files.get(name))
    parts = [part for part in IDENTITY if part != "files" and held.get(part) != now.definition.get(part)]
    if not names and not parts:
        return None
    done, _ = finished_trials(directory.path)
    done &= directory.wanted_trials()
    wanted = {trial.program.group_key() for trial in sweep.expansion.trials}
    done -= {trial.id for trial in sweep.expansion.trials}
    again = sum(t.id in done and t.program.group_key() in wanted for job in jobs for t in job.trials)
    return Changed(tuple(names), tuple(parts), before, again)
