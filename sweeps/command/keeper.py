"""Stands between a worker and the user's program, so that nothing the program started outlives the worker.

Run as a script of its own, with the standard library alone. It is told the program as one line of JSON on
stdin, and then signals to hand on, one number a line; stdin that closes says that the worker is gone. It
says how the program ended as one line of JSON on stdout. The program's output goes to stderr."""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h: whatever loses its parent becomes ours


OF_SCHEDULERS = (signal.SIGTERM, signal.SIGUSR2)
"""What a scheduler sends to every process of a job that has to leave: the worker knows what to do then."""
OTHERS = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def main() -> None:
    told = json.loads(sys.stdin.buffer.readline())
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (*OF_SCHEDULERS, *OTHERS):
        signal.signal(number, signal.SIG_IGN)

    def of_the_program() -> None:
        """It ignores a scheduler's signals, unless it asked to be told by one or has a handler of its own."""
        for each in (*OF_SCHEDULERS, *OTHERS):
            ignores = each in OF_SCHEDULERS and each != told["signal"]
            signal.signal(each, signal.SIG_IGN if ignores else signal.SIG_DFL)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    try:
        program = subprocess.Popen(
            told["words"], cwd=told["directory"], env=told["environment"], stdin=subprocess.DEVNULL, stdout=2,
            start_new_session=True, preexec_fn=of_the_program,
        )  # fmt: skip
    except OSError as error:
        return _say(error=f"{error.strerror}: {error.filename or told['words'][0]}")
    ended = os.pidfd_open(program.pid)
    while True:
        ready, _, _ = select.select([sys.stdin, ended], [], [])
        if ended in ready:
            break
        line = os.read(sys.stdin.fileno(), 64)
        if not line:
            _end_all()
            os._exit(1)
        for word in line.split():
            with suppress(ProcessLookupError):
                os.killpg(program.pid, int(word))
    code = program.wait()
    _end_all()
    return _say(code=code)


def _say(**ending: object) -> None:
    print(json.dumps(ending), flush=True)


def _end_all() -> None:
    """Kills every process below this one until there is none."""
    while below := _below(os.getpid()):
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.002)


def _below(top: int) -> list[int]:
    """Living descendants, and dead ones that nobody has waited for."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found, todo = [], [top]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


if __name__ == "__main__":
    main()
