"""What orchestration costs: 10,000 trials whose training does nothing, through the real driver and workers.

    python benchmarks/orchestration.py [--trials 10000] [--workers 2]

Two sweeps: groups as the planner makes them, and the worst case, one trial a job. Prints one Markdown row
each: wall time per trial (of which the training is none), CPU time of the driver per trial, the driver's
memory against a sweep of a tenth of the size, and how long `status` takes.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mutransfer.models.training.outcome import CurvePoint, Outcome
from mutransfer.sweeps.program import Setup
from mutransfer.sweeps.proxy import Proxy

SWEEP = """\
name: many
base: {{width: 16, depth: 1}}
fixed:
  {{architecture: transformer, optimizer: adamw, depth: 1, head_dim: 8, batch_size: 4, sequence_length: 16,
   eval_sequences: 4, parametrization: mup, width: 16}}
axes:
  steps: {steps}
  seed: {seeds}
  learning_rate: [0.01]
data: {{text: "text.txt"}}
"""
GROUP = 8


def train(programs: Sequence[Proxy], setup: Setup) -> tuple[list[Outcome], str]:
    """Nothing, named to the worker by MUTRANSFER_TRAINING."""
    point = CurvePoint(step=0, tokens=1, train_loss=1.0, eval_loss=None, learning_rate=0.1, gradient_norm=1.0)
    outcome = Outcome(
        diverged=False, diverged_step=None, initial_loss=2.0, loss=1.0, accuracy=None, train_loss=1.0,
        seconds=0.0, curve=(point,),
    )  # fmt: skip
    return [outcome] * len(programs), "none"


def sweep(folder: Path, trials: int, group: int) -> Path:
    folder.mkdir()
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 50)
    steps, seeds = list(range(1, trials // group + 1)), list(range(group))
    (folder / "many.yaml").write_text(SWEEP.format(steps=steps, seeds=seeds))
    return folder / "many.yaml"


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "mutransfer.orchestrator.cli", *words]


def measured(file: Path, workers: int) -> tuple[float, float, float]:
    """Wall seconds, and the driver's own CPU seconds and peak memory in KB."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "MUTRANSFER_TRAINING": "orchestration:train", "PYTHONPATH": path}
    words = command(
        "run", str(file), "--out", str(file.parent / "out"), "-j", str(workers), "--device", "cpu"
    )
    begin = time.perf_counter()
    driver = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
    peak = cpu = 0.0
    while driver.poll() is None:
        peak, cpu = _usage(driver.pid) or (peak, cpu)
        time.sleep(0.02)
    seconds = time.perf_counter() - begin
    assert driver.returncode == 0
    return seconds, cpu, peak


def _usage(pid: int) -> tuple[float, float] | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if "VmHWM" not in status:
        return None
    peak = float(status.partition("VmHWM:")[2].split()[0])
    return peak, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status_seconds(directory: Path) -> float:
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        done = subprocess.run(
            command("status", str(directory), "-f", "json"), check=True, capture_output=True, text=True
        )
        best = min(best, time.perf_counter() - begin)
        assert json.loads(done.stdout)["state"] == "done"
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(
        "| trials a job | jobs | wall | wall per trial | driver's CPU per trial | memory per trial | status |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for group in (GROUP, 1):
            small = measured(
                sweep(Path(place, f"small-{group}"), options.trials // 10, group), options.workers
            )
            file = sweep(Path(place, f"large-{group}"), options.trials, group)
            seconds, cpu, peak = measured(file, options.workers)
            growth = (peak - small[2]) / (options.trials * 0.9)
            print(
                f"| {group} | {options.trials // group:,} | {seconds:.1f} s | "
                f"{1000 * seconds / options.trials:.2f} ms | {1000 * cpu / options.trials:.2f} ms | "
                f"{growth:.1f} KB | {status_seconds(file.parent / 'out'):.2f} s |",
                flush=True,
            )
    page = resource.getpagesize()
    print(f"\n{options.workers} workers on {os.cpu_count()} cores, pages of {page} bytes.", file=sys.stderr)


if __name__ == "__main__":
    main()
