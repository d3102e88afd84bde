"""What Slurm is asked for, and what its answers mean, without a Slurm."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, proxy_trial
from submitit.core.utils import FailedJobError, FailedSubmissionError

from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.backends.backend import BackendError
from mutransfer.orchestrator.backends.slurm import submission as module
from mutransfer.orchestrator.backends.slurm.declaration import slurm_device
from mutransfer.orchestrator.backends.slurm.submission import (
    FullError,
    Resources,
    UnclearError,
    parameters_of,
    resources_of,
    submission_text,
    submit_array,
)
from mutransfer.orchestrator.planning.plan import Job
from mutransfer.orchestrator.run.options import RunOptions

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


def lines(options: dict[str, Any], name: str, gpus: int = 0) -> list[str]:
    """What sbatch is told that begins with a name."""
    text = submission_text(parameters_of("x", Resources(30, 8, gpus), options, 10))
    told = (line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH --"))
    return [line for line in told if line.startswith(name)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "mem=8GB"),
        ({"mem": "4G"}, "mem=4G"),
        ({"mem_per_cpu": "2G"}, "mem-per-cpu=2G"),
        ({"mem_per_gpu": "16G", "gpus_per_node": 1}, "mem-per-gpu=16G"),
        ({"additional_parameters": {"mem_per_gpu": "16G"}, "gpus_per_node": 1}, "mem-per-gpu=16G"),
        ({"additional_parameters": {"mem-per-cpu": "2G"}}, "mem-per-cpu=2G"),
        ({"additional_parameters": {"mem": "3G"}}, "mem=3G"),
    ],
)
def test_memory_is_asked_for_once(options: dict[str, Any], told: str) -> None:
    assert lines(options, "mem") == [told]


def test_no_wckey_is_made_up() -> None:
    assert lines({}, "wckey") == [] and lines({"wckey": "ours"}, "wckey") == ["wckey=ours"]


@pytest.mark.parametrize(
    ("options", "some"),
    [
        ({"gres": "gpu:1"}, True), ({"gres": "gpu"}, True), ({"gres": "lscratch:10,gpu:a100:2"}, True),
        ({"gres": "gres/gpu:2"}, True), ({"gres": "lscratch:10"}, False), ({"gres": "gpumem:4"}, False),
        ({"gpus_per_task": 1}, True), ({"additional_parameters": {"gpus": 1}}, True),
        ({"additional_parameters": {"gpus-per-node": "a100:1"}}, True),
        ({"additional_parameters": {"tres_per_task": "gres/gpu=1"}}, True),
        ({"additional_parameters": {"licenses": "matlab"}}, False), ({}, False),
    ],
)  # fmt: skip
def test_what_holds_gpus(options: dict[str, Any], some: bool) -> None:
    """Where they ask for some, none are asked for besides."""
    assert slurm_device(RunOptions(), options).kind == ("cuda" if some else "cpu")
    more = lines(options, "gpus-per-node", gpus=1) != lines(options, "gpus-per-node")
    assert more == (not some)


def test_what_a_site_says_by_variables_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what the job's own lines say, which variables would win over, and what jobs are found by."""
    said = {
        "SBATCH_PARTITION": "debug", "SBATCH_ACCOUNT": "lab", "SBATCH_TIMELIMIT": "1",
        "SBATCH_MEM_PER_NODE": "1", "SBATCH_JOB_NAME": "mine", "SLURM_STEP_ID": "3",
    }  # fmt: skip
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)

    def seen(options: dict[str, Any]) -> dict[str, str]:
        with module._own_environment(parameters_of("x", Resources(30, 8, 0), options, 10)):
            every = dict(os.environ)
        return {name: value for name, value in every.items() if name.startswith(("SBATCH", "SLURM_S"))}

    assert seen({}) == {"SBATCH_PARTITION": "debug", "SBATCH_ACCOUNT": "lab"}
    assert seen({"partition": "gpu"}) == {"SBATCH_ACCOUNT": "lab"}
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert seen({}) == {}
    assert {name: os.environ[name] for name in said} == said


def test_doctor_prints_what_a_job_is_submitted_with(sweep_file: Path, mutransfer: Command) -> None:
    asks = "slurm: {partition: debug, additional_parameters: {gpus: 1}, mem_per_cpu: 2G}\n"
    sweep_file.write_text(sweep_file.read_text() + asks)
    told = mutransfer("doctor", "--backend", "slurm", str(sweep_file)).stdout
    asked = {line.removeprefix("#SBATCH --") for line in told.splitlines() if line.startswith("#SBATCH --")}
    assert {"partition=debug", "gpus=1", "mem-per-cpu=2G", "job-name=mutransfer-tiny"} <= asked
    assert not any(line.startswith(("mem=", "wckey", "gpus-per-node")) for line in asked)
    alone = mutransfer("doctor", str(sweep_file))
    assert alone.returncode == 2 and "--backend says what its jobs would be submitted to" in alone.stderr


@pytest.mark.parametrize("more", ["mem_per_gpu: 4GB", "additional_parameters: {mem-per-cpu: 2G}"])
def test_memory_is_asked_for_in_one_way(more: str, sweep_file: Path, mutransfer: Command) -> None:
    sweep_file.write_text(sweep_file.read_text() + f"slurm: {{mem: 4GB, {more}}}\n")
    refused = mutransfer("plan", str(sweep_file))
    assert refused.returncode == 2 and "Slurm takes one of them; keep one" in refused.stderr
