"""Arguments and options that several commands take."""

import math
from collections.abc import Callable, Collection
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ...models.recipe.fault import Fault
from ..backends.registry import BACKENDS

SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help="A sweep file, or the name of a preset.")]
DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A sweep directory.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override: steps=20, width=[16,32], base.width=64. Repeatable."
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("-j", "--jobs", "--max-concurrent", min=1, help="Jobs at a time. Default: what fits."),
]


class ReportFormat(StrEnum):
    table = "table"
    json = "json"
    markdown = "markdown"


DirectoriesArgument = Annotated[
    list[Path], typer.Argument(metavar="DIR...", help="Sweep directories, or tables that import understands.")
]
AxisOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The scale: any numeric column. Default: what varies.")
]
HyperparameterOption = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="What was tuned: any numeric column. Default: what was swept."),
]
HoldOption = Annotated[
    list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Only trials with this value. Repeatable.")
]
PoolOption = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Average over this column without a warning. Repeatable."),
]


def pairs(option: str, words: list[str] | None, kind: str = "COLUMN") -> dict[str, str]:
    """By name. Raises Fault for what is not KIND=VALUE."""
    parts = [word.partition("=") for word in words or []]
    if wrong := [word for word, part in zip(words or [], parts, strict=True) if not all(part)]:
        raise Fault(f"{option} {wrong[0]}: write {kind}=VALUE")
    names = [name for name, _, _ in parts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Fault(f"{option} {twice[0]}: is given twice")
    return {name: value for name, _, value in parts}


def check_target(target: float | None) -> None:
    """Raises Fault for a scale that no model has."""
    if target is not None and not 0 < target < math.inf:
        raise Fault(f"--target {target:g}: give a positive number, the scale of the large run")


class DeviceChoice(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class ExecutionChoice(StrEnum):
    auto = "auto"
    eager = "eager"
    graph = "graph"
    compiled = "compiled"


class TableOrJson(StrEnum):
    table = "table"
    json = "json"


DeviceOption = Annotated[
    DeviceChoice, typer.Option(help="Where proxies train; auto takes GPUs if there are any.")
]


def one_of(names: Collection[str]) -> Callable[[str | None], str | None]:
    """Lets through what a registry has."""

    def known(name: str | None) -> str | None:
        if name is not None and name not in names:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(map(repr, names))}.")
        return name

    return known


BackendOption = Annotated[
    str, typer.Option(metavar=f"<{'|'.join(BACKENDS)}>", callback=one_of(BACKENDS), help="Who runs the jobs.")
]
