"""`init` and `rules`: a sweep file to start from, and what it does to each parameter."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..record.output import typed
from .options import SetOption


class RulesFormat(StrEnum):
    table = "table"
    markdown = "markdown"
    json = "json"


def init(
    preset: Annotated[str, typer.Argument(metavar="[PRESET]", help="One of the presets.")] = "quickstart",
    out: Annotated[Path | None, typer.Option(help="Where to write. Default: PRESET.yaml here.")] = None,
) -> None:
    """Write a commented sweep file to start from."""
    from ...sweeps.load import preset_names, preset_text
    from ...sweeps.problem import Problem, SpecError

    if preset not in preset_names():
        raise SpecError(preset, [Problem((), f"is not a preset; presets: {', '.join(preset_names())}")])
    path = out or Path(f"{preset}.yaml")
    try:
        with open(path, "x") as file:
            file.write(preset_text(preset))
    except FileExistsError:
        raise SpecError(str(path), [Problem((), "exists already; give another --out")]) from None
    except OSError as error:
        raise SpecError(str(path), [Problem((), f"cannot be written ({error.strerror})")]) from None
    print(f"wrote {path}; next: mutransfer run {typed(path)}")


def rules(
    spec: Annotated[
        str | None,
        typer.Argument(
            metavar="[SPEC]",
            help="A sweep file or preset, or a table of a parametrization. Without: the tables.",
        ),
    ] = None,
    set_: SetOption = None,
    format_: Annotated[RulesFormat, typer.Option("-f", "--format")] = RulesFormat.table,
) -> None:
    """Print what every parameter gets, at the largest shape of each family of a sweep.

    Any base and target: --set base.width=256 --set width=4096. Without SPEC, the rule tables themselves; with
    a YAML file of one, or one that ships (complete-d), that one.
    """
    from ...sweeps.own_tables import is_table, own_table

    if spec is None or is_table(spec):
        from ...models.parametrization.registry import BUILT_IN
        from ..studies.rule_tables import print_tables

        if set_:
            raise typer.BadParameter("--set changes a sweep file; give one as SPEC, such as quickstart")
        print_tables(format_.value, BUILT_IN if spec is None else own_table(spec))
        return
    from ...sweeps.load import load_sweep
    from ...sweeps.proxy import recipe_of
    from ..studies.rules import families, print_families

    sweep = load_sweep(spec, set_ or [])
    print_families(families([recipe_of(trial) for trial in sweep.expansion.trials]), format_.value)
