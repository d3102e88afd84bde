"""`probe`: measurements of one mechanism, where a sweep would only show its outcome."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import DeviceChoice, DeviceOption, SetOption, SpecArgument, TableOrJson

app = typer.Typer(help="Measure one mechanism of training on a small model.", no_args_is_help=True)


@app.callback()
def _probe() -> None:
    pass


@app.command("norm-scale")
def norm_scale(
    spec: SpecArgument,
    set_: SetOption = None,
    part: Annotated[
        str, typer.Option(help="Whose matrices: readout, embedding, mlp, mixer, or a hybrid's mixer.")
    ] = "readout",
    span: Annotated[float, typer.Option(min=0.1, max=20, help="Octaves of S to either side.")] = 6.0,
    points: Annotated[int, typer.Option(min=3, max=33, help="Values of S.")] = 7,
    seeds: Annotated[int, typer.Option(min=1, max=16, help="Seeds, averaged.")] = 2,
    multipliers: Annotated[
        list[str] | None,
        typer.Option(help="A placement to try beside none; repeat. Default: a scalar, and vectors."),
    ] = None,
    device: DeviceOption = DeviceChoice.auto,
    format_: Annotated[TableOrJson, typer.Option("-f", "--format")] = TableOrJson.table,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page and pictures. Default: probe/<sweep name>.")
    ] = None,
) -> None:
    """Move the norm that weight decay holds some matrices at, with and without learnable multipliers.

    S = sqrt(lr / decay) of the part's matrices is swept at a constant sqrt(lr decay) (arXiv:2601.04890).
    """
    from ...results.checks.norm_scale import probe_object
    from ...results.report.norm_scale_page import print_probes, write_probes
    from ...sweeps.load import load_sweep
    from ..planning.device import find_device
    from ..record.output import check_place
    from ..run.progress import warn

    if out is not None:
        check_place(out)
    sweep = load_sweep(spec, set_ or [])
    found = find_device(device.value)

    import torch

    from ..studies.probe import Plan, factors, probe_families, usual_placements

    placements = tuple(dict.fromkeys(["none", *multipliers])) if multipliers else usual_placements(part)
    plan = Plan(part, factors(span, points), placements, seeds)
    probes = probe_families(sweep, plan, torch.device(found.kind), warn)
    if format_ is TableOrJson.json:
        print(json.dumps(probe_object(probes), indent=1, allow_nan=False))
    else:
        print_probes(probes)
    written = write_probes(probes, sweep.spec.name, out or Path("probe") / sweep.spec.name)
    warn(f"wrote {written[0]} and {len(written) - 1} files beside it")
