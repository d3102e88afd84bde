"""One trial of a sweep directory, by its id or how that begins."""

from dataclasses import dataclass

from ...models.recipe.recipe import RECIPE_FIELDS
from ...models.recipe.version import CHANGES
from ...sweeps.grid import Expansion
from ...sweeps.load import Sweep, load_sweep
from ...sweeps.proxy import Proxy
from ...sweeps.spec import GIVEN
from ...sweeps.trial import Trial, trial_id
from ..record.directory import DirectoryError, SweepDirectory
from .logs import the_one

BASE = {name for name, field in RECIPE_FIELDS.items() if field.setting.decided_by == "base"}


@dataclass(frozen=True, slots=True)
class Found:
    """`trial` is None where no record says any more what it is; `jobs` are those that hold it."""

    sweep: Sweep
    id: str
    trial: Trial | None
    jobs: tuple[str, ...]

    def must_train_as_it_did(self) -> None:
        """Raises DirectoryError for a trial whose recipe trains differently by now."""
        if self.trial is None or trial_id(self.trial.program) == self.id:
            return
        told = f"trial {self.id} was trained by another version of mutransfer"
        if isinstance(self.trial.program, Proxy):
            since = [change.what for change in CHANGES if change.concerns(self.trial.program.recipe)]
            told += f" than this one ({'; '.join(since)})"
        raise DirectoryError(f"{told}; run the sweep again to train it as this one does, or install that one")


def found_trial(directory: SweepDirectory, name: str) -> Found:
    """Raises DirectoryError for none and for several."""
    sweep = load_sweep(str(directory.path / "sweep.yaml"))
    planned = directory.planned()
    known = {trial.id: trial for trial in sweep.expansion.trials}
    ids = {*known, *(trial for held in planned.values() for trial in held)}
    id_ = the_one(
        directory, ids, _of_job(directory, name), "trial", "trials", "mutransfer trials has those that ended"
    )
    jobs = tuple(job for job, held in planned.items() if id_ in held)
    in_jobs = (one for job in jobs for one in directory.read_job(job)[0] if one.id == id_)
    return Found(sweep, id_, known[id_] if id_ in known else next(in_jobs, None), jobs)


def _of_job(directory: SweepDirectory, name: str) -> str:
    """The trial of a job's name, as `run` and `status` say what failed. Raises DirectoryError for a job of
    several."""
    planned = directory.planned()
    jobs = [job for job in planned if job.startswith(name)]
    if any(trial.startswith(name) for held in planned.values() for trial in held) or len(jobs) != 1:
        return name
    (held,) = (planned[job] for job in jobs)
    if len(held) > 1:
        raise DirectoryError(
            f"{directory.path}: {name} is a job of several trials; name one: {', '.join(held)}"
        )
    return next(iter(held))


def alone(directory: SweepDirectory, found: Found) -> Sweep:
    """The sweep of this trial and no other: the same id, the same numbers.

    Raises DirectoryError for one whose code, or recipe, is another by now.
    """
    found.must_train_as_it_did()
    trial, spec = found.trial, found.sweep.spec
    codes = [one.program.definition for one in found.sweep.expansion.trials]
    if trial is None or trial.program.definition not in codes:
        raise DirectoryError(
            f"{directory.path}: trial {found.id} was trained by code that is no longer there; put it back"
        )
    point = trial.program.point()
    fixed = {
        name: value for name, value in point.items()
        if value is not None and name not in BASE and (name in GIVEN or spec.program is not None)
    }  # fmt: skip
    cut = dict.fromkeys(("search", "refine", "prune"))
    spec = spec.model_copy(update={"fixed": fixed, "axes": {}, "zip": [], "exclude": [], **cut})
    return Sweep(spec, found.sweep.corpus, Expansion((trial,), 0))
