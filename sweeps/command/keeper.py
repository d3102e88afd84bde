"""Stands between a worker and the user's programs, so that nothing that they started outlives the worker.

Run as a script of its own, with the standard library alone; the worker's side is `keeping`. Its stdin is a
socket of packets. One with three files begins a program: what to run (by marshal), the log that its output
goes to, and a lock that is held while anything of it lives. One with a number hands a signal on. The answer,
by marshal, is how the program ended. A socket that closes says that the worker is gone. The first packet
from here is this process's id; any argument has it leave its parent.
"""

import ctypes
import marshal
import os
import select
import signal
import socket
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h: whatever loses its parent becomes ours
OF_SCHEDULERS = (signal.SIGTERM, signal.SIGUSR2)
"""What a scheduler sends to every process of a job that has to leave: the worker knows what to do then."""
OTHERS = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
NOT_STARTED = 127


def main() -> None:
    control = socket.socket(fileno=0)
    if sys.argv[1:] and os.fork():
        os._exit(0)  # what is no child of the worker is not ended with it by others
    control.send(str(os.getpid()).encode())
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (*OF_SCHEDULERS, *OTHERS):
        signal.signal(number, signal.SIG_IGN)
    while True:
        packet, files, _, _ = socket.recv_fds(control, 64, 3)
        if files:  # a signal may come when its program has just ended
            control.send(marshal.dumps(_run(control, libc, *files)))
        elif not packet:
            return


def _run(control: socket.socket, libc: ctypes.CDLL, told: int, log: int, lock: int) -> dict[str, object]:
    """The program from its start until nothing of it lives: its exit code, or why it was not started."""
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    with open(told, "rb") as file:
        asked = marshal.load(file)
    why, failed = os.pipe()  # closed by the start of the program; says why there was none
    program = os.fork()
    if not program:
        _become(asked, libc, failed, lock)
    os.close(failed)
    with open(why, "rb") as file:
        error = file.read().decode()
    ended = os.pidfd_open(program)
    while not _is_over(control, ended, program):
        pass
    os.close(ended)
    status = os.waitpid(program, 0)[1]
    _end_all()
    os.close(lock)
    return {"error": error} if error else {"code": os.waitstatus_to_exitcode(status)}


def _become(asked: dict[str, object], libc: ctypes.CDLL, failed: int, lock: int) -> None:
    """The program, in a session of its own. It ignores a scheduler's signals, unless it asked to be told by
    one or has a handler of its own. It holds the lock, too: what outlives a keeper that is killed is waited
    for."""
    words, environment, directory = asked["words"], asked["environment"], asked["directory"]
    assert isinstance(words, list) and isinstance(environment, dict) and isinstance(directory, str)
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        for number in (*OF_SCHEDULERS, *OTHERS):
            ignores = number in OF_SCHEDULERS and number != asked["signal"]
            signal.signal(number, signal.SIG_IGN if ignores else signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.set_inheritable(lock, True)
        for descriptor in {*range(3, 256)} - {failed, lock}:
            os.closerange(descriptor, descriptor + 1)
        os.chdir(directory)
        os.execvpe(words[0], words, environment)
    except BaseException as error:
        said = getattr(error, "strerror", None) or str(error)
        os.write(failed, f"{said}: {getattr(error, 'filename', None) or words[0]}".encode())
        os._exit(NOT_STARTED)


def _is_over(control: socket.socket, ended: int, program: int) -> bool:
    """Waits for the program's end, and hands signals on; where the worker is gone, everything ends."""
    ready, _, _ = select.select([control.fileno(), ended], [], [])
    if ended in ready:
        return True
    packet = control.recv(64)
    if not packet:
        _end_all()
        os._exit(1)
    try:
        os.killpg(program, int(packet))
    except ProcessLookupError:
        return True
    return False


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
