"""Jobs in long-lived worker processes on this machine, each one thread wide.

Workers run in sessions of their own, so that a Ctrl-C reaches the driver alone; they end when their
stdin closes, however the driver dies.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..plan import Device

STOP_SECONDS = 5.0

# Keeps freed memory in the process: the tensors of a step come back every step, and without this glibc
# returns them to the kernel and faults them in again, 5-18 % of a small step.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONSAFEPATH": "1",  # the user's folder may hold a queue.py of its own
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
}


@dataclass(frozen=True, slots=True)
class Event:
    """What became of a job: `lost` means that its worker died under it."""

    kind: Literal["progress", "finished", "failed", "lost"]
    job: str
    step: int = 0
    diverged: int = 0
    reason: str = ""


@dataclass(slots=True)
class _Worker:
    process: "subprocess.Popen[str]"
    job: str | None = None
    slot: int = 0


class LocalPool:
    """At most `workers` jobs at a time; a worker that dies is replaced when it is next needed."""

    def __init__(self, directory: Path, workers: int, device: Device) -> None:
        self._directory, self._size, self._device = directory, workers, device
        self._workers: list[_Worker] = []
        self._events: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()

    def has_room(self) -> bool:
        return sum(worker.job is not None for worker in self._workers) < self._size

    def submit(self, job_id: str) -> None:
        worker = next((w for w in self._workers if w.job is None), None) or self._start()
        worker.job = job_id
        try:
            self._send(worker, {"job": job_id})
        except OSError:  # it died between two jobs; its reader thread reports the job as lost
            return

    def wait(self, seconds: float) -> Event | None:
        """The next event, or None when nothing happened in that time."""
        try:
            worker, message = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        job = worker.job
        if message is None:
            self._workers.remove(worker)
            code = worker.process.wait()
            return Event("lost", job, reason=_death(code)) if job is not None else None
        if job is None or message.get("job") != job:
            return None
        if message["event"] == "progress":
            return Event("progress", job, message["step"], message["diverged"])
        worker.job = None
        diverged = message.get("diverged", 0)
        return Event(message["event"], job, diverged=diverged, reason=message.get("reason", ""))

    def close(self) -> None:
        """Ends all workers: at once where a job is running, for its result would come too late."""
        for worker in self._workers:
            if worker.job is not None:
                worker.process.kill()
            else:
                try:
                    self._send(worker, {"stop": True})
                except OSError:
                    continue
        for worker in self._workers:
            try:
                worker.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def _start(self) -> _Worker:
        slot = next(i for i in range(self._size) if i not in {w.slot for w in self._workers})
        environment = {**os.environ, **WORKER_ENVIRONMENT}
        if self._device.kind == "cuda":
            environment["CUDA_VISIBLE_DEVICES"] = _visible_gpu(slot % self._device.count)
        command = [sys.executable, "-m", "mutransfer.orchestrator.worker", "--device", self._device.kind]
        # Only what goes wrong before the first job ends here: a job has its own log.
        with open(self._directory / "workers.log", "ab") as log:
            process = subprocess.Popen(
                [*command, "--", str(self._directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,
            )
        worker = _Worker(process, slot=slot)
        self._workers.append(worker)
        threading.Thread(target=self._read, args=(worker,), daemon=True).start()
        return worker

    def _read(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            try:
                self._events.put((worker, json.loads(line)))
            except ValueError:
                continue  # a line cut off by the worker's death
        self._events.put((worker, None))

    def _send(self, worker: _Worker, command: dict[str, Any]) -> None:
        assert worker.process.stdin is not None
        worker.process.stdin.write(json.dumps(command) + "\n")
        worker.process.stdin.flush()


def _visible_gpu(index: int) -> str:
    """The index-th of the GPUs that this process may see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[index] if visible else str(index)


def _death(code: int) -> str:
    return f"the worker was killed by signal {-code}" if code < 0 else f"the worker exited with code {code}"
