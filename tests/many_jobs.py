"""What the tests of orchestration share: a sweep of many small jobs, and the oracle of a disturbed run."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import noop
import pandas as pd
from conftest import arguments, trial_ids

from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.sweeps.proxy import recipe_of

TESTS = Path(__file__).parent

SWEEP = """\
name: many
base: {{width: 16, depth: 1}}
fixed:
  {{architecture: transformer, optimizer: adamw, depth: 1, head_dim: 8, batch_size: 4, sequence_length: 16,
   eval_sequences: 4, parametrization: mup, width: 16}}
axes:
  steps: {steps}
  learning_rate: {rates}
data: {{text: "text/*.txt"}}
"""


PROGRAMS = """\
name: programs
axes: {{rate: {rates}}}
program:
  command: [{python}, train.py, "{{rate}}", "{{checkpoints}}/step", "{steps}"]
  directory: {folder}
  identity: [train.py]
  preempt: {{signal: SIGUSR1, grace: 20}}
  loss: {{pattern: 'loss (\\S+)'}}
"""
TRAINER = """\
import os, signal, sys, time
rate, saved, steps = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
step = int(open(saved).read()) if os.path.exists(saved) else 0
print("begins at", step, flush=True)
def save():
    open(saved + ".new", "w").write(str(step))
    os.replace(saved + ".new", saved)
def leave(*of):
    save()
    sys.exit(1)
signal.signal(signal.SIGUSR1, leave)
while step < steps:
    time.sleep(0.1)
    step += 1
print("loss", 1 + rate)
"""


ENDINGS = """\
name: endings
axes: {{ends: [well, late, memory]}}
program:
  command: [{python}, train.py, "{{ends}}", "{{files}}"]
  directory: {folder}
  preempt: {{signal: SIGUSR1, grace: 20}}
  timeout: 15
  loss: {{pattern: 'loss (\\S+)'}}
"""
ENDING = """\
import os, signal, sys, time
ends, rank = sys.argv[1], os.environ.get("MUTRANSFER_RANK", "0")
def mark(what):
    open(os.path.join(sys.argv[2], what + rank), "w").close()
def told(*of):
    mark("told")
    sys.exit(1)
signal.signal(signal.SIGUSR1, told)
mark("task")
if ends == "late":
    time.sleep(100)
if ends == "memory":
    sys.exit(137)
if rank == "0":
    print("loss 1")
"""


@dataclass(frozen=True)
class Sweep:
    """A sweep file whose trainings are no-ops, its directory, and the folder of their plan and ledger."""

    file: Path
    directory: Path
    noop: Path

    def plan(self, **plan: object) -> None:
        (self.noop / "plan.json").write_text(json.dumps(plan))

    def command(self, *words: str) -> list[str]:
        return arguments("run", str(self.file), "--out", str(self.directory), *words)

    def environment(self, **more: str) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
        own = {"MUTRANSFER_TRAINING": "noop:train", "NOOP": str(self.noop), "PYTHONPATH": path}
        outer = {name: value for name, value in os.environ.items() if name != "SLURM_CONF"}
        return {**outer, **own, **more}

    def start(self, *words: str, **more: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*words), env=self.environment(**more), cwd=self.file.parent, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, timeout: float = 300, **more: str) -> "subprocess.CompletedProcess[str]":
        return self.call(self.command(*words), timeout, **more)

    def ask(self, command: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """Another command on the directory."""
        return self.call(arguments(command, str(self.directory), *words), 120)

    def call(self, words: Sequence[str], timeout: float, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            words, env=self.environment(**more), cwd=self.file.parent, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("status", "-f", "json").stdout)
        return found

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.directory / "journal.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def ends(self) -> list[str]:
        """How attempts ended, in order."""
        return [event["kind"] for event in self.events("ended")]


def programs(folder: Path, count: int, steps: int) -> Sweep:
    """A sweep of so many programs of the user's, each of so many tenths of a second, that save on SIGUSR1."""
    sweep = many(folder, [1], rates=1)
    (folder / "train.py").write_text(TRAINER)
    rates = [round(1 + index / 1000, 3) for index in range(count)]
    text = PROGRAMS.format(rates=rates, python=json.dumps(sys.executable), steps=steps, folder=folder)
    sweep.file.write_text(text)
    return sweep


def endings(folder: Path) -> Sweep:
    """A sweep of three programs: one ends well, one never, one for want of memory, as a shell says it."""
    sweep = many(folder, [1], rates=1)
    (folder / "train.py").write_text(ENDING)
    sweep.file.write_text(ENDINGS.format(python=json.dumps(sys.executable), folder=folder))
    return sweep


def assert_endings(sweep: Sweep, tasks: int) -> None:
    """Each has its class, and every task of it was started and told."""
    assert sorted(sweep.ends()) == ["error", "finished", "out-of-memory"]
    files = [path.name for path in (sweep.directory / "jobs").glob("*/files/*")]
    assert sorted(files) == sorted(
        [f"task{rank}" for rank in range(tasks)] * 3 + [f"told{rank}" for rank in range(tasks)]
    )


def assert_losses(sweep: Sweep, count: int) -> None:
    """All programs are there once, each with its own loss."""
    rows = pd.read_parquet(sweep.directory / "results")
    assert len(rows) == rows["trial_id"].nunique() == count
    assert (rows["loss"] == 1 + rows["rate"]).all()


def many(folder: Path, steps: Sequence[int], rates: int = 4) -> Sweep:
    """A sweep of `len(steps)` shapes of job, `rates` trials each."""
    (folder / "text").mkdir(parents=True)
    (folder / "text" / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 50)
    (folder / "noop").mkdir()
    values = [2.0**-rate for rate in range(rates)]
    (folder / "many.yaml").write_text(SWEEP.format(steps=list(steps), rates=values))
    sweep = Sweep(folder / "many.yaml", folder / "out", folder / "noop")
    sweep.plan()
    return sweep


def assert_complete(sweep: Sweep, trials: int, alone: bool = True) -> pd.DataFrame:
    """None missing, none twice, none run twice at once, and losses as if nothing had happened."""
    ids = trial_ids(sweep.directory)
    wanted = SweepDirectory(sweep.directory).wanted_trials()
    assert len(wanted) == trials
    assert sorted(ids) == sorted(wanted)
    if alone:
        assert [line for line in noop.lines(sweep.noop) if line.startswith("twice")] == []
    rows: pd.DataFrame = pd.read_parquet(sweep.directory / "results").set_index("trial_id")
    plan = SweepDirectory(sweep.directory).read_plan()
    recipes = {trial.id: recipe_of(trial) for job in plan for trial in job.trials}
    for trial, loss in rows[rows["status"] == "finished"]["loss"].items():
        assert loss == noop.undisturbed(recipes[str(trial)])
    return rows
