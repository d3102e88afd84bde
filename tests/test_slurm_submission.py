"""What Slurm is asked for, and what its answers mean, without a Slurm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import proxy_trial
from submitit.core.utils import FailedJobError, FailedSubmissionError

from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.backends.backend import BackendError
from mutransfer.orchestrator.backends.slurm import submission as module
from mutransfer.orchestrator.backends.slurm.submission import (
    FullError,
    Resources,
    UnclearError,
    parameters_of,
    resources_of,
    submit_array,
)
from mutransfer.orchestrator.planning.plan import Job

REFUSED = "sbatch: error: Batch job submission failed: "


class Answers:
    """submitit's executor, whose sbatch says what it is told to."""

    said: Exception

    def __init__(self, folder: Path, max_num_timeout: int) -> None:
        pass

    def update_parameters(self, **parameters: object) -> None:
        pass

    def submit_array(self, tasks: object) -> None:
        raise self.said


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (FailedJobError(f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{REFUSED}Job violates accounting/QOS "
                        "policy (job submit limit, user's size and/or time limits)"), FullError),
        (FailedJobError(f"sbatch: error: AssocMaxSubmitJobLimit\n{REFUSED}Job violates"), FullError),
        (FailedJobError(f"{REFUSED}Resource temporarily unavailable"), FullError),
        (FailedJobError(f"{REFUSED}Unable to contact slurm controller (connect failure)"), UnclearError),
        (FailedJobError(f"{REFUSED}Socket timed out on send/recv operation"), UnclearError),
        (FailedJobError(f"{REFUSED}Zero Bytes were transmitted or received"), UnclearError),
        (FailedSubmissionError('Could not make sense of sbatch output ""'), UnclearError),
        (FailedJobError(f"{REFUSED}Invalid partition name specified"), BackendError),
        (FailedJobError(f"{REFUSED}Requested node configuration is not available"), BackendError),
    ],
)  # fmt: skip
def test_answers(
    said: Exception, means: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The texts are those of Slurm 22.05."""
    monkeypatch.setattr(Answers, "said", said, raising=False)
    monkeypatch.setattr(module, "SlurmExecutor", Answers)
    with pytest.raises(means):
        submit_array(tmp_path, [], {})


def job(recipe: Callable[..., Recipe], seconds: float, trials: int = 4, **changes: object) -> Job:
    return Job("id", tuple(proxy_trial(recipe(seed=seed, **changes)) for seed in range(trials)), seconds)


def test_time_is_in_steps_and_doubles_after_a_time_out(recipe: Callable[..., Recipe]) -> None:
    minutes = [
        resources_of(job(recipe, seconds), 0.0, 0, 0, "").minutes for seconds in (1, 600, 1800, 36_000)
    ]
    assert minutes == [30, 30, 60, 960]
    assert resources_of(job(recipe, 1800), 0.0, 2, 0, "").minutes == 240


def test_a_pre_emption_within_the_estimate_is_never_in_the_limits_last_minutes(
    recipe: Callable[..., Recipe],
) -> None:
    """submitit calls it a time-out after 80 % of the limit, or in its last ten minutes."""
    for seconds in (1, 100, 1000, 10_000, 100_000):
        limit = 60 * resources_of(job(recipe, seconds), 0.0, 0, 0, "").minutes
        assert seconds < min(0.8 * limit, limit - 600)


def test_memory_follows_the_shape(recipe: Callable[..., Recipe]) -> None:
    small, large = (resources_of(job(recipe, 1, width=width), 0.0, 0, 0, "") for width in (16, 4096))
    assert small.memory_gb == 2
    assert large.memory_gb >= 16
    assert resources_of(job(recipe, 1), 0.0, 0, 1, "").memory_gb == 4
    assert resources_of(job(recipe, 1), 1.0, 0, 0, "") == Resources(30, 8, 1)


def parameters(resources: Resources, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    return parameters_of("name", resources, options, 100)


def test_the_sweep_files_options_win() -> None:
    asked = parameters(
        Resources(30, 8, 1), time=240, mem="64GB", partition="gpu", cpus_per_task=4, setup=["x"]
    )
    assert (asked["time"], asked["mem"], asked["partition"], asked["gpus_per_node"]) == (
        240,
        "64GB",
        "gpu",
        1,
    )
    assert asked["setup"] == ["export PYTHONSAFEPATH=1", "export OMP_NUM_THREADS=4", "x"]
    assert "gpus_per_node" not in parameters(Resources(30, 8, 1), gres="gpu:a100:1")
    assert parameters(Resources(30, 8, 0, "n7"), exclude="n1")["exclude"] == "n1,n7"
    assert "gpus_per_node" not in parameters(Resources(30, 2, 0))
