"""A worker process of the local pool: reads tasks on stdin, tells the driver on stdout.

It lives for many jobs, so torch is imported once. It dies with its driver: the kernel is told to kill it
then, and stdin that closes without a `stop` says so too (what it has published stays).
"""

import ctypes
import gc
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import IO

from ....models.training.outcome import Progress
from ...job.worker import perform, unusable

REPORT_SECONDS = 0.5
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    commands: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_listen, args=(commands,), daemon=True).start()
    with os.fdopen(os.dup(1), "w", buffering=1) as events:
        while (task := commands.get()) is not None:
            end = perform(task, _reporter(events))
            if unusable(end):
                os._exit(1)  # the driver reads how the job ended, and starts another worker
            _send(events, end=asdict(end))
    gc.freeze()  # or the exit looks for rubbish in all of torch, as long as a third of importing it takes


def _listen(commands: "queue.Queue[str | None]") -> None:
    for line in sys.stdin:
        if line.strip() == "stop":
            commands.put(None)
            return
        commands.put(line)
    os._exit(1)  # the driver is gone; a plain exit would wait for the training


def _reporter(events: IO[str]) -> Callable[[Progress], None]:
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            _send(events, step=progress.step, diverged=progress.diverged)

    return report


def _send(events: IO[str], **event: object) -> None:
    print(json.dumps(event), file=events, flush=True)


if __name__ == "__main__":
    main()
