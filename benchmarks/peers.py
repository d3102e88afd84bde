"""A part of the quickstart four ways, side by side: ours, a process a trial, plain PyTorch one trial after
the other, and Ray Tune with the same function.

    python benchmarks/peers.py > benchmarks/results/peers.md

The same models on the same batches for the same steps, by two workers wherever there is more than one. The
ways take turns in each repetition; the figures are wall times and medians of the paired ratios. Ours
evaluates each trial before and after, and keeps curves; the others train alone.
"""

import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mutransfer.sweeps.load import load_sweep

TESTS = str(Path(__file__).parents[1] / "tests")

WORKERS, REPETITIONS = 2, 3
SWEEP, CHANGES = "quickstart", ["width=[16,32]", "steps=60", "seed=[0]"]
"""56 trials: two architectures, two parametrizations, two widths, seven rates."""

Held = dict[str, Any]
"""What a process is given: the trials' points, and their data."""


def plain(held: Held, trial: int) -> float:
    """One trial as anybody would write it; the last loss."""
    import torch
    from conftest import first_views
    from plain_modules import Plain, plain_losses

    from mutransfer.models.recipe.recipe import recipe_from_point

    torch.set_num_threads(1)
    one = recipe_from_point(held["points"][trial])
    model = Plain(one)
    model.load(first_views([one]), 0)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=one.learning_rate, betas=(0.9, 0.95), weight_decay=0.0
    )
    return plain_losses(model, optimizer, one, held["source"].batches(one.shape.sequence_length))[-1]


def sequential(held: Held) -> None:
    for trial in range(len(held["points"])):
        plain(held, trial)


def tuned(held: Held) -> None:
    import ray
    from ray import tune

    ray.init("local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    shared = ray.put(held)

    def function(config: dict[str, int]) -> None:
        tune.report({"loss": plain(ray.get(shared), config["trial"])})

    results = tune.Tuner(
        tune.with_resources(function, {"cpu": 1}),
        param_space={"trial": tune.grid_search([*range(len(held["points"]))])},
        run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0),
    ).fit()
    assert not results.num_errors, results.errors


def started(*words: str) -> None:
    """A process of its own, as a user would start it."""
    found = os.pathsep.join(filter(None, (TESTS, os.environ.get("PYTHONPATH"))))  # Ray's workers, too
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_AIR_NEW_OUTPUT": "0", "PYTHONPATH": found}
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)


def main() -> None:
    if len(sys.argv) == 2:
        sys.exit(__doc__)
    if len(sys.argv) > 1:
        way, file, *trial = sys.argv[1:]
        held = pickle.loads(Path(file).read_bytes())
        plain(held, int(trial[0])) if way == "trial" else {"sequential": sequential, "tuned": tuned}[way](
            held
        )
        return
    with tempfile.TemporaryDirectory() as scratch:
        compare(Path(scratch))


def compare(folder: Path) -> None:
    sweep = load_sweep(SWEEP, CHANGES)
    points = [trial.program.point() for trial in sweep.expansion.trials]
    file = folder / "held"
    file.write_bytes(pickle.dumps({"points": points, "source": sweep.materialised(folder)}))

    def each_its_process() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            [*pool.map(lambda trial: started(__file__, "trial", str(file), str(trial)), range(len(points)))]

    def ours() -> None:
        changes = [word for change in CHANGES for word in ("--set", change)]
        started(
            "-m", "mutransfer.orchestrator.cli", "run", SWEEP, *changes, "-j", str(WORKERS),
            "--out", tempfile.mkdtemp(dir=folder),
        )  # fmt: skip

    ways: dict[str, Callable[[], None]] = {
        "ours": ours,
        "Ray Tune": lambda: started(__file__, "tuned", str(file)),
        "a process a trial": each_its_process,
        "plain PyTorch, one process": lambda: started(__file__, "sequential", str(file)),
    }
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(REPETITIONS):
        for way, run in ways.items():
            begin = time.perf_counter()
            run()
            took[way].append(time.perf_counter() - begin)
    print(
        f"{len(points)} trials of {SWEEP} ({', '.join(CHANGES)}), {WORKERS} workers, "
        f"{REPETITIONS} repetitions.\n"
    )
    print("| way | wall, s | over ours | range |")
    print("|---|---|---|---|")
    for way, seconds in took.items():
        ratios = [one / ours for one, ours in zip(seconds, took["ours"], strict=True)]
        print(
            f"| {way} | {statistics.median(seconds):.1f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f} to {max(ratios):.2f} |"
        )


if __name__ == "__main__":
    main()
