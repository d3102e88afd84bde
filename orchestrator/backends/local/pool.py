"""Jobs in long-lived worker processes on this machine, each one thread wide.

Workers run in sessions of their own, so that a Ctrl-C reaches the driver alone; the kernel ends them when
the driver dies, however it dies.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...planning.plan import Device, Job
from ...record.attempt import End, latest_attempt, never_started, read_end, record_lost
from ...record.directory import SweepDirectory
from ...record.failures import EndKind
from ...record.journal import Journal
from ..backend import Event, TaskOf
from .gpus import Gpus

STOP_SECONDS = 5.0

# Keeps freed memory in the process: the tensors of a step come back every step, and without this glibc
# returns them to the kernel and faults them in again, 5-18 % of a small step.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONSAFEPATH": "1",  # the user's folder may hold a queue.py of its own
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
}


@dataclass(slots=True)
class _Worker:
    process: "subprocess.Popen[str]"
    slot: int
    job: str | None = None
    killed: bool = False
    reader: threading.Thread = field(init=False)
    memory_kills: int = field(default_factory=lambda: _memory_kills())


class LocalBackend:
    """At most `workers` jobs at a time; a worker that dies is replaced when it is next needed."""

    def __init__(
        self, directory: SweepDirectory, journal: Journal, task_of: TaskOf, workers: int, device: Device
    ) -> None:
        self._directory, self._journal, self._task_of = directory, journal, task_of
        self._size, self._device = workers, device
        self._workers: list[_Worker] = []
        self._gpus = Gpus(
            [_visible_gpu(index) for index in range(device.count if device.kind == "cuda" else 0)]
        )
        self._messages: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()

    def room(self) -> int:
        return self._size - len(self.running())

    def in_flight(self) -> set[str]:
        return self.running()

    def running(self) -> set[str]:
        return {worker.job for worker in self._workers if worker.job is not None}

    def submit(self, jobs: Sequence[Job]) -> list[str]:
        taken = []
        for job in jobs[: self.room()]:
            task = self._task_of(job)
            if task.gpus > 1 or job.trials[0].program.gpus:
                visible = self._gpus.take(job.id, task.gpus)
                if visible is None:
                    break  # until others end
                task = replace(task, visible=visible)
            taken.append(job.id)
            worker = next((w for w in self._workers if w.job is None), None) or self._start()
            worker.job = job.id
            self._journal.submitted("local", f"process {worker.process.pid}, {job.id}", "", [job.id])
            with suppress(OSError):  # it died between two jobs; its reader thread reports the job as lost
                self._send(worker, task.text())
        return taken

    def poll(self, seconds: float) -> list[Event]:
        events = []
        try:
            events.append(self._event(*self._messages.get(timeout=seconds)))
            while True:
                events.append(self._event(*self._messages.get_nowait()))
        except queue.Empty:
            return [event for event in events if event is not None]

    def kill(self, job: str) -> None:
        for worker in self._workers:
            if worker.job == job:
                worker.killed = True
                _kill(worker)

    def close(self, cancel: bool) -> set[str]:
        """Ends all workers: at once where a job is running, for its result would come too late."""
        ended = self.running()
        for worker in self._workers:
            if worker.job is not None:
                _kill(worker)
            else:
                with suppress(OSError):
                    self._send(worker, "stop")
        for worker in self._workers:
            try:
                worker.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                _kill(worker)
            _gone(worker)
        self._workers.clear()
        return ended

    def _event(self, worker: _Worker, message: dict[str, Any] | None) -> Event | None:
        job = worker.job
        if message is None:
            if worker in self._workers:
                self._workers.remove(worker)
            code = _gone(worker)
            if job is not None:
                self._gpus.give_back(job)
            return Event(job, end=self._death(worker, job, code)) if job is not None else None
        if job is None:
            return None
        if "end" not in message:
            return Event(job, message["step"], message["diverged"])
        worker.job = None
        self._gpus.give_back(job)
        end = End(**message["end"])
        return Event(job, diverged=end.diverged, end=end)

    def _death(self, worker: _Worker, job: str, code: int) -> End:
        """How a job ended whose worker died: by its own last record, or by what the system says."""
        attempt = latest_attempt(self._directory, job)
        if attempt is None or attempt.process.pid != worker.process.pid:
            kind: EndKind = "unbegun" if code < 0 and not worker.killed else "killed"
            return never_started(job, kind, f"the worker {_words(code)} before it began")
        recorded = read_end(self._directory.end(job, attempt.number))
        if recorded is not None:
            return recorded
        kind = "hung" if worker.killed else "killed"
        reason = "the worker stood still and was killed" if worker.killed else f"the worker {_words(code)}"
        if code == 0:
            kind = "no-result"
        if code == -signal.SIGKILL and not worker.killed and _memory_kills() > worker.memory_kills:
            kind, reason = "out-of-memory", "the kernel killed the worker for want of memory"
        return record_lost(self._directory, attempt, kind, reason)

    def _start(self) -> _Worker:
        slot = next(i for i in range(self._size) if i not in {w.slot for w in self._workers})
        environment = {**os.environ, **WORKER_ENVIRONMENT}
        if self._device.kind == "cuda":
            environment["CUDA_VISIBLE_DEVICES"] = _visible_gpu(slot % self._device.count)
        # Only what goes wrong before the first job ends here: a job has its own log.
        with open(self._directory.path / "workers.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mutransfer.orchestrator.backends.local.worker",
                 str(self._directory.path.resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,
            )  # fmt: skip
        worker = _Worker(process, slot)
        self._workers.append(worker)
        worker.reader = threading.Thread(target=self._read, args=(worker,), daemon=True)
        worker.reader.start()
        return worker

    def _read(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            with suppress(ValueError):  # a line cut off by the worker's death
                self._messages.put((worker, json.loads(line)))
        self._messages.put((worker, None))

    def _send(self, worker: _Worker, line: str) -> None:
        assert worker.process.stdin is not None
        worker.process.stdin.write(line + "\n")
        worker.process.stdin.flush()


def _gone(worker: _Worker) -> int:
    """The exit code of a process that has ended or been killed; nothing of it stays open."""
    code = worker.process.wait()
    worker.reader.join()
    for pipe in (worker.process.stdin, worker.process.stdout):
        if pipe is not None:
            with suppress(OSError):  # what it never read
                pipe.close()
    return code


def _kill(worker: _Worker) -> None:
    """The worker and whatever it started."""
    with suppress(ProcessLookupError):
        os.killpg(worker.process.pid, signal.SIGKILL)


def _visible_gpu(index: int) -> str:
    """The index-th of the GPUs that this process may see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[index] if visible else str(index)


def _memory_kills() -> int:
    """Processes that the kernel has killed in this control group for want of memory."""
    try:
        group = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2]
        for line in Path(f"/sys/fs/cgroup{group}/memory.events").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def _words(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
