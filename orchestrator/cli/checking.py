"""`coordcheck`: whether the scaling rules do what they promise, before anything is swept."""

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from ...models.recipe.fault import CHECK_FAILED, DONE, Fault
from .options import DeviceChoice, DeviceOption, SetOption, SpecArgument, TableOrJson


def coordcheck(
    spec: SpecArgument,
    set_: SetOption = None,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Optimizer steps of each training.")] = 10,
    seeds: Annotated[int, typer.Option(min=3, max=64, help="Trainings of each shape, as one group.")] = 4,
    learning_rate: Annotated[
        float | None, typer.Option(help="Base learning rate. Default: the smallest of the sweep.")
    ] = None,
    device: DeviceOption = DeviceChoice.auto,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="PACKAGE.MODULE:BUILD", help="Instead of proxies: a model of yours, from a handover."
        ),
    ] = None,
    roles: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What --model's parameters are: a ready map, or PACKAGE.MODULE:MAP."
        ),
    ] = None,
    format_: Annotated[TableOrJson, typer.Option("-f", "--format")] = TableOrJson.table,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page and pictures. Default: coordcheck/<sweep name>.")
    ] = None,
) -> None:
    """Train a few steps over the sweep's widths and depths; compare how activations and updates scale."""
    from ...results.checks.coordinates import coordcheck_object
    from ...results.report.coordinates_page import write_checks
    from ...results.report.coordinates_terminal import print_checks
    from ...sweeps.load import load_sweep
    from ..planning.device import find_device
    from ..record.output import check_place
    from ..run.progress import warn

    if out is not None:
        check_place(out)
    if (model is None) != (roles is None):
        raise Fault("--model, --roles: give both, a model and what its parameters are")
    if learning_rate is not None and not 0 < learning_rate < math.inf:
        raise typer.BadParameter(f"--learning-rate {learning_rate}: give a positive number")
    sweep = load_sweep(spec, set_ or [])
    found = find_device(device.value)

    import torch

    from ..studies.coordcheck import check_families, ladders_of
    from ..studies.own_model import measure_any, own_model

    trained = ladders_of(sweep, learning_rate)
    own = own_model(model, roles) if model is not None and roles is not None else None
    faults = own.faults_of(sweep, trained) if own else []
    measured = own.measure if own else measure_any
    checks = check_families(sweep, trained, torch.device(found.kind), steps, seeds, warn, measured)
    for fault in faults:
        warn(f"fault: {fault}")
    if format_ is TableOrJson.json:
        print(json.dumps(coordcheck_object(checks, faults), indent=1, allow_nan=False))
    else:
        print_checks(checks)
    written = write_checks(checks, sweep.spec.name, out or Path("coordcheck") / sweep.spec.name)
    warn(f"wrote {written[0]} and {len(written) - 1} pictures beside it")
    passed = all(check.passed for check in checks) and not faults
    raise typer.Exit(DONE if passed else CHECK_FAILED)
