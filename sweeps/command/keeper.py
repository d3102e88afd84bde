"""Stands between a worker and the user's program, so that nothing the program started outlives the worker.

Run as a script of its own, with little of the standard library: it is started for every trial. It is told
the program on stdin, by marshal, and then signals to hand on, one number a line; stdin that closes says
that the worker is gone. It says on stdout, by marshal, how the program ended. The program's output goes to
stderr.
"""

import ctypes
import marshal
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h: whatever loses its parent becomes ours
OF_SCHEDULERS = (signal.SIGTERM, signal.SIGUSR2)
"""What a scheduler sends to every process of a job that has to leave: the worker knows what to do then."""
OTHERS = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
NOT_STARTED = 127


def main() -> None:
    told = marshal.load(sys.stdin.buffer)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (*OF_SCHEDULERS, *OTHERS):
        signal.signal(number, signal.SIG_IGN)
    why, failed = os.pipe()  # closed by the start of the program; says why there was none
    program = os.fork()
    if not program:
        _become(told, libc, failed)
    os.close(failed)
    error = os.read(why, 4096).decode()
    ended = os.pidfd_open(program)
    while not _is_over(ended, program):
        pass
    status = os.waitpid(program, 0)[1]
    _end_all()
    _say({"error": error} if error else {"code": os.waitstatus_to_exitcode(status)})


def _become(told: dict[str, object], libc: ctypes.CDLL, failed: int) -> None:
    """The program, in a session of its own. It ignores a scheduler's signals, unless it asked to be told by
    one or has a handler of its own."""
    words, environment, directory = told["words"], told["environment"], told["directory"]
    assert isinstance(words, list) and isinstance(environment, dict) and isinstance(directory, str)
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        for number in (*OF_SCHEDULERS, *OTHERS):
            ignores = number in OF_SCHEDULERS and number != told["signal"]
            signal.signal(number, signal.SIG_IGN if ignores else signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        os.closerange(3, failed)
        os.closerange(failed + 1, 256)
        os.chdir(directory)
        os.execvpe(words[0], words, environment)
    except BaseException as error:
        said = getattr(error, "strerror", None) or str(error)
        os.write(failed, f"{said}: {getattr(error, 'filename', None) or words[0]}".encode())
        os._exit(NOT_STARTED)


def _is_over(ended: int, program: int) -> bool:
    """Waits for the program's end, and hands signals on; where the worker is gone, everything ends."""
    ready, _, _ = select.select([sys.stdin, ended], [], [])
    if ended in ready:
        return True
    line = os.read(sys.stdin.fileno(), 64)
    if not line:
        _end_all()
        os._exit(1)
    for word in line.split():
        try:
            os.killpg(program, int(word))
        except ProcessLookupError:
            return True
    return False


def _say(ending: dict[str, object]) -> None:
    os.write(1, marshal.dumps(ending))
    os._exit(0)  # nothing is left to put in order


def _end_all() -> None:
    """Kills every process below this one until there is none."""
    while below := _below(os.getpid()):
        for pid in below:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        time.sleep(0.002)


def _below(top: int) -> list[int]:
    """Living descendants, and dead ones that nobody has waited for."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    found, todo = [], [top]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


if __name__ == "__main__":
    main()
