"""A training without torch, put into the real worker (MUTRANSFER_TRAINING) to measure orchestration alone.

Each step adds to a loss what follows from the recipe and the step, so a resumed training that skipped or
repeated a step ends elsewhere. `NOOP` names a folder: `plan.json` says how long steps take and which
trainings meet which fault; beside it the ledger of what ran is kept.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.outcome import CurvePoint, Outcome, Progress
from mutransfer.sweeps.program import Setup
from mutransfer.sweeps.proxy import Proxy


def train(programs: Sequence[Proxy], setup: Setup) -> tuple[list[Outcome], str]:
    recipes = [program.recipe for program in programs]
    folder = Path(os.environ["NOOP"])
    setup.data(recipes[0].data)  # as any training does, which a sweep without its data fails
    plan = json.loads((folder / "plan.json").read_text())
    with _alone(folder, recipes):
        faults = _faults(folder, plan, recipes, setup.micro_batches)
        losses, begin = _start(setup.checkpoints, recipes)
        saved = time.monotonic()
        for step in range(begin, recipes[0].steps):
            _meet(faults, step)
            losses = [loss + _increment(recipe, step) for loss, recipe in zip(losses, recipes, strict=True)]
            time.sleep(plan.get("step_seconds", 0.0))
            setup.report(Progress(step + 1, 0))
            if time.monotonic() - saved >= setup.checkpoint_seconds:
                saved = time.monotonic()
                _save(setup.checkpoints, step + 1, losses)
        _write(folder, f"done {_name(recipes)} from {begin}")
    return [_outcome(recipe, loss, faults) for recipe, loss in zip(recipes, losses, strict=True)], "noop"


def undisturbed(recipe: Recipe) -> float:
    """The loss of a training that nothing disturbed."""
    loss = 0.0
    for step in range(recipe.steps):
        loss += _increment(recipe, step)
    return loss


def lines(folder: Path) -> list[str]:
    """The ledger: `begin NAME PID GPU`, `done NAME from STEP`, and `twice NAME` for two at once."""
    path = folder / "ledger"
    return path.read_text().splitlines() if path.exists() else []


def _increment(recipe: Recipe, step: int) -> float:
    key = f"{recipe.learning_rate} {recipe.seed} {recipe.shape.width} {recipe.parametrization} {step}"
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 2**32 / recipe.steps


@contextlib.contextmanager
def _alone(folder: Path, recipes: Sequence[Recipe]) -> Iterator[None]:
    """Holds the training's lock, which its death releases; says so where another process holds it."""
    name = _name(recipes)
    with open(folder / f"lock-{name}", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _write(folder, f"twice {name}")
        _write(folder, f"begin {name} {os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}")
        yield


def _faults(
    folder: Path, plan: dict[str, Any], recipes: Sequence[Recipe], micro_batches: int
) -> list[dict[str, Any]]:
    """The faults that this attempt meets: those whose fields are a recipe's, so many `times`."""
    met = []
    for index, fault in enumerate(plan.get("faults", [])):
        points = [recipe.point() for recipe in recipes]
        if not any(all(point[name] == value for name, value in fault["of"].items()) for point in points):
            continue
        if len(recipes) <= fault.get("fits", 0) or micro_batches >= fault.get("fits_in_parts", 10**9):
            continue
        count = folder / f"fault-{index}-{_name(recipes)}"
        met_before = len(count.read_text()) if count.exists() else 0
        if met_before < fault.get("times", 10**9):
            with open(count, "a") as file:
                file.write("x")
            met.append(fault)
    return met


def _meet(faults: list[dict[str, Any]], step: int) -> None:
    for fault in faults:
        if step != fault.get("step", 0):
            continue
        match fault["kind"]:
            case "error":
                raise ValueError("the no-op training was told to fail")
            case "cuda memory":
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
            case "host memory":
                raise MemoryError
            case "exit":
                os._exit(fault.get("code", 3))
            case "hang":
                time.sleep(3600)
            case "stop":
                os.kill(os.getpid(), 19)


def _outcome(recipe: Recipe, loss: float, faults: list[dict[str, Any]]) -> Outcome:
    diverged = any(fault["kind"] in ("nan", "inf") for fault in faults)
    bad = float(next((fault["kind"] for fault in faults if fault["kind"] in ("nan", "inf")), "nan"))
    point = CurvePoint(
        step=0, tokens=1, train_loss=bad if diverged else loss, eval_loss=None, learning_rate=0.1,
        gradient_norm=1.0,
    )  # fmt: skip
    return Outcome(
        diverged=diverged, diverged_step=1 if diverged else None, initial_loss=10.0,
        loss=None if diverged else loss, accuracy=None, train_loss=None if diverged else loss, seconds=0.0,
        curve=(point,),
    )  # fmt: skip


def _start(checkpoints: Path, recipes: Sequence[Recipe]) -> tuple[list[float], int]:
    newest = max(checkpoints.glob("[0-9]*-noop.pt"), default=None)
    if newest is None:
        return [0.0] * len(recipes), 0
    return json.loads(newest.read_text()), int(newest.name[:12])


def _save(checkpoints: Path, step: int, losses: list[float]) -> None:
    checkpoints.mkdir(parents=True, exist_ok=True)
    scratch = checkpoints / ".scratch"
    scratch.write_text(json.dumps(losses))
    os.replace(scratch, checkpoints / f"{step:012}-noop.pt")


def _name(recipes: Sequence[Recipe]) -> str:
    points = json.dumps([recipe.point() for recipe in recipes], sort_keys=True)
    return hashlib.sha256(points.encode()).hexdigest()[:16]


def _write(folder: Path, line: str) -> None:
    with open(folder / "ledger", "a") as file:
        file.write(f"{line}\n")
