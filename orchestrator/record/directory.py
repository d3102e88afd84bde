"""The sweep directory: the one record of a sweep, from which any later process can go on.

Everything that is replaced is written beside and renamed; results are published by `results.store`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...models.data.batches import Source
from ...models.data.record import source_from_object, source_object
from ...models.files.checkpoint_name import checkpoints
from ...models.files.place import replace
from ...models.parametrization.own import contents, make_contents_known
from ...models.recipe.fault import Fault
from ...sweeps.registry import PROGRAMS
from ...sweeps.trial import Trial
from ..planning.plan import Job
from .failpoint import failpoint

FORMAT = 1
IMPORTED = "imported"
"""The name of the results that were measured elsewhere: they are no job's."""
REWRITTEN = {"plan.json", "data.json", "options.json", "provenance.json"}
BEFORE_THE_NAME = {"lease", "journal.jsonl", "driver.log"}
"""What a driver writes before it puts the sweep's name down."""


class DirectoryError(Fault):
    """A directory that is not a usable sweep; the message names it and the remedy."""


class UnreadableError(DirectoryError):
    """A record that cannot be read here and now, or by this version, and may be whole."""


@dataclass(frozen=True, slots=True)
class SweepDirectory:
    """Paths and records of one sweep."""

    path: Path

    @property
    def inode(self) -> int:
        """What a directory keeps where it is renamed, and a copy of it has not."""
        return self.path.stat().st_ino

    @property
    def data(self) -> Path:
        return self.path / "data"

    def job(self, job_id: str) -> Path:
        return self.path / "jobs" / job_id

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def driver_log(self) -> Path:
        """What a driver in the background prints."""
        return self.path / "driver.log"

    @property
    def ended(self) -> Path:
        """One record for every attempt that ended; see `attempt`."""
        return self.path / "ended"

    def end(self, job_id: str, attempt: int) -> Path:
        return self.ended / f"{job_id}.{attempt}.json"

    def result(self, job_id: str) -> Path:
        return self.path / "results" / f"{job_id}.parquet"

    @property
    def cancel_request(self) -> Path:
        """Its being there asks the driver, wherever it runs, to stop."""
        return self.path / "cancel"

    def log(self, job_id: str) -> Path:
        return self.job(job_id) / "log.txt"

    def written_log(self, job_id: str) -> Path:
        """Where a job's output is: in the workers' common log if its worker did not get as far as the job."""
        log = self.log(job_id)
        return log if log.exists() else self.path / "workers.log"

    def checkpoints(self, job_id: str) -> Path:
        return self.job(job_id) / "checkpoints"

    def weights(self, job_id: str) -> Path:
        """Those of its trained models, by trial, where a run keeps them."""
        return self.path / "weights" / f"{job_id}.pt"

    def checkpoint_step(self, job_id: str) -> int:
        """The step of the newest checkpoint, told by its name; 0 without one."""
        return next((name.step for name, _ in checkpoints(self.checkpoints(job_id))), 0)

    def superseded(self, job_id: str) -> bool:
        """Whether the job was split into others."""
        return (self.job(job_id) / "superseded.json").exists()

    def split(self, job: Job, into: Sequence[Job]) -> None:
        """The parts' files first, then the mark: a job with the mark has its parts on disk."""
        for part in into:
            self._write_job(part)
        replace_json(self.job(job.id) / "superseded.json", {"into": [part.id for part in into]})

    def parts(self, job_id: str) -> list[str]:
        """The jobs that a split one became."""
        return _texts(self.job(job_id) / "superseded.json", "into")

    def cut_batches(self, job: Job, micro_batches: int) -> None:
        """Has the job's next attempt work through each batch in so many parts."""
        self._write_job(job, micro_batches)

    def tell_anew(self, job: Job) -> None:
        """What the job's next attempt is to know of its trials, their ids being the same."""
        self._write_job(job, self.read_job(job.id)[1], sync=False)

    def write_options(self, options: Mapping[str, Any]) -> None:
        """How the sweep was last run, for `retry`."""
        replace_json(self.path / "options.json", {"format": FORMAT, **options})

    def read_options(self) -> dict[str, Any] | None:
        return _read_json(self.path / "options.json")

    def check(self, name: str) -> None:
        """Raises DirectoryError, having written nothing, when the directory is somebody else's."""
        if self.path.is_file():
            raise DirectoryError(f"{self.path}: is a file; give another --out")
        if self.path.is_symlink() and not self.path.exists():
            raise DirectoryError(f"{self.path}: is a link to nothing; give another --out")
        # Hidden files may be what a killed process was just writing. Looked at before the name: another
        # driver may begin the sweep between the two.
        foreign = {path.name for path in self.path.glob("[!.]*")} - BEFORE_THE_NAME
        recorded = self.sweep_name()
        if recorded not in (None, name):
            raise DirectoryError(
                f"{self.path}: holds the sweep {recorded!r}, not {name!r}; give another --out"
            )
        if recorded is None and foreign:
            raise DirectoryError(
                self.nameless() or f"{self.path}: is not empty and holds no sweep; give another --out"
            )

    def write_sweep(self, name: str, text: str) -> None:
        """The resolved sweep file, in a directory that passes `check`.

        The name comes first: a process killed right after it leaves a sweep that can be gone on with.
        """
        self.check(name)
        replace_json(self.path / "sweep.json", {"format": FORMAT, "name": name})
        replace_text(self.path / "sweep.yaml", text)

    def must_exist(self) -> str:
        """The sweep's name. Raises DirectoryError for a directory that is none."""
        name = self.sweep_name()
        if name is None:
            raise DirectoryError(
                self.nameless()
                or f"{self.path}: is not a sweep directory; give one that mutransfer run has written"
            )
        return name

    def nameless(self) -> str | None:
        """What to say of a sweep whose name is not there."""
        if not (self.path / "plan.json").exists():
            return None
        return f"{self.path}: has lost its sweep.json; put it back, as " + '{"format": 1, "name": "..."}'

    def sweep_name(self) -> str | None:
        if self.path.is_file():
            raise DirectoryError(f"{self.path}: is a file; give the sweep's directory, such as runs/NAME")
        record = _read_json(self.path / "sweep.json")
        if record is None:
            return None
        if "name" not in record:
            raise DirectoryError(f"{self.path / 'sweep.json'}: names no sweep; give another directory")
        return str(record["name"])

    def write_data(self, data: Source) -> None:
        """Where the tokens of a digest are now; inside the sweep, relative to it, so that it may be moved."""
        placed = source_object(data)
        if inside := [path for path in placed.get("paths", ()) if Path(path).parent == self.data.resolve()]:
            placed["paths"] = [f"data/{Path(path).name}" for path in inside]
        known = _read_json(self.path / "data.json") or {}
        replace_json(self.path / "data.json", {**known, data.digest: placed})

    def read_data(self, digest: str) -> Source:
        record = (_read_json(self.path / "data.json") or {}).get(digest)
        if record is None:
            raise DirectoryError(
                f"{self.path}: data.json does not name the data {digest}; run the sweep again"
            )
        return source_from_object(record, self.path)

    def write_plan(self, jobs: Sequence[Job], wanted: Sequence[Trial], new: Sequence[Job] = ()) -> None:
        """The files of `new` jobs first, the plan that names all last. `wanted` is what the sweep asks for.

        Job files are not synced one by one: a crash of the machine may damage some, and then they are
        planned again.
        """
        for job in new:
            self._write_job(job, sync=False)
        listed = [
            {"id": job.id, "seconds": round(job.seconds, 3), "trials": [trial.id for trial in job.trials]}
            for job in jobs
        ]
        asked = [trial.id for trial in wanted]
        replace_json(self.path / "plan.json", {"format": FORMAT, "wanted": asked, "jobs": listed})

    def read_plan(self) -> list[Job]:
        """The jobs as first planned, but for those whose files are damaged; none before the first plan.

        Raises UnreadableError for one that may be whole.
        """
        jobs = []
        for job_id, seconds, _ in self._plan():
            try:
                jobs.append(Job(job_id, self.read_job(job_id)[0], seconds))
            except UnreadableError:
                raise
            except DirectoryError:
                continue
        return jobs

    def planned(self) -> dict[str, list[str]]:
        """Trial ids by job, of the whole plan, without opening the jobs; empty before the first plan."""
        return {job_id: trials for job_id, _, trials in self._plan()}

    def _plan(self) -> list[tuple[str, float, list[str]]]:
        path = self.path / "plan.json"
        try:
            return [
                (str(entry["id"]), float(entry["seconds"]), [str(trial) for trial in entry["trials"]])
                for entry in (_read_json(path) or {"jobs": []})["jobs"]
            ]
        except (KeyError, TypeError, ValueError):
            raise DirectoryError(f"{path}: is not the plan of a sweep; {_remedy(path)}") from None

    def wanted_trials(self) -> set[str]:
        """Ids of the trials that the sweep last asked for; empty for imported measurements."""
        return set(_texts(self.path / "plan.json", "wanted"))

    def read_job(self, job_id: str) -> tuple[tuple[Trial, ...], int]:
        """The trials of a job, and the parts that its batches are cut into."""
        path = self.job(job_id) / "job.json"
        record = _read_json(path)
        if record is None:
            raise DirectoryError(f"{path}: is missing; run the sweep again to have it planned anew")
        try:
            kind = PROGRAMS[record.get("program", "proxy")]  # the jobs of older sweeps know no other
            shared = record.get("definition", {})
            make_contents_known(record.get("parametrizations", {}))
            trials = [
                Trial(str(entry["id"]), kind.read(entry["point"], shared)) for entry in record["trials"]
            ]
            return tuple(trials), int(record.get("micro_batches", 1))
        except (KeyError, TypeError, ValueError) as error:
            raise DirectoryError(
                f"{path}: does not describe a job ({error}); run the sweep again to have it planned anew"
            ) from None

    def _write_job(self, job: Job, micro_batches: int = 1, sync: bool = True) -> None:
        points = [trial.program.point() for trial in job.trials]
        trials = [{"id": trial.id, "point": point} for trial, point in zip(job.trials, points, strict=True)]
        program = job.trials[0].program
        record = {
            "format": FORMAT, "id": job.id, "program": program.kind,
            "micro_batches": micro_batches, "trials": trials,
        }  # fmt: skip
        if program.definition:
            record["definition"] = program.definition
        if tables := contents({str(point.get("parametrization")) for point in points}):
            record["parametrizations"] = tables
        replace_json(self.job(job.id) / "job.json", record, sync)

    def add_provenance(self, entry: Mapping[str, Any]) -> None:
        """One entry per invocation, the latest last."""
        record = _read_json(self.path / "provenance.json") or {"format": FORMAT, "runs": []}
        replace_json(self.path / "provenance.json", {**record, "runs": [*record["runs"], entry]})

    def provenance(self) -> list[dict[str, Any]]:
        runs = (_read_json(self.path / "provenance.json") or {}).get("runs", [])
        return [run for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []


def replace_json(path: Path, value: Mapping[str, Any], sync: bool = True) -> None:
    replace_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n", sync)


def replace_text(path: Path, text: str, sync: bool = True) -> None:
    replace(path, text.encode(), sync, before=lambda: failpoint(f"replace {path.name}"))


def _texts(path: Path, name: str) -> list[str]:
    """A list of ids in a record; empty where there is no such file."""
    found = (_read_json(path) or {}).get(name, [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise DirectoryError(f"{path}: {name} is no list of ids; {_remedy(path)}")
    return found


def _remedy(path: Path) -> str:
    """All but a sweep's name and its jobs is written anew by its next run."""
    if path.name in REWRITTEN:
        return "restore it, or take it away and run the sweep again"
    return "restore it or start in another --out"


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise DirectoryError(f"{path.parent}: is a file; give another directory") from None
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "make it readable" if isinstance(error, PermissionError) else "it may be whole: try again"
        raise UnreadableError(f"{path}: cannot be read ({reason}); {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise DirectoryError(f"{path}: cannot be read ({error}); {_remedy(path)}") from None
    if not isinstance(record, dict):
        raise DirectoryError(f"{path}: is not a record of a sweep; {_remedy(path)}")
    if isinstance(written := record.get("format"), int) and written > FORMAT:
        raise UnreadableError(f"{path}: is of format {written}, of a newer mutransfer; upgrade to read it")
    return record
