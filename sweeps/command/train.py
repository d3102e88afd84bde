"""Running the user's program for one trial, inside a worker: what it is given, how it goes, and what came
of it."""

import fcntl
import json
import marshal
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ...models.files.checkpoint_name import CheckpointName, checkpoints
from ...models.files.place import replace
from ...models.handover.trial import Trial
from ...models.handover.values import handover_of
from ...models.training.outcome import Outcome, Progress
from ..program import ProgramFailed, Setup
from .command import Command
from .loss import NoLossError, curve, final_loss, json_lines
from .words import filled

LOOK_SECONDS, GONE_SECONDS = 0.5, 30.0
OURS_ALONE = ("PYTHONSAFEPATH", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MUTRANSFER_TRAINING")
"""Variables of our worker process that are nothing to the program."""
NO_MEMORY = (
    "out of memory",
    "outofmemoryerror",
    "cannot allocate memory",
    "can't allocate memory",
    "bad_alloc",
)
TAIL_BYTES = 1 << 16
KILLED = 128 + signal.SIGKILL
"""What a shell says of a child that was killed, as the kernel does for want of memory."""

_running: "Ran | None" = None


def pre_empt() -> None:
    """The place is wanted: tells the program that runs in this process, and waits until it ends or its
    grace is over."""
    if _running is not None:
        _running.pre_empt()


def train(programs: Sequence[Command], setup: Setup) -> tuple[list[Outcome], str]:
    """Runs the one program of the job. Raises ProgramFailed."""
    (program,) = programs
    run = Ran(program, setup)
    begin = time.perf_counter()
    loss = run.called() if program.definition.get("function") else run.executed()
    points = curve(run.metrics)
    outcome = Outcome(
        diverged=not math.isfinite(loss),
        diverged_step=None if math.isfinite(loss) else max((point.step for point in points), default=None),
        initial_loss=math.nan,
        loss=loss if math.isfinite(loss) else None,
        accuracy=None,
        train_loss=points[-1].train_loss if points and math.isfinite(loss) else None,
        seconds=time.perf_counter() - begin,
        curve=points,
    )
    return [outcome], setup.device


@dataclass
class Ran:
    """One attempt at a program."""

    program: Command
    setup: Setup
    begin: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.definition = self.program.definition
        self.files, self.metrics = self.setup.folder / "files", self.setup.folder / "metrics.jsonl"
        self.checkpoints = self.setup.checkpoints / "own"
        self.stop = self.setup.folder / "stop"
        for folder in (self.files, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        self.stop.unlink(missing_ok=True)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._seen = (0, 0)
        self._written = _newest(self.checkpoints)
        self._trial_file = self.setup.folder / "trial.json"
        replace(self._trial_file, json.dumps(self._told(), indent=1).encode(), sync=False)

    def executed(self) -> float:
        """Runs the command; returns its final loss."""
        words = [filled(word, self._placeholders()) for word in self.definition["command"]]
        print("runs", json.dumps(words), flush=True)
        begun = _size_of_output()
        global _running
        _running = self
        try:
            ending = self._watched(words)
        finally:
            _running = None
        self._judge(ending, begun)
        try:
            return final_loss(self._rule(), self.files, _output(begun), self.metrics)
        except NoLossError as error:
            raise ProgramFailed("no-result", f"the program ended well, but {error}") from None

    def called(self) -> float:
        """Calls the function; returns its final loss."""
        import importlib

        module, _, name = self.definition["function"].partition(":")
        with _place(self.definition["directory"], self.definition["environment"]), self._alarm():
            function = getattr(importlib.import_module(module), name)
            trial = Trial.of(self._told(), on_report=lambda step: self.setup.report(self._progress(step)))
            try:
                returned = function(trial)
            except SystemExit as error:
                raise ProgramFailed("error", f"the function ended its process ({error.code})") from None
        if hasattr(returned, "__float__") and not isinstance(returned, bool):  # numpy's and torch's, too
            return float(returned)
        try:
            return final_loss({"helper": True}, self.files, iter(()), self.metrics)
        except NoLossError:
            told = (
                f"the function returned {returned!r:.60}, no number, and did not call trial.finish(loss=...)"
            )
            raise ProgramFailed("no-result", told) from None

    def pre_empt(self) -> None:
        self.stop.touch()
        self._send(self._signal)
        if self._keeper is not None:
            with suppress(subprocess.TimeoutExpired):
                self._keeper.wait(self.definition["preempt"]["grace"])
        self._look()  # what it saved is progress

    @property
    def _signal(self) -> int:
        """By which the program is told that it has to leave."""
        return int(getattr(signal, self.definition["preempt"]["signal"]))

    def _told(self) -> dict[str, Any]:
        values = self.program.point()
        handover, why_not = handover_of(values)
        return {
            "format": 1,
            "id": self.setup.ids[0],
            "point": values,
            "seed": values.get("seed"),
            "base": self.definition["base"],
            "files": str(self.files),
            "checkpoints": str(self.checkpoints),
            "attempt": self.setup.attempt,
            "metrics": str(self.metrics),
            "stop": str(self.stop),
            "handover": handover,
            "no_handover": why_not,
        }

    def _rule(self) -> dict[str, Any]:
        """Where the loss stands, paths filled in."""
        rule = self.definition["loss"]
        paths = {name: filled(rule[name], self._placeholders()) for name in ("file", "csv") if name in rule}
        return {**rule, **paths}

    def _placeholders(self) -> dict[str, object]:
        gpus = self.program.gpus
        return {
            **self.program.point(),
            "trial": self.setup.ids[0],
            "files": self.files,
            "checkpoints": self.checkpoints,
            "attempt": self.setup.attempt,
            "gpus": int(gpus) if gpus == int(gpus) else gpus,
        }

    def _watched(self, words: list[str]) -> dict[str, Any]:
        """What the keeper says of the end."""
        environment = {name: value for name, value in os.environ.items() if name not in OURS_ALONE}
        if self.setup.visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.setup.visible
        environment |= {**self.definition["environment"], "MUTRANSFER_TRIAL": str(self._trial_file)}
        lock = self._alone()
        keeper = self._keeper = subprocess.Popen(
            [sys.executable, "-SEI", str(Path(__file__).with_name("keeper.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=[lock],
        )
        os.close(lock)
        assert keeper.stdin is not None and keeper.stdout is not None
        told = {
            "words": words,
            "directory": self.definition["directory"],
            "environment": environment,
            "signal": self._signal,
        }
        try:
            keeper.stdin.write(marshal.dumps(told))
            keeper.stdin.flush()
            timed_out = False
            while not select.select([keeper.stdout], [], [], LOOK_SECONDS)[0]:
                self._look()
                limit = self.definition.get("timeout")
                if limit is not None and time.monotonic() - self.begin > limit:
                    if (
                        timed_out
                        and time.monotonic() - self.begin > limit + self.definition["preempt"]["grace"]
                    ):
                        self._send(signal.SIGKILL)
                    elif not timed_out:
                        self._send(self._signal)
                        timed_out = True
            line = keeper.stdout.readline()
            ending: dict[str, Any] = json.loads(line) if line else {"code": -signal.SIGKILL}
            return {**ending, "timed_out": timed_out}
        finally:
            keeper.stdin.close()  # where this is left by an exception, the keeper ends the program
            keeper.wait()
            keeper.stdout.close()
            self._look()

    def _alone(self) -> int:
        """A lock on the trial, which its keeper holds while anything of the program lives: if a worker died
        before its program, the next attempt waits for that."""
        lock = os.open(self.setup.folder / "lock", os.O_RDWR | os.O_CREAT)
        deadline = time.monotonic() + GONE_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ProgramFailed(
                        "killed", "the program of an earlier attempt is still there"
                    ) from None
                time.sleep(0.02)
            except OSError:
                return lock  # a file system without locks

    def _send(self, number: int) -> None:
        if self._keeper is not None and self._keeper.stdin is not None:
            with suppress(OSError, ValueError):  # it is gone
                self._keeper.stdin.write(f"{int(number)}\n".encode())
                self._keeper.stdin.flush()

    def _look(self) -> None:
        """Metrics or output that grew are a sign of life; a checkpoint that was written is progress."""
        sizes = (_size(self.metrics), _size_of_output())
        if sizes != self._seen:
            self._seen = sizes
            self.setup.report(self._progress(_last_step(self.metrics)))
        written = _newest(self.checkpoints)
        if written > self._written:
            self._written = written
            before = next((name.step for name, _ in checkpoints(self.setup.checkpoints)), 0)
            mark = CheckpointName(max(before + 1, _last_step(self.metrics)), "own")
            (self.setup.checkpoints / str(mark)).touch()

    def _progress(self, step: int) -> Progress:
        steps = self.program.steps
        return Progress(min(step, steps) if steps > 1 else 0, 0)

    def _judge(self, ending: dict[str, Any], begun: int) -> None:
        """Raises ProgramFailed for an end that is no success."""
        code: int = ending.get("code", 1)
        if code == 0 and not ending["timed_out"]:
            return
        if "error" in ending:
            raise ProgramFailed("error", f"the program cannot be started ({ending['error']})")
        if ending["timed_out"]:
            raise ProgramFailed(
                "error", f"the program took longer than its timeout, {self.definition['timeout']:g} s"
            )
        if self.stop.exists():
            raise ProgramFailed("pre-empted", "the program ended when its place was wanted")
        tail = b"".join(_tail(begun)).decode(errors="replace").lower()
        if code == KILLED or any(words in tail for words in NO_MEMORY):
            raise ProgramFailed("out-of-memory", f"the program exited with code {code}, for want of memory")
        if code < 0:
            raise ProgramFailed("killed", f"the program was killed by signal {-code}")
        raise ProgramFailed("error", f"the program exited with code {code}")

    @contextmanager
    def _alarm(self) -> Iterator[None]:
        """Ends a function that takes longer than its timeout."""
        limit = self.definition.get("timeout")
        if limit is None:
            yield
            return

        def late(*of: object) -> None:
            raise ProgramFailed("error", f"the function took longer than its timeout, {limit:g} s")

        before = signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


@contextmanager
def _place(directory: str, environment: dict[str, str]) -> Iterator[None]:
    """In a directory from which modules are imported, with variables added."""
    before, held = os.getcwd(), {name: os.environ.get(name) for name in environment}
    os.chdir(directory)
    sys.path.insert(0, directory)
    os.environ.update(environment)
    try:
        yield
    finally:
        sys.path.remove(directory)
        os.chdir(before)
        for name, value in held.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _size_of_output() -> int:
    """Of the job's log, where this process and all that it starts print."""
    return os.fstat(2).st_size


def _log() -> IO[bytes]:
    return open("/proc/self/fd/2", "rb")


def _output(begin: int) -> Iterator[str]:
    with _log() as file:
        file.seek(begin)
        for line in file:
            yield line.decode(errors="replace")


def _tail(begin: int) -> Iterator[bytes]:
    with _log() as file:
        file.seek(max(begin, _size_of_output() - TAIL_BYTES))
        yield file.read(TAIL_BYTES)


def _last_step(metrics: Path) -> int:
    return max((step for line in json_lines(metrics) if isinstance(step := line.get("step"), int)), default=0)


def _newest(folder: Path) -> int:
    """When anything in a folder was last written, in nanoseconds."""
    times = [0]
    for path in folder.rglob("*"):
        with suppress(OSError):
            times.append(path.stat().st_mtime_ns)
    return max(times)
