"""A Ray cluster as a backend, declared."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..kind import BackendKind, Opening, Stage, cluster_memory, gpus_of, jobs_at_once

if TYPE_CHECKING:
    from ....sweeps.load import Sweep
    from ...planning.plan import Device
    from ...run.options import RunOptions
    from ...upkeep.finding import Finding


def ray_device(options: "RunOptions", cpus: int, gpus: int) -> "Device":
    from ...planning.device import PreflightError, split_over
    from ...planning.plan import Device

    if options.device == "cuda" and not gpus:
        raise PreflightError("--device cuda: the Ray cluster has no GPUs; add GPU nodes, or use --device cpu")
    if options.device == "cpu" or not gpus:
        return split_over(Device("cpu", max(1, cpus)), options.gpus_per_job)
    return split_over(Device("cuda", gpus, cluster_memory(options)), options.gpus_per_job)


def _must_fit(sweep: "Sweep", most: float, per_job: int) -> None:
    """Raises PreflightError for a trial that no node could ever take."""
    from ...planning.device import PreflightError

    asked = max(trial.program.gpus or 0.0 for trial in sweep.expansion.trials)
    if asked > most:
        told = f"a trial asks for {asked:g}, and the largest node of the Ray cluster has {most:g}"
        raise PreflightError(f"program.gpus: {told}")
    if per_job > max(1, most):
        raise PreflightError(f"--gpus-per-job {per_job}: the largest node of the Ray cluster has {most:g}")


def _open(opening: Opening) -> Stage:
    from .tasks import Cluster, RayBackend

    options = opening.options
    cluster = Cluster(options.ray_address)
    device = ray_device(options, *cluster.devices())
    _must_fit(opening.sweep, cluster.most_gpus(), device.per_job)
    task_of = opening.task_of(device)
    share = min(gpus_of(trial, device, options) for trial in opening.sweep.expansion.trials)
    backend = RayBackend(cluster, opening.directory, opening.journal, task_of, options.max_concurrent, share)
    return Stage(backend, device, jobs_at_once(options, device))


def _planned_for(sweep: "Sweep", options: "RunOptions") -> "tuple[Device, int]":
    from .tasks import Cluster, shut_down

    cluster = Cluster(options.ray_address)
    device = ray_device(options, *cluster.devices())
    _must_fit(sweep, cluster.most_gpus(), device.per_job)
    shut_down()
    return device, jobs_at_once(options, device)


def _examine(address: str | None) -> "Iterator[Finding]":
    from ...upkeep.finding import Finding

    joined = os.environ.get("RAY_ADDRESS")
    if address is None:
        told = (
            f"not asked; RAY_ADDRESS is {joined}"
            if joined
            else "not asked; give --ray-address to look at a cluster"
        )
        yield Finding("ray cluster", "note", told)
        return
    from ..backend import BackendError
    from .tasks import Cluster, shut_down

    try:
        cluster = Cluster(address)
    except BackendError as error:
        yield Finding("ray cluster", "fault", str(error), "start it, or give its address as HOST:PORT")
        return
    cpus, gpus = cluster.devices()
    found = f"{cluster.address}: {cluster.nodes()} nodes, {cpus} CPUs, {gpus} GPUs"
    shut_down()
    yield Finding("ray cluster", "ok", found)


RAY = BackendKind(told="Ray", open=_open, planned_for=_planned_for, examine=_examine)
