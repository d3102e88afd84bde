"""How a program of the user's can end: well, badly, too late, killed, and with what it started."""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command, arguments, wait_until
from many_jobs import assert_losses, programs
from own_programs import ONE

from mutransfer.orchestrator.job.worker import Task, perform
from mutransfer.orchestrator.planning.plan import Device
from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.orchestrator.run.reconcile import prepare
from mutransfer.results.store.store import read_curves, read_rows
from mutransfer.sweeps.command.train import pre_empt
from mutransfer.sweeps.load import load_sweep

FAILURES = {
    "no-result": ("print('nothing')", "the program ended well, but no line of its output matches"),
    "error": ("sys.exit(7)", "the program exited with code 7"),
    "killed": ("os.kill(os.getpid(), 9)", "the program was killed by signal 9"),
    "out-of-memory": ("print('CUDA out of memory'); sys.exit(1)", "exited with code 1, for want of memory"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAILURES)
def test_failures_have_their_class(
    kind: str, own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """And the end of the log; the other trial is not disturbed."""
    code, told = FAILURES[kind]
    trainer = f"import os, sys\nif sys.argv[1] == '0.5':\n    {code}\nelse:\n    print('loss 2.5')\n"
    done = mutransfer("run", str(own(ONE, trainer)))
    assert done.returncode == 3
    assert f"failed ({kind}): " in done.stderr and told in done.stderr
    rows = read_rows(tmp_path / "runs" / "own")[0].to_pylist()
    assert [(row["rate"], row["loss"]) for row in rows] == [(0.25, 2.5)]


def test_a_shell_that_says_137_ran_out_of_memory(
    own: Callable[[str, str], Path], mutransfer: Command
) -> None:
    done = mutransfer("run", str(own(ONE, "import sys\nsys.exit(137)\n")))
    assert "failed (out-of-memory): the program exited with code 137" in done.stderr


@pytest.mark.slow
def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """A child in a session of its own that ignores every signal does not outlive it."""
    trainer = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(1000)\n"
    )
    sweep = ONE.replace("[0.5, 0.25]", "[0.5]") + "  timeout: 1\n  preempt: {grace: 1}\n"
    done = mutransfer("run", str(own(sweep, trainer)))
    assert "failed (error): the program took longer than its timeout, 1 s" in done.stderr
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_a_program_goes_on_from_its_checkpoint_and_dies_with_its_worker(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """Killed workers and drivers: the program is gone with them, and the next attempt finds what it saved."""
    trainer = (
        "import os, sys, time, mutransfer\n"
        "trial = mutransfer.trial()\n"
        "saved = trial.checkpoints / 'step'\n"
        "begin = int(saved.read_text()) if saved.exists() else 0\n"
        f"open({str(tmp_path / 'begins')!r}, 'a').write(f'{{trial.attempt}} {{begin}} {{os.getpid()}}\\n')\n"
        "for step in range(begin, 8):\n"
        "    time.sleep(0.25)\n"
        "    trial.report(step, train_loss=8 - step, tokens=step)\n"
        "    saved.write_text(str(step + 1))\n"
        "trial.finish(loss=trial.rate)\n"
    )
    sweep = ONE.replace("[0.5, 0.25]", "[0.5]").replace("{pattern: 'loss (\\S+)'}", "helper")
    path, directory = own(sweep, trainer), tmp_path / "runs" / "own"
    driver = subprocess.Popen(arguments("run", str(path)), cwd=tmp_path, stderr=subprocess.DEVNULL)
    begins = tmp_path / "begins"
    wait_until(lambda: begins.exists() and len([*directory.glob("jobs/*/metrics.jsonl")]))
    time.sleep(0.6)
    driver.kill()
    driver.wait()
    pid = int(begins.read_text().split()[2])
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert mutransfer("run", str(path)).returncode == 0
    attempts = [line.split() for line in begins.read_text().splitlines()]
    assert len(attempts) == 2 and attempts[0][:2] == ["1", "0"]
    assert attempts[1][0] == "2" and int(attempts[1][1]) > 0
    (row,) = read_rows(directory)[0].to_pylist()
    assert row["loss"] == 0.5 and row["train_loss"] == 1
    curve = read_curves(directory)[0].to_pandas()
    assert curve["step"].tolist() == [*range(8)] and curve["train_loss"].tolist() == [*range(8, 0, -1)]
    assert curve["learning_rate"].isna().all()


@pytest.mark.slow
def test_what_outlives_a_killed_keeper_is_waited_for(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """The next attempt begins when a child of the first one is gone, which nobody was left to end."""
    trainer = (
        "import os, signal, sys, time\n"
        "begun, gone = sys.argv[2] + '/begun', sys.argv[2] + '/gone'\n"
        "if not os.path.exists(begun):\n"
        "    open(begun, 'w').close()\n"
        "    if not os.fork():\n"
        "        os.setsid()\n"
        "        time.sleep(3)\n"
        "        open(gone, 'w').close()\n"
        "        os._exit(0)\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n"
        "    time.sleep(60)\n"
        "print('loss', 1 if os.path.exists(gone) else 2)\n"
    )
    sweep = ONE.replace('"{rate}"]', '"{rate}", "{checkpoints}"]').replace("[0.5, 0.25]", "[0.5]")
    done = mutransfer("run", str(own(sweep, trainer)))
    assert done.returncode == 0, done.stderr
    assert read_rows(tmp_path / "runs" / "own")[0].column("loss").to_pylist() == [1.0]


@pytest.mark.slow
def test_kills_of_everything_at_random(tmp_path: Path) -> None:
    """Driver, workers, keepers and programs, twelve times: each ends once, none runs beside itself."""
    sweep = programs(tmp_path, 8, 6)
    trainer = tmp_path / "train.py"
    once = (
        "import fcntl\nalone = open(sys.argv[2] + '.lock', 'w')\n"
        "fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    )
    saves = "    step += 1\n    save()\n"
    text = trainer.read_text().replace("rate, saved", once + "rate, saved", 1)
    trainer.write_text(text.replace("    step += 1\n", saves))
    generator = random.Random(0)
    driver = sweep.start("-j", "2", "--checkpoint-every", "0.1")
    for _ in range(12):
        wait_until(lambda: driver.poll() is not None or below(driver.pid))  # noqa: B023
        time.sleep(generator.uniform(0.1, 0.8))
        victims = [driver.pid, *below(driver.pid)]
        with contextlib.suppress(ProcessLookupError):
            os.kill(generator.choice(victims), signal.SIGKILL)
        time.sleep(0.1)
        if driver.poll() is not None:
            driver.communicate()
            driver = sweep.start("-j", "2", "--checkpoint-every", "0.1")
    driver.communicate(timeout=200)
    done = sweep.run("-j", "2")
    assert done.returncode == 0, done.stderr
    assert_losses(sweep, 8)
    said = [log.read_text() for log in sweep.directory.glob("jobs/*/log.txt")]
    assert not any("BlockingIOError" in text for text in said)
    assert sum(text.count("begins at") for text in said) > 8


def below(pid: int) -> list[int]:
    """Living descendants of a process."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        more = children.get(todo.pop(), [])
        found += more
        todo += more
    return found


def test_a_program_that_cannot_be_started_has_its_class(
    own: Callable[[str, str], Path], mutransfer: Command
) -> None:
    path = own(ONE.replace("PYTHON, train.py", "./train.py"), "#!/no/such/interpreter\n")
    (path.parent / "trainer" / "train.py").chmod(0o755)
    done = mutransfer("run", str(path))
    told = "the program cannot be started (No such file or directory: ./train.py)"
    assert f"failed (error): {told}" in done.stderr


def of_function(own: Callable[[str, str], Path], trainer: str, more: str = "") -> Path:
    sweep = ONE[: ONE.index("  command")] + f"  function: train:build\n  directory: trainer\n{more}"
    return own(sweep, trainer)


@pytest.mark.slow
@pytest.mark.parametrize("caught", ["Exception", "BaseException"])
def test_a_function_that_is_cut_off_leaves_nothing_half_done(
    caught: str, own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """Neither does an `except` of its own keep it, nor does the next trial find the import that it was in."""
    trainer = (
        "import os, time\n"
        "def build(trial):\n"
        "    assert 'HALF' not in os.environ\n"
        "    if trial.rate == 0.25:\n"
        "        return trial.rate\n"
        "    os.environ['HALF'] = 'done'\n"
        "    while True:\n"
        "        try:\n"
        "            time.sleep(60)\n"
        "        except CAUGHT:\n"
        "            if CAUGHT is BaseException:\n"
        "                return 1.0\n"
    )
    trainer = trainer.replace("CAUGHT", caught)
    done = mutransfer("run", str(of_function(own, trainer, "  timeout: 1\n")), "-j", "1")
    assert "failed (error): the function took longer than its timeout, 1 s" in done.stderr
    assert "(rate=0.5) failed" in done.stderr
    assert read_rows(tmp_path / "runs" / "own")[0].column("loss").to_pylist() == [0.25]


@pytest.mark.slow
def test_a_function_may_clear_the_path(own: Callable[[str, str], Path], mutransfer: Command) -> None:
    trainer = "import sys\ndef build(trial):\n    sys.path.clear()\n    return 1.0\n"
    done = mutransfer("run", str(of_function(own, trainer)))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_stop_that_nobody_asked_for_is_no_pre_emption(
    own: Callable[[str, str], Path], mutransfer: Command
) -> None:
    trainer = "import os, sys\nopen(os.path.join(sys.argv[2], '..', 'stop'), 'w')\nsys.exit(1)\n"
    done = mutransfer("run", str(own(ONE.replace('"{rate}"]', '"{rate}", "{files}"]'), trainer)))
    assert "failed (error): the program exited with code 1" in done.stderr


def test_a_program_that_leaves_well_when_told_has_no_result(
    own: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """Its last loss is that of the middle."""
    trainer = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *of: sys.exit(0))\n"
        "print('loss 3', flush=True)\n"
        "open(sys.argv[2] + '/ready', 'w')\n"
        "time.sleep(60)\n"
    )
    sweep = load_sweep(str(own(ONE.replace('"{rate}"]', '"{rate}", "{files}"]'), trainer)))
    directory = SweepDirectory(tmp_path / "out")
    work, _ = prepare(sweep, directory, Device("cpu", 1), 1)
    job = work.remaining[0].id
    task = Task(directory=str(directory.path), job=job, backend="test", device="cpu", gpus=0.0,
                checkpoint_seconds=60.0, hang_seconds=60.0)  # fmt: skip

    def told() -> None:
        wait_until((directory.job(job) / "files" / "ready").exists)
        pre_empt()

    thread = threading.Thread(target=told)
    thread.start()
    end = perform(task.text())
    thread.join()
    assert (end.kind, end.reason) == ("pre-empted", "the program ended when its place was wanted")
