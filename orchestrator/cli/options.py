"""Arguments and options that several commands take."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..backends.registry import BACKENDS

SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help="A sweep file, or the name of a preset.")]
DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A sweep directory.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override: steps=20, width=[16,32], base.width=64."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("-j", "--jobs", "--max-concurrent", min=1, help="Jobs at a time. Default: what fits."),
]


class DeviceChoice(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class TableOrJson(StrEnum):
    table = "table"
    json = "json"


DeviceOption = Annotated[
    DeviceChoice, typer.Option(help="Where proxies train; auto takes GPUs if there are any.")
]


def _known(backend: str) -> str:
    if backend not in BACKENDS:
        raise typer.BadParameter(f"{backend!r} is not one of {', '.join(map(repr, BACKENDS))}.")
    return backend


BackendOption = Annotated[
    str, typer.Option(metavar=f"<{'|'.join(BACKENDS)}>", callback=_known, help="Who runs the jobs.")
]
