"""Optional loggers: every trial, as its job finishes, as a run of TensorBoard, Weights & Biases or MLflow.

The driver logs, from what was published: workers know nothing of it, and a logger that fails costs a note,
never a trial. Further loggers come from packages with an entry point in the group `mutransfer.loggers`.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from ...results.store.store import read_job
from ..backends.backend import Event
from ..planning.device import PreflightError
from ..planning.plan import Job
from ..record.attempt import End
from ..record.directory import SweepDirectory
from .driver import Watcher
from .reconcile import Work

Row = Mapping[str, Any]
LOGGERS = ("tensorboard", "wandb", "mlflow")
CURVE = ("train_loss", "eval_loss", "learning_rate", "gradient_norm")


class Logger(Protocol):
    """`row` are the columns of a trial in the store, `curve` its recorded steps."""

    def trial(self, row: Row, curve: Sequence[Row]) -> None: ...


def open_logger(name: str, directory: Path, sweep: str) -> Logger:
    """One of LOGGERS, or of the entry points. Raises PreflightError where its package is missing."""
    try:
        match name:
            case "tensorboard":
                return TensorBoard(directory)
            case "wandb":
                return WeightsAndBiases(directory, sweep)
            case "mlflow":
                return MLflow(sweep)
        for entry in entry_points(group="mutransfer.loggers", name=name):
            logger: Logger = entry.load()(directory, sweep)
            return logger
    except ImportError as error:
        raise PreflightError(f"--log {name}: {error}; pip install 'mutransfer[{name}]'") from None
    except Exception as error:  # a service that is not there, before anything was spent
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PreflightError(f"--log {name}: {reason}") from None
    raise PreflightError(f"--log {name}: is not a logger; choose from {', '.join(LOGGERS)}")


class TensorBoard:
    """Event files in DIR/tensorboard/<trial>; hyperparameters in its HParams tab."""

    def __init__(self, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer, self._folder = SummaryWriter, directory / "tensorboard"

    def trial(self, row: Row, curve: Sequence[Row]) -> None:
        with self._writer(str(self._folder / row["trial_id"])) as writer:
            for point in curve:
                for name, value in _values(point).items():
                    writer.add_scalar(name, value, point["step"])
            metrics = {} if row["loss"] is None else {"loss": row["loss"]}
            writer.add_hparams(_point(row), metrics, run_name=".")


class WeightsAndBiases:
    """One run per trial in the project of the sweep's name; WANDB_MODE=offline keeps them here."""

    def __init__(self, directory: Path, sweep: str) -> None:
        import wandb

        self._wandb, self._directory, self._sweep = wandb, directory, sweep

    def trial(self, row: Row, curve: Sequence[Row]) -> None:
        run = self._wandb.init(
            project=self._sweep, id=row["trial_id"], name=row["trial_id"], config=_point(row),
            dir=str(self._directory), reinit="finish_previous",
        )  # fmt: skip
        for point in curve:
            run.log(_values(point), step=point["step"])
        run.summary.update(
            {name: row[name] for name in ("status", "loss", "diverged_step", "tokens", "flops")}
        )
        run.finish()


class MLflow:
    """One run per trial in the experiment of the sweep's name, where MLFLOW_TRACKING_URI says."""

    def __init__(self, sweep: str) -> None:
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric, self._param, self._client = Metric, Param, MlflowClient()
        known = self._client.get_experiment_by_name(sweep)
        self._experiment = known.experiment_id if known else self._client.create_experiment(sweep)

    def trial(self, row: Row, curve: Sequence[Row]) -> None:
        run = self._client.create_run(self._experiment, run_name=row["trial_id"]).info.run_id
        metrics = [
            self._metric(name, value, 0, point["step"])
            for point in curve
            for name, value in _values(point).items()
        ]
        if row["loss"] is not None:
            metrics.append(self._metric("loss", row["loss"], 0, row["steps"] or 0))
        parameters = [self._param(name, str(value)) for name, value in _point(row).items()]
        for start in range(0, max(len(metrics), 1), 1000):  # what one request may hold
            self._client.log_batch(run, metrics[start : start + 1000], parameters if not start else ())
        self._client.set_terminated(run, "FINISHED" if row["status"] == "finished" else "FAILED")


class Logged:
    """A watcher that passes everything on, and logs the trials of jobs that are done."""

    def __init__(self, watcher: Watcher, directory: SweepDirectory, logger: Logger) -> None:
        self._watcher, self._directory, self._logger = watcher, directory, logger

    def started(self, work: Work) -> None:
        self._watcher.started(work)

    def progressed(self, event: Event) -> None:
        self._watcher.progressed(event)

    def ended(self, end: End, job: Job, action: str) -> None:
        self._watcher.ended(end, job, action)
        if action != "done":
            return
        try:
            rows, curves = read_job(self._directory.path, job.id)
            for row in rows:
                self._logger.trial(row, [point for point in curves if point["trial_id"] == row["trial_id"]])
        except Exception as error:  # whatever a service may raise: the trials are safe in the store
            self._watcher.note(f"job {job.id}: not logged ({type(error).__name__}: {error})")

    def split(self, job: Job, parts: Sequence[Job]) -> None:
        self._watcher.split(job, parts)

    def note(self, text: str) -> None:
        self._watcher.note(text)


def _values(point: Row) -> dict[str, float]:
    return {name: point[name] for name in CURVE if point[name] is not None}


def _point(row: Row) -> dict[str, Any]:
    """What the trial was, without what came of it."""
    outcome = {"trial_id", "job_id", "sweep", "source", "status", "diverged_step", "initial_loss", "loss",
               "train_loss", "seconds", "device"}  # fmt: skip
    return {name: value for name, value in row.items() if value is not None and name not in outcome}
