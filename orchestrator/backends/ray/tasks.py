"""Jobs as Ray tasks, each with its share of a GPU. Ray places them; whether to try again is our decision.

Tasks, not actors: a worker process is kept by Ray for the next task (without GPUs), and nothing outlives
the driver.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray import exceptions

from ...job.worker import perform, unusable
from ...planning.plan import Job
from ...record.attempt import End, latest_attempt, never_started, read_end, record_lost
from ...record.directory import SweepDirectory
from ...record.failures import EndKind
from ...record.journal import Journal
from ..backend import BackendError, Event, TaskOf
from ..heartbeats import Heartbeats

REACH_SECONDS = 10.0

_ENDS: tuple[tuple[type[BaseException], EndKind, str], ...] = (
    (exceptions.OutOfMemoryError, "out-of-memory", "Ray ended it for want of memory on its node"),
    (exceptions.NodeDiedError, "node-failure", "its node left the cluster"),
    (exceptions.TaskCancelledError, "hung", "its heartbeat stood still, and it was ended"),
    (exceptions.WorkerCrashedError, "killed", "its process died"),
    (exceptions.OutOfDiskError, "disk-full", "Ray's node has no disk left"),
)


class Cluster:
    """The Ray cluster at an address: `local` starts one on this machine, for this run alone.

    A concrete address is always asked for: without one, Ray joins whatever cluster somebody last started
    on the machine. Raises BackendError where it cannot be reached.
    """

    def __init__(self, address: str) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        if address != "local":
            _reach(address)
        own = signal.getsignal(signal.SIGTERM)
        dashboard = False if address == "local" else None
        try:
            ray.init(
                address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard
            )
        except (ConnectionError, exceptions.RayError, RuntimeError, ValueError) as error:
            said = str(error).strip().splitlines()
            raise BackendError(f"--ray-address {address}: {said[0] if said else error}") from None
        signal.signal(signal.SIGTERM, own)  # Ray has put its own in its place
        self.address = str(ray.get_runtime_context().gcs_address)

    def devices(self) -> tuple[int, int]:
        """CPUs and GPUs of all nodes together."""
        resources = ray.cluster_resources()
        return int(resources.get("CPU", 0)), int(resources.get("GPU", 0))

    def most_gpus(self) -> float:
        """Of one node."""
        return max((node["Resources"].get("GPU", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)

    def nodes(self) -> int:
        return sum(node["Alive"] for node in ray.nodes())


def _reach(address: str) -> None:
    """Ray ends the whole process where it cannot connect, so somebody else asks first."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise BackendError(f"--ray-address {address}: give HOST:PORT of the cluster's head, or local")
    try:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
    except OSError as error:
        raise BackendError(
            f"--ray-address {address}: nobody answers there ({error.strerror or error})"
        ) from None


def shut_down() -> None:
    """Leaves the cluster; one that was started here ends."""
    ray.shutdown()


class RayBackend:
    """At most `at_once` jobs in flight, by default as many as the cluster has room for, and some waiting.
    `share`: the GPUs that the smallest job holds."""

    def __init__(
        self,
        cluster: Cluster,
        directory: SweepDirectory,
        journal: Journal,
        task_of: TaskOf,
        at_once: int | None,
        share: float,
    ) -> None:
        self._cluster, self._directory, self._journal = cluster, directory, journal
        self._task_of, self._at_once, self._share = task_of, at_once, share
        self._remote = ray.remote(max_retries=0, max_calls=0)(_perform)
        self._remote_once = ray.remote(max_retries=0, max_calls=1)(_perform_once)
        self._refs: dict[ray.ObjectRef[dict[str, Any]], str] = {}
        self._killed: set[str] = set()
        self._before: dict[str, int] = {}
        self._heartbeats = Heartbeats(directory)

    def room(self) -> int:
        return (self._at_once or self._slots()) - len(self._refs)

    def in_flight(self) -> set[str]:
        return {*self._refs.values()}

    def running(self) -> set[str]:
        """Those that have begun: a task that waits for its place has no heartbeat to lose."""
        begun = set()
        for job in self._refs.values():
            attempt = latest_attempt(self._directory, job)
            if attempt is not None and not self._directory.end(job, attempt.number).exists():
                begun.add(job)
        return begun

    def submit(self, jobs: Sequence[Job]) -> list[str]:
        for job in jobs:
            task = self._task_of(job)
            cpus = max(1, int(task.gpus)) if job.trials[0].program.gpus is None else 1
            remote = self._remote_once if task.gpus else self._remote
            remote = remote.options(num_cpus=cpus, num_gpus=task.gpus, name=f"mutransfer {job.id}")
            earlier = latest_attempt(self._directory, job.id)
            self._before[job.id] = earlier.number if earlier else 0
            self._refs[remote.remote(task.text())] = job.id
        ids = [job.id for job in jobs]
        self._journal.submitted("ray", f"{self._cluster.address} {time.time_ns()}", "", ids)
        return ids

    def poll(self, seconds: float) -> list[Event]:
        if not self._refs:
            time.sleep(seconds)
            return []
        ready, _ = ray.wait(list(self._refs), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = ray.wait(list(self._refs), num_returns=len(self._refs), timeout=0)
        events = []
        for ref in ready:
            job = self._refs.pop(ref)
            end = self._end(ref, job)
            self._killed.discard(job)
            events.append(Event(job, diverged=end.diverged, end=end))
        return [*events, *self._heartbeats.news(self.in_flight())]

    def kill(self, job: str) -> None:
        for ref, held in self._refs.items():
            if held == job:
                self._killed.add(job)
                ray.cancel(ref, force=True)

    def close(self, cancel: bool) -> set[str]:
        """Ends the tasks, always: they are this driver's."""
        ended = self.in_flight()
        for ref in self._refs:
            ray.cancel(ref, force=True)
        if self._refs:
            ray.wait(list(self._refs), num_returns=len(self._refs), timeout=5)
        shut_down()
        return ended

    def _slots(self) -> int:
        """Twice what fits: a node that gets free need not wait for us."""
        cpus, gpus = self._cluster.devices()
        return 2 * max(1, int(min(cpus, gpus / self._share)) if self._share else cpus)

    def _end(self, ref: "ray.ObjectRef[dict[str, Any]]", job: str) -> End:
        try:
            return End(**ray.get(ref))
        except exceptions.RayError as error:
            return self._failed(error, job)

    def _failed(self, error: exceptions.RayError, job: str) -> End:
        """How a task ended that returned nothing: by its own last record, or by what Ray says."""
        kind, reason = next(
            ((kind, reason) for cause, kind, reason in _ENDS if isinstance(error, cause)),
            ("killed", str(error).strip().splitlines()[-1]),
        )
        if job in self._killed:
            kind, reason = "hung", "its heartbeat stood still, and it was ended"
        attempt = latest_attempt(self._directory, job)
        if attempt is None or attempt.number == self._before[job]:
            return never_started(job, kind, reason)  # the record is that of an earlier attempt
        recorded = read_end(self._directory.end(job, attempt.number))
        if recorded is None:
            return record_lost(self._directory, attempt, kind, f"{reason} ({attempt.where})")
        return recorded


def _perform(text: str) -> dict[str, Any]:
    """Runs in a Ray worker; the end comes back as plain values."""
    from dataclasses import asdict

    from ....sweeps.command.keeping import detach

    # Ray's handler ends a function as if it had asked for that itself, and Ray kills a worker's children.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    detach()
    end = perform(text)
    if unusable(end):
        os._exit(1)  # the driver reads how the job ended, and Ray starts another worker
    return asdict(end)


def _perform_once(text: str) -> dict[str, Any]:
    """In a process of its own: one that has used a GPU keeps it, and Ray may give the next task another."""
    return _perform(text)
