"""What a sweep costs, as `plan` and `run --dry-run` print it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from ...sweeps.cost import START_UP_SECONDS
from ...sweeps.load import Sweep
from .calibration import Factors, calibrated_seconds
from .device import cores
from .duration import duration
from .plan import Device, Job, makespan, plan_jobs

# A GPU's estimate is made for one of this size where the machine has none.
ASSUMED_GPU_BYTES = 80 << 30

BASIS = {"cpu": "rates measured on busy server cores", "cuda": "a roofline model, not measured"}
COUNTED = "counted launches, bytes and operations, at the rates of {}"
CALIBRATED = "calibrated by a few steps here, nothing else running"


@dataclass(frozen=True, slots=True)
class ShapeCost:
    """The trials of one shape together. `bound` is what most of a GPU's time is, where it was counted:
    launches, traffic or arithmetic."""

    architecture: str
    width: int
    depth: int
    parameters: int
    trials: int
    jobs: int
    tokens: int
    flops: float
    bound: str | None = None


@dataclass(frozen=True, slots=True)
class BackendTime:
    """Wall seconds on one backend; `basis` says what the estimate rests on."""

    backend: str
    device: str
    workers: int
    seconds: float
    basis: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """The whole sweep: totals, per shape, and the time per backend."""

    name: str
    trials: int
    collapsed: int
    jobs: int
    tokens: int
    flops: float
    shapes: tuple[ShapeCost, ...]
    times: tuple[BackendTime, ...]


def estimate(
    sweep: Sweep, device: Device, at_once: int, measured: Factors | None = None, backend: str = "local"
) -> Estimate:
    """`measured`: factors of the device's kind, from `calibration`."""
    jobs = plan_jobs(sweep.expansion.trials, device, at_once)
    shapes = _shape_costs(jobs, device)
    return Estimate(
        name=sweep.spec.name,
        trials=len(sweep.expansion.trials),
        collapsed=sweep.expansion.collapsed,
        jobs=len(jobs),
        tokens=sum(shape.tokens for shape in shapes),
        flops=sum(shape.flops for shape in shapes),
        shapes=tuple(shapes),
        times=tuple(_times(sweep, device, at_once, measured, backend)),
    )


def estimate_object(summary: Estimate, sweep: Sweep) -> dict[str, Any]:
    return {"schema": 1, **asdict(summary), "ids": ids_of(sweep)}


def ids_of(sweep: Sweep) -> dict[str, dict[str, Any]]:
    """The trials by id, each with its values of the axes."""
    axes = [*sweep.spec.axes, *(sweep.spec.search.space if sweep.spec.search else ())]
    points = {trial.id: trial.program.point() for trial in sweep.expansion.trials}
    return {id_: {name: point.get(name) for name in axes} for id_, point in points.items()}


def print_estimate(summary: Estimate) -> None:
    console = Console(highlight=False, markup=False)
    collapsed = f" ({summary.collapsed} equal points collapsed)" if summary.collapsed else ""
    console.print(
        f"{summary.name}: {summary.trials} trials{collapsed} in {summary.jobs} jobs, "
        f"{summary.tokens / 1e6:,.1f} M tokens, {summary.flops / 1e12:,.1f} TFLOPs"
    )
    table = Table(pad_edge=False)
    names = ["architecture", "width", "depth", "parameters", "trials", "jobs", "M tokens", "TFLOPs"]
    bounds = any(shape.bound for shape in summary.shapes)
    for name in [*names, *(["bound"] if bounds else [])]:
        table.add_column(name, justify="left" if name == "architecture" else "right")
    for shape in summary.shapes:
        table.add_row(
            shape.architecture, str(shape.width), str(shape.depth), f"{shape.parameters:,}",
            str(shape.trials), str(shape.jobs), f"{shape.tokens / 1e6:,.1f}", f"{shape.flops / 1e12:,.2f}",
            *([shape.bound or ""] if bounds else []),
        )  # fmt: skip
    console.print(table)
    for time in summary.times:
        console.print(
            f"{time.backend}, {time.device} x {time.workers}: about {duration(time.seconds)} ({time.basis})"
        )


def _shape_costs(jobs: Sequence[Job], device: Device) -> list[ShapeCost]:
    card = device.card
    costs: dict[tuple[str, int, int, int], ShapeCost] = {}
    for job in jobs:
        point, kind = job.trials[0].program.point(), job.trials[0].program.kind
        trained = [trial.program.cost() for trial in job.trials]
        key = (
            point.get("architecture", kind),
            point.get("width", 0),
            point.get("depth", 0),
            trained[0].parameters,
        )
        bound = None if card is None else job.trials[0].program.bound(len(job.trials), card)
        held = costs.get(key) or ShapeCost(*key, trials=0, jobs=0, tokens=0, flops=0.0, bound=bound)
        costs[key] = replace(
            held,
            trials=held.trials + len(job.trials),
            jobs=held.jobs + 1,
            tokens=held.tokens + sum(cost.tokens for cost in trained),
            flops=held.flops + sum(cost.flops for cost in trained),
        )
    return sorted(costs.values(), key=lambda cost: (cost.architecture, cost.width, cost.depth))


def _times(
    sweep: Sweep, device: Device, at_once: int, measured: Factors | None, backend: str
) -> list[BackendTime]:
    """On the device planned for, and on the other kind beside it."""
    other = (
        Device("cuda", 1, ASSUMED_GPU_BYTES, assumed=True) if device.kind == "cpu" else Device("cpu", cores())
    )
    found = [
        _time(sweep, device, at_once, backend, measured),
        _time(sweep, other, other.count, "local", None),
    ]
    return sorted(found, key=lambda time: time.device)  # cpu first


def _time(sweep: Sweep, device: Device, at_once: int, backend: str, measured: Factors | None) -> BackendTime:
    planned = plan_jobs(sweep.expansion.trials, device, at_once)
    seconds = calibrated_seconds(planned, device, measured or {})
    total = START_UP_SECONDS + makespan(seconds, at_once)
    card = device.card
    basis = BASIS[device.kind] if card is None else COUNTED.format(card.told)
    return BackendTime(backend, device.kind, at_once, total, CALIBRATED if measured else basis)
