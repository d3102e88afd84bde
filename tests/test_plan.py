"""The plan: groups of one shape, even parts, longest first, resumable."""

from collections.abc import Callable

import pytest
from conftest import proxy_trial

from mutransfer.models.recipe.group import group_key
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.planning.calibration import _step_seconds
from mutransfer.orchestrator.planning.plan import Device, group_size, halves, makespan, plan_jobs
from mutransfer.orchestrator.run.reconcile import reconcile
from mutransfer.sweeps.cost import (
    cpu_seconds,
    forward_flops_per_token,
    optimizer_flops,
    training_flops,
    trial_bytes,
)
from mutransfer.sweeps.program import DeviceKind
from mutransfer.sweeps.proxy import Proxy, recipe_of
from mutransfer.sweeps.trial import Trial

CPU = Device("cpu", 2)
Build = Callable[..., Recipe]


def trials(recipe: Build, widths: tuple[int, ...] = (8, 16), rates: int = 9) -> list[Trial]:
    return [
        proxy_trial(recipe(width=width, learning_rate=2.0**-rate, parametrization=parametrization))
        for parametrization in ("sp", "mup")
        for width in widths
        for rate in range(rates)
    ]


def test_sp_and_mup_of_one_shape_share_a_group(recipe: Build) -> None:
    assert group_key(recipe(parametrization="sp")) == group_key(recipe(parametrization="mup", seed=3))
    assert group_key(recipe(width=8)) != group_key(recipe(width=16))


def test_every_trial_is_in_one_job_and_parts_are_even(recipe: Build) -> None:
    swept = trials(recipe)
    jobs = plan_jobs(swept, CPU)
    assert sorted(t.id for job in jobs for t in job.trials) == sorted(t.id for t in swept)
    assert [len(job.trials) for job in jobs] == [6] * 6
    assert all(len({recipe_of(t).shape for t in job.trials}) == 1 for job in jobs)


def test_jobs_that_compare_their_trials_have_them_from_all_over_the_grid(recipe: Build) -> None:
    jobs = plan_jobs(trials(recipe, widths=(8,), rates=16), CPU, spread=True)
    assert [len(job.trials) for job in jobs] == [8] * 4
    for job in jobs:
        for parametrization in ("sp", "mup"):
            recipes = [recipe_of(t) for t in job.trials if recipe_of(t).parametrization == parametrization]
            assert len(recipes) == 4
            assert max(r.learning_rate for r in recipes) == 2**12 * min(r.learning_rate for r in recipes)


def test_longest_first(recipe: Build) -> None:
    seconds = [job.seconds for job in plan_jobs(trials(recipe), CPU)]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] > seconds[-1]


def test_planning_twice_gives_the_same_jobs(recipe: Build) -> None:
    assert plan_jobs(trials(recipe), CPU) == plan_jobs(trials(recipe), CPU)


def test_gpu_groups_fill_the_memory(recipe: Build) -> None:
    one = Proxy(recipe())
    assert group_size(one, Device("cuda", 1, one.memory_bytes() * 10, assumed=True)) == 7
    assert group_size(one, Device("cuda", 1, 1)) == 1
    assert group_size(one, Device("cuda", 1, 80 << 30)) == 64
    assert group_size(one, CPU) == 8


def test_a_long_job_is_cut_to_a_fair_share(recipe: Build) -> None:
    """Six hundred times the steps: eight workers get a job each, not two of them everything."""
    long = [proxy_trial(recipe(steps=200_000, seed=seed)) for seed in range(16)]
    assert [len(job.trials) for job in plan_jobs(long, CPU, 1)] == [8] * 2
    assert [len(job.trials) for job in plan_jobs(long, CPU, 8)] == [2] * 8
    assert [len(job.trials) for job in plan_jobs(long, CPU, 100)] == [1] * 16
    short = [proxy_trial(recipe(seed=seed)) for seed in range(16)]
    assert [len(job.trials) for job in plan_jobs(short, CPU, 8)] == [8] * 2


def test_a_group_bound_by_launches_stays_whole(recipe: Build) -> None:
    gpu = Device("cuda", 8, 80 << 30)
    small = [proxy_trial(recipe(steps=10**6, seed=seed)) for seed in range(64)]
    assert [len(job.trials) for job in plan_jobs(small, gpu, 8)] == [64]
    large = [proxy_trial(recipe(steps=10**4, seed=seed, width=2048, batch_size=64)) for seed in range(64)]
    assert len(plan_jobs(large, gpu, 8)) >= 8


def test_halves_hold_the_same_trials(recipe: Build) -> None:
    (job,) = plan_jobs(trials(recipe, widths=(8,), rates=3), CPU)
    parts = halves(job)
    assert [trial for part in parts for trial in part.trials] == list(job.trials)
    assert len({job.id, *(part.id for part in parts)}) == 3
    assert sum(part.seconds for part in parts) == pytest.approx(job.seconds)


def test_reconcile_keeps_what_is_done(recipe: Build) -> None:
    swept = trials(recipe)
    jobs = plan_jobs(swept, CPU)
    done = {t.id for job in jobs[1:] for t in job.trials}
    work = reconcile(swept, jobs, done, CPU, 1)
    assert [job.id for job in work.remaining] == [jobs[0].id]
    assert (len(work.wanted), work.done) == (36, 30)


def test_reconcile_plans_only_what_is_new(recipe: Build) -> None:
    """A sweep that gained a width keeps its recorded jobs and gets new ones for the rest."""
    recorded = plan_jobs(trials(recipe), CPU)
    grown = trials(recipe, widths=(8, 16, 32))
    work = reconcile(grown, recorded, set(), CPU, 1)
    assert list(work.jobs[: len(recorded)]) == recorded
    assert {recipe_of(t).shape.width for job in work.jobs[len(recorded) :] for t in job.trials} == {32}


def test_reconcile_ignores_jobs_that_are_no_longer_wanted(recipe: Build) -> None:
    recorded = plan_jobs(trials(recipe), CPU)
    work = reconcile(trials(recipe, widths=(8,)), recorded, set(), CPU, 1)
    assert {recipe_of(t).shape.width for job in work.remaining for t in job.trials} == {8}


def test_makespan_is_greedy() -> None:
    assert makespan([5, 4, 3, 3], 2) == 8
    assert makespan([5], 4) == 5


def test_flops_are_the_matrices(recipe: Build) -> None:
    """Width n, MLP 4n, one layer: 12 n^2 in matrices, n V in the readout, 2 T n in causal attention."""
    shape = recipe(width=16, depth=1).shape
    assert forward_flops_per_token(shape) == 2 * (12 * 16**2 + 16 * 64) + 2 * 16 * 16
    assert training_flops(recipe(width=16, depth=1)) == 3 * forward_flops_per_token(shape) * 20 * 4 * 16


@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
def test_cost_grows_with_everything(architecture: str, recipe: Build) -> None:
    base = cpu_seconds(recipe(architecture=architecture))
    for change in ({"width": 32}, {"depth": 4}, {"steps": 40}, {"batch_size": 8}, {"eval_every": 5}):
        assert cpu_seconds(recipe(architecture=architecture, **change)) > base


def test_matrix_optimizers_cost_their_matrices(recipe: Build) -> None:
    """Newton-Schulz on the hidden matrices: a block has 4 of 16 x 16 and 2 of 64 x 16."""
    muon = recipe(optimizer="muon", adamw_lr_ratio=0.1)
    square, oblong = 4 * 16**3 + 2 * 16**3, 4 * 16**2 * 64 + 2 * 16**3
    assert optimizer_flops(muon) == 5 * 2 * (4 * square + 2 * oblong)
    assert optimizer_flops(recipe()) == 0
    sphere = recipe(optimizer="spectral-sphere", adamw_lr_ratio=0.1)
    assert optimizer_flops(sphere) == 21 * 8 / 5 * optimizer_flops(muon)
    assert cpu_seconds(sphere) > cpu_seconds(muon) > cpu_seconds(recipe())
    assert trial_bytes(recipe(optimizer="soap", adamw_lr_ratio=0.1)) > trial_bytes(muon)
    assert 0 < optimizer_flops(recipe(optimizer="sophia")) < training_flops(recipe()) / 20 / 5


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_calibrated_step_is_compared_with_a_step(kind: DeviceKind, recipe: Build) -> None:
    """What is timed has no evaluations, whatever share of the estimate they are."""
    device = Device(kind, 1, 80 << 30)
    never, often = (
        plan_jobs([proxy_trial(recipe(steps=20, eval_every=every))], device)[0] for every in (0, 1)
    )
    assert often.seconds > 1.2 * never.seconds
    assert _step_seconds(often, device) == pytest.approx(_step_seconds(never, device), rel=1e-6)
