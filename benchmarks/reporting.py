"""Reports of large sweeps: time, memory and size, on synthetic stores written by the store's own writer.

python benchmarks/reporting.py        prints the table of results/reporting.md (some minutes)
"""

import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.results.store.store import publish

SIZES = (5_000, 100_000)
PER_JOB, CURVE_POINTS, SEEDS = 8, 20, 5
GRID = np.arange(-10.0, 0.0, 0.5)
WIDTHS = (32, 64, 128, 256, 512)
FAMILIES = tuple(itertools.product(("transformer", "gdn"), ("adamw", "lion", "sgd", "muon"), ("sp", "mup")))


def rows() -> Iterator[dict[str, Any]]:
    """Trials without end: every family at every width, rate and seed, with ever another weight decay."""
    generator = np.random.default_rng(0)
    each = (itertools.product([n], FAMILIES, WIDTHS, range(SEEDS), GRID) for n in itertools.count())
    points = itertools.chain.from_iterable(each)  # a product of an endless count would never begin
    for index, (decay, (architecture, optimizer, parametrization), width, seed, power) in enumerate(points):
        doublings = np.log2(width / 32)
        above = power + 5 + (doublings if parametrization == "sp" else 0)
        diverged = above > 3.2
        loss = 3 + 0.1 * above**2 - 0.1 * doublings + 0.01 * generator.standard_normal()
        yield {
            "trial_id": f"{index:016x}", "sweep": "big", "architecture": architecture, "optimizer": optimizer,
            "parametrization": parametrization, "width": width, "depth": 2, "learning_rate": 2.0**power,
            "weight_decay": round(0.001 * decay, 6), "seed": seed, "steps": 100, "batch_size": 16,
            "loss": None if diverged else float(loss), "status": "diverged" if diverged else "finished",
            "tokens": 100_000, "flops": 1e9, "seconds": 1.0,
        }  # fmt: skip


def fill(folder: Path, trials: int) -> None:
    SweepDirectory(folder).write_sweep("big", "name: big\n")
    point = {"tokens": 0, "train_loss": 3.0, "learning_rate": 0.1, "gradient_norm": 1.0}
    for number, part in enumerate(batches(itertools.islice(rows(), trials))):
        curves = [{**point, "trial_id": row["trial_id"], "step": step} for row in part
                  for step in range(CURVE_POINTS)]  # fmt: skip
        publish(folder, f"job{number:06}", part, curves)


def batches(trials: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while part := list(itertools.islice(trials, PER_JOB)):
        yield part


def timed(*words: str) -> tuple[float, str]:
    start = time.perf_counter()
    command = [sys.executable, "-m", "mutransfer.orchestrator.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout


def main() -> None:
    print("| trials | comparisons | `gc` | report before | after | memory | report.html |")
    print("|---|---|---|---|---|---|---|")
    for trials in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), trials)
            before, _ = timed("report", folder)
            gathering, _ = timed("gc", folder)
            after, printed = timed("report", folder, "-f", "json")
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
            page = (Path(folder) / "report" / "report.html").stat().st_size
            count = len(json.loads(printed)["comparisons"])
            print(
                f"| {trials:,} | {count} | {gathering:.0f} s | {before:.1f} s | {after:.1f} s "
                f"| {memory:.1f} GB | {page / 1e6:.1f} MB |"
            )


if __name__ == "__main__":
    main()
