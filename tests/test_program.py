"""A program of the user's as the trial of a sweep: from the sweep file to the report, and every way to
fail."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, arguments, trial_ids, wait_until
from many_jobs import assert_losses, programs

from mutransfer.models.handover.transfer import param_groups
from mutransfer.models.handover.values import handover_of
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.backends.local.gpus import Gpus
from mutransfer.orchestrator.job.worker import Task, perform
from mutransfer.orchestrator.planning.plan import Device
from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.orchestrator.run.reconcile import prepare
from mutransfer.results.store.store import read_curves, read_rows
from mutransfer.sweeps.command.command import Command as OwnCommand
from mutransfer.sweeps.load import load_sweep
from mutransfer.sweeps.proxy import Proxy
from mutransfer.sweeps.trial import trial_id

TRAINER = """\
import argparse, json, math, os, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int)
parser.add_argument("--rate", type=float)
parser.add_argument("--out")
given = parser.parse_args()
best = -6 - math.log2(given.size / 64)
loss = 2 + 10 / given.size + 0.1 * (math.log2(given.rate) - best) ** 2
if given.rate > 0.1:
    loss = math.nan
for step in range(3):
    print(f"step {step} val loss {loss + 1 - step / 2}", flush=True)
with open(os.path.join(given.out, "metrics.jsonl"), "w") as file:
    for step in range(3):
        file.write(json.dumps({"step": step, "val": loss + 1 - step / 2}) + chr(10))
with open(os.path.join(given.out, "log.csv"), "w") as file:
    file.write("step,val" + chr(10) + f"0,{loss + 1}" + chr(10) + f"2,{loss}" + chr(10))
"""
SWEEP = """\
name: own
fixed: {note: plain}
axes: {size: [64, 128, 256], rate: {log2: [-9, -3], step: 1}}
scale: size
hyperparameter: rate
program:
  command: [PYTHON, train.py, --size, "{size}", --rate, "{rate}", --out, "{files}"]
  directory: trainer
  identity: [train.py]
  loss: {pattern: 'val loss (\\S+)'}
"""
ONE = """\
name: own
axes: {rate: [0.5, 0.25]}
program:
  command: [PYTHON, train.py, "{rate}"]
  directory: trainer
  loss: {pattern: 'loss (\\S+)'}
"""
VALLEY = "import math, sys\nprint('loss', 2 + 0.1 * (math.log2(float(sys.argv[1])) + 6) ** 2)\n"
"""A trainer whose loss is lowest at 2^-6."""


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a trainer and a sweep file that runs it."""

    def write(sweep: str, trainer: str) -> Path:
        (tmp_path / "trainer").mkdir(exist_ok=True)
        (tmp_path / "trainer" / "train.py").write_text(trainer)
        path = tmp_path / "sweep.yaml"
        path.write_text(sweep.replace("PYTHON", sys.executable))
        return path

    return write


def reports(directory: Path, mutransfer: Command, *words: str) -> dict[str, object]:
    told = json.loads(mutransfer("report", str(directory), "-f", "json", *words).stdout)
    (found,) = told["comparisons"]
    return dict(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        "{pattern: 'val loss (\\S+)'}",
        "{file: metrics.jsonl, key: val}",
        "{csv: '{files}/log.csv', column: val}",
    ],
)
def test_from_the_sweep_file_to_the_verdict(
    loss: str, own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """Axes of any name; the scale is what the file says; a loss that is no number is a divergence."""
    path = own(SWEEP.replace("{pattern: 'val loss (\\S+)'}", loss), TRAINER)
    planned = mutransfer("plan", str(path)).stdout
    assert "own: 21 trials" in planned and "train.py --size 64 --rate 0.001953125 --out FILES" in planned
    assert "not known before a trial of each scale has ended" in planned
    done = mutransfer("run", str(path))
    assert done.returncode == 0 and f"runs in {tmp_path / 'trainer'}: " in done.stderr
    rows = read_rows(tmp_path / "runs" / "own")[0].to_pandas()
    assert len(rows) == 21 and (rows["status"] == "diverged").sum() == 3
    assert set(rows.loc[rows["status"] == "diverged", "rate"]) == {0.125}
    assert set(rows["note"]) == {"plain"}
    found = reports(tmp_path / "runs" / "own", mutransfer)
    assert found["axis"] == "size" and found["verdict"] == "drifts"
    assert found["slope_per_doubling"] == pytest.approx(-1, abs=0.1)
    assert "time left: 0 s" in mutransfer("plan", str(path)).stdout


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
def test_a_function_is_called_in_the_worker(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    trainer = (
        "import math, os\n"
        "def build(trial):\n"
        "    trial.report(0, train_loss=3.0)\n"
        "    return trial.rate if trial.rate < 0.4 else math.inf\n"
        "def late(trial):\n"
        "    import time\n"
        "    time.sleep(100)\n"
        "def silent(trial):\n"
        "    pass\n"
    )
    function = ONE.replace("[0.5, 0.25]", "[0.5, 0.25]")
    function = function[: function.index("  command")] + "  function: train:build\n  directory: trainer\n"
    assert mutransfer("run", str(own(function, trainer))).returncode == 0
    rows = read_rows(tmp_path / "runs" / "own")[0].to_pandas().set_index("rate")
    assert rows.loc[0.25, "loss"] == 0.25 and rows.loc[0.5, "status"] == "diverged"
    late = function.replace("train:build", "train:late") + "  timeout: 0.5\n"
    done = mutransfer("run", str(own(late, trainer)), "--out", "late")
    assert "failed (error): the function took longer than its timeout, 0.5 s" in done.stderr
    silent = own(function.replace("train:build", "train:silent"), trainer)
    told = (
        "failed (no-result): the function returned None, no number, and did not call trial.finish(loss=...)"
    )
    assert told in mutransfer("run", str(silent), "--out", "silent").stderr


@pytest.mark.slow
def test_files_that_changed_are_said(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """By default they make other trials; --keep trains what is missing under the old identity."""
    sweep = ONE.replace("  loss", "  identity: [train.py]\n  loss")
    path, directory = own(sweep, "print('loss 1')\n"), tmp_path / "runs" / "own"
    assert mutransfer("run", str(path)).returncode == 0
    first = set(trial_ids(directory))
    (tmp_path / "trainer" / "train.py").write_text("print('loss 2')\n")
    more = path.read_text().replace("[0.5, 0.25]", "[0.5, 0.25, 0.125]")
    path.write_text(more)
    kept = mutransfer("run", str(path), "--keep")
    assert "changed since the trials ran, and kept as they are: train.py" in kept.stderr
    assert len(trial_ids(directory)) == 3 and first < set(trial_ids(directory))
    again = mutransfer("run", str(path))
    assert "changed since the trials ran: train.py; 3 that have ended are trained again" in again.stderr
    assert len(trial_ids(directory)) == 6
    mutransfer("trials", str(directory), "--out", "rows.csv")
    rows = np.genfromtxt(tmp_path / "rows.csv", delimiter=",", names=True, dtype=None, encoding=None)
    assert rows["loss"].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ('"{rate}"]', '"{rat}"]', "program.command.2: {rat} is no field of these trials; there are attempt,"),
        ('"{rate}"]', '"{rate"]', "program.command.2: {rate: "),
        ("  directory: trainer", "  directory: nowhere", "program.directory: "),
        ("  loss: {pattern: 'loss (\\S+)'}", "", "program.loss: is missing; say where the final loss stands"),
        ("(\\S+)", "\\S+", "program.loss.pattern: needs exactly one group"),
        ("{pattern: 'loss (\\S+)'}", "{file: a}", "is written {file: F, key: K}, {csv: F, column: C}"),
        ("  loss", "  identity: [model/*.py]\n  loss", "program.identity.0: model/*.py matches no file"),
        (
            "  loss",
            "  gpus: 1.5\n  loss",
            "program.gpus: is a whole number of GPUs, or a share of one below 1",
        ),
        ("  loss", "  gpus: many\n  loss", "program.gpus: is a number, or numbers by scale"),
        ("{pattern: 'loss (\\S+)'}", "last", "program.loss: is helper, or {file: F, key: K}"),
        ("train.py,", "train.py, 7,", "program.command: is a list of texts (numbers in quotes), or one text"),
        ("  loss", "  gpus: {1: 2}\n  loss", "program.gpus: says nothing of the scale"),
        ("  loss", "  function: a:b\n  loss", "program: give exactly one of command and function"),
        ("rate: [0.5", "loss: [0.5", "axes.loss: is a column of what came of a trial"),
        ("rate: [0.5", "trial: [0.5", "axes.trial: is what {trial} of the command stands for"),
        ("rate: [0.5", "a-b: [0.5", "axes.a-b: cannot name a field; use letters, digits and '_'"),
        ("rate: [0.5", "rate: [[0.5]", "axes.rate.0: [0.5] is no text, number or truth"),
        ("name: own", "name: own\nscale: depth", "scale: depth has no numbers under axes"),
        ("name: own", "name: own\nprune: {}", "prune: "),
        ("name: own", "name: own\ndata: {corpus: python-stdlib}", "data: a program has data of its own"),
        ("rate: [0.5", "tokens: [1.5", "axes.tokens.0: 1.5 is no positive integer"),
        ("rate: [0.5", "flops: [-1", "axes.flops.0: -1 is no positive number"),
        ("name: own", "name: own\nscale: rate\nhyperparameter: rate", "scale: rate is what is tuned"),
        (
            "{pattern: 'loss (\\S+)'}",
            "{csv: /log.csv, column: a}",
            "program.loss.csv: /log.csv is outside of",
        ),
        ("  loss", "  gpus: .nan\n  loss", "program.gpus: is a number, or numbers by scale"),
        ("  loss", "  timeout: 1h\n  loss", "program.timeout: input should be a valid number, not '1h'"),
        ("  loss", "  environment: {'A=B': x}\n  loss", "program.environment."),
        ("axes: {", "axes: {learning_rate: [-1.0], ", "learning_rate: -1.0 is not positive"),
    ],
)
def test_what_is_wrong_is_named_before_anything_runs(
    before: str, after: str, fault: str, own: Callable[[str, str], Path], mutransfer: Command
) -> None:
    path = own(ONE, "print('loss 1')\n")
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    done = mutransfer("plan", str(path))
    assert done.returncode == 2, done.stdout
    assert fault in done.stderr


def test_gpus_are_handed_out_whole_or_in_shares() -> None:
    gpus = Gpus(["0", "1", "2", "3"])
    assert gpus.take("a", 2) == "0,1"
    assert gpus.take("b", 0.5) == "2"
    assert gpus.take("c", 0.25) == "2"  # where it fits best
    assert gpus.take("d", 0.5) == "3"
    assert gpus.take("e", 1) is None
    gpus.give_back("a")
    assert gpus.take("e", 2) == "0,1"
    gpus.give_back("b")
    gpus.give_back("c")
    assert gpus.take("f", 2) is None
    assert gpus.take("g", 1) == "2"


def test_a_machine_without_enough_gpus_is_said(own: Callable[[str, str], Path], mutransfer: Command) -> None:
    path = own(ONE.replace("  loss", "  gpus: 2\n  loss"), "print('loss 1')\n")
    done = mutransfer("run", str(path), "--device", "cpu")
    assert done.returncode == 6
    assert "program.gpus: a trial asks for 2, and this machine has 0" in done.stderr


def test_a_program_sees_the_gpus_that_it_was_given(own: Callable[[str, str], Path], tmp_path: Path) -> None:
    trainer = "import os, sys\nprint('gpus', os.environ['CUDA_VISIBLE_DEVICES'], sys.argv[2], 'loss 1')\n"
    path = own(
        ONE.replace('"{rate}"]', '"{rate}", "{gpus}"]').replace("  loss", "  gpus: 2\n  loss"), trainer
    )
    sweep, directory = load_sweep(str(path)), SweepDirectory(tmp_path / "out")
    work, _ = prepare(sweep, directory, Device("cuda", 4, 80 << 30), 2)
    task = Task(
        directory=str(directory.path), job=work.remaining[0].id, backend="test", device="cuda", gpus=2.0,
        checkpoint_seconds=0.0, hang_seconds=60.0, visible="2,3",
    )  # fmt: skip
    end = perform(task.text())
    assert end.kind == "finished", end
    assert end.gpu_seconds == pytest.approx(2 * end.seconds, abs=0.01)
    assert "gpus 2,3 2 loss 1" in directory.log(task.job).read_text()


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


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("./no-such-program", "there is no ./no-such-program in its directory"),
        ("no-such-program", "no-such-program is not on PATH; activate its environment"),
        ("./train.py", "./train.py cannot be executed; chmod +x"),
        ("train.py", "train.py is not on PATH; write ./train.py"),
    ],
)
def test_a_program_that_is_not_there_is_said(
    word: str, fault: str, own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    done = mutransfer("run", str(own(ONE.replace("PYTHON, train.py", word), "")))
    assert done.returncode == 6
    assert f"program.command: {fault}" in done.stderr
    assert not [*tmp_path.glob("runs/own/jobs/*/log.txt")]


def test_what_only_an_attempt_knows_is_not_refused_before(own: Callable[[str, str], Path]) -> None:
    sweep = load_sweep(str(own(ONE.replace("PYTHON, train.py", '"{checkpoints}/built"'), "")))
    program = sweep.expansion.trials[0].program
    assert isinstance(program, OwnCommand) and program.not_here() is None


def test_a_program_that_cannot_be_started_has_its_class(
    own: Callable[[str, str], Path], mutransfer: Command
) -> None:
    path = own(ONE.replace("PYTHON, train.py", "./train.py"), "#!/no/such/interpreter\n")
    (path.parent / "trainer" / "train.py").chmod(0o755)
    done = mutransfer("run", str(path))
    told = "the program cannot be started (No such file or directory: ./train.py)"
    assert f"failed (error): {told}" in done.stderr


def test_the_python_of_mutransfer_has_a_name(
    own: Callable[[str, str], Path], mutransfer: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever `python` is on PATH; and no path of a machine is in an id."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    path = own(ONE.replace("PYTHON", '"{python}"'), "import sys\nprint('of', sys.executable, 'loss 1')\n")
    done = mutransfer("run", str(path))
    assert done.returncode == 0, done.stderr
    logs = [log.read_text() for log in (tmp_path / "runs" / "own").glob("jobs/*/log.txt")]
    assert len(logs) == 2
    assert all(f"of {sys.executable}" in log for log in logs)
    before = [trial.id for trial in load_sweep(str(path)).expansion.trials]
    monkeypatch.setattr(sys, "executable", "/elsewhere/python")
    assert [trial.id for trial in load_sweep(str(path)).expansion.trials] == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    ["refine: {rounds: 2}", "search: {trials: 4, batch: 2, space: {learning_rate: {log2: [-9, -3]}}}"],
)
def test_trials_are_decided_from_results_of_programs(
    asked: str, own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """No seed, which programs need not have."""
    rates = "" if asked.startswith("search") else ", learning_rate: {log2: [-9, -3], step: 2}"
    sweep = ONE.replace("{rate: [0.5, 0.25]}", "{width: [32, 64]" + rates + "}")
    sweep = sweep.replace("{rate}", "{learning_rate}")
    path = own(f"{sweep}{asked}\n", VALLEY)
    done = mutransfer("run", str(path))
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / "runs" / "own")[0].to_pandas()
    assert len(rows) >= (8 if asked.startswith("search") else 7)
    assert rows["loss"].notna().all()


@pytest.mark.slow
def test_retry_keeps_what_run_kept(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    path = own(ONE.replace("  loss", "  identity: [train.py]\n  loss"), "print('loss 1')\n")
    assert mutransfer("run", str(path)).returncode == 0
    (tmp_path / "trainer" / "train.py").write_text("print('loss 2')\n")
    assert mutransfer("run", str(path), "--keep").returncode == 0
    mutransfer("retry", "runs/own")
    assert len(trial_ids(tmp_path / "runs" / "own")) == 2


@pytest.mark.slow
def test_an_export_holds_the_values_of_every_role(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """They are those that a trial at the target is given; a large model takes them by its roles."""
    axes = "{parametrization: [mup], width: [32, 64, 128], learning_rate: {log2: [-9, -3], step: 1}}"
    sweep = ONE.replace("{rate: [0.5, 0.25]}", axes).replace("{rate}", "{learning_rate}")
    sweep += "base: {width: 32, depth: 1}\nfixed: {optimizer: adamw, weight_decay: 0.1}\n"
    done = mutransfer("run", str(own(sweep, VALLEY)))
    assert done.returncode == 0, done.stderr
    words = ("export", "runs/own", "--width", "512", "--depth", "1")
    told = mutransfer(*words, "-f", "json")
    assert told.returncode == 0, told.stderr
    handed = json.loads(told.stdout)
    values = handed["hyperparameters"]
    assert values["learning_rate"] == pytest.approx(2**-6, rel=0.02)
    assert "schedule" not in values and "grad_clip" not in values  # of which nothing is known
    point = {"parametrization": "mup", "optimizer": "adamw", "weight_decay": 0.1, "width": 512, "depth": 1,
             "base_width": 32, "base_depth": 1, "learning_rate": values["learning_rate"]}  # fmt: skip
    expected, _ = handover_of(point)
    assert expected is not None
    assert {name: handed[name] for name in ("roles", "multipliers")} == {
        name: expected[name] for name in ("roles", "multipliers")
    }
    model = torch.nn.Linear(512, 512, bias=False)
    (group,) = param_groups(model, handed, {"weight": "hidden"})
    assert group["lr"] == pytest.approx(values["learning_rate"] / 16)
    for more, fault in [
        (("-f", "megatron"), "-f: of a program's own model the roles are known"),
        (("--batch", "8"), "--batch, --tokens: are a program's own business"),
    ]:
        refused = mutransfer(*words, *more)
        assert refused.returncode == 2 and fault in refused.stderr


@pytest.mark.slow
def test_without_rules_no_roles_are_exported(own: Callable[[str, str], Path], mutransfer: Command) -> None:
    sweep = ONE.replace(
        "{rate: [0.5, 0.25]}", "{width: [32, 64, 128], learning_rate: {log2: [-9, -3], step: 1}}"
    )
    assert mutransfer("run", str(own(sweep.replace("{rate}", "{learning_rate}"), VALLEY))).returncode == 0
    refused = mutransfer("export", "runs/own", "--width", "512", "--depth", "1")
    assert refused.returncode == 2
    assert "no values by role: the trial has no parametrization and no optimizer; --target" in refused.stderr


def test_no_variable_changes_what_trains_unseen(
    recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, sweep_file: Path, tmp_path: Path
) -> None:
    """A stand-in is part of the ids; where it is set for the worker alone, nothing is trained."""
    proxy = Proxy(recipe())
    before = trial_id(proxy)
    directory = SweepDirectory(tmp_path / "out")
    work, _ = prepare(load_sweep(str(sweep_file)), directory, Device("cpu", 1), 1)
    task = Task(
        directory=str(directory.path), job=work.remaining[0].id, backend="test", device="cpu", gpus=0.0,
        checkpoint_seconds=60.0, hang_seconds=60.0,
    )  # fmt: skip
    monkeypatch.setenv("MUTRANSFER_TRAINING", "noop:train")
    assert trial_id(proxy) != before
    end = perform(task.text())
    assert end.kind == "error" and "is another one to this worker" in end.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axes", "fault"),
    [
        ("{rate: [0.5, 0.25]}", "no trial has a width; say what was scaled with --axis"),
        (
            "{width: [8, 16], rate: [0.5, 0.25]}",
            "no learning_rate with several values; say what was tuned with",
        ),
    ],
)
def test_a_report_says_what_it_lacks(
    axes: str, fault: str, own: Callable[[str, str], Path], mutransfer: Command
) -> None:
    path = own(ONE.replace("{rate: [0.5, 0.25]}", axes), "print('loss 1')\n")
    assert mutransfer("run", str(path)).returncode == 0
    done = mutransfer("report", "runs/own")
    assert done.returncode == 4
    assert "nothing to compare: " in done.stderr and fault in done.stderr
