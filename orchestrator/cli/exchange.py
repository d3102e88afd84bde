"""`import`, `trials` and `export`: losses from elsewhere, and what goes to the large run."""

from pathlib import Path
from typing import Annotated

import typer

from ...models.recipe.budget import BUDGET_RULES
from ...models.recipe.fault import NOTHING_TO_REPORT, Fault
from ..handover.formats.registry import FORMATS
from ..record.output import typed
from .options import (
    AxisOption,
    DirectoriesArgument,
    HoldOption,
    HyperparameterOption,
    PoolOption,
    check_target,
    one_of,
    pairs,
)

FamilyOption = Annotated[
    str | None, typer.Option(help="Only trials of this one; needed where several were swept.")
]


def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="CSV, Parquet, JSON; Weights & Biases runs (JSON, folder); an Optuna storage; MLflow's.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="The sweep directory to create.")] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="FIELD=COLUMN", help="What a column is: learning_rate=config.lr. Repeatable."
        ),
    ] = None,
    fill: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="What all rows have: optimizer=adamw. Repeatable."),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Which Optuna study or MLflow experiment, of several.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="Take unfinished runs, too: failed, killed, running. Repeatable."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what each column was taken for, and make nothing."),
    ] = False,
) -> None:
    """Bring losses measured elsewhere into a sweep directory, for the same report."""
    from ...results.sources.importing import Reading, understand
    from ..evidence.gather import store_import

    if out is None and not dry_run:
        raise typer.BadParameter(
            "name the sweep directory to create, or ask for a --dry-run", param_hint="--out"
        )
    reading = Reading(pairs("--map", map_, "FIELD"), pairs("--fill", fill, "FIELD"), study, include or ())
    found = understand(source, reading)
    for ours, theirs in found.found.items():
        print(f"{ours}: {theirs}")
    for note in found.notes:
        print(note)
    if dry_run or out is None:
        print(f"{found.table.num_rows} measurements; nothing was made")
        return
    count = store_import(found.table, Path(source), out)
    print(f"imported {count} measurements into {out}; next: mutransfer report {typed(out)}")


def trials(
    directories: DirectoriesArgument,
    out: Annotated[Path, typer.Option(help="A .csv or .parquet file.")],
) -> None:
    """Write all trials of sweeps as one table."""
    from ...results.questions.view import ALL
    from ..evidence.gather import measurements, write_trials
    from ..run.progress import warn

    found = measurements(directories, ALL)
    for problem in found.problems:
        warn(problem)
    write_trials(found.rows, out, directories)
    print(f"wrote {len(found.rows)} trials to {out}")


def export(
    directories: DirectoriesArgument,
    width: Annotated[
        int | None, typer.Option(min=1, max=10_000_000, help="Width of the large model.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Residual blocks of the large model.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, max=10**9, help="Sequences per batch of the large run. Default: the sweep's."),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(min=1, max=10**18, help="Tokens the large run trains on. Default: the sweep's steps."),
    ] = None,
    sequence_length: Annotated[
        int | None,
        typer.Option(min=1, max=10**8, help="Tokens of a sequence of the large run. Default: the sweep's."),
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, max=10**12, help="Instead of --batch: tokens of a batch.")
    ] = None,
    vocabulary: Annotated[
        int | None,
        typer.Option(min=2, max=10**8, help="Kinds of token of the large run. Default: the sweep's."),
    ] = None,
    experts: Annotated[
        int | None, typer.Option(min=2, max=10**6, help="Experts of its blocks. Default: the sweep's.")
    ] = None,
    granularity: Annotated[
        int | None, typer.Option(min=1, max=10**6, help="Parts that each is cut into. Default: the sweep's.")
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"For batch and duration, repeatable: {', '.join(BUDGET_RULES)}."),
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Follow slopes more than 3 doublings beyond the evidence.")
    ] = False,
    target: Annotated[
        float | None,
        typer.Option(
            min=0.0, metavar="SCALE", help="Instead of a shape: the value alone, at this scale of the axis."
        ),
    ] = None,
    axis: AxisOption = None,
    hyperparameter: HyperparameterOption = None,
    hold: HoldOption = None,
    pool: PoolOption = None,
    architecture: FamilyOption = None,
    optimizer: FamilyOption = None,
    parametrization: FamilyOption = None,
    format_: Annotated[
        str, typer.Option("-f", "--format", metavar=f"<{'|'.join(FORMATS)}>", callback=one_of(FORMATS))
    ] = "yaml",
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out what the framework cannot be told, and say so.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write to a file instead of stdout.")] = None,
    ladder: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a sweep file of runs between; say what they bring."),
    ] = None,
) -> None:
    """Print the tuned base hyperparameters and what they become at the large model's size."""
    from ...results.questions.choice import choose
    from ...results.questions.comparison import rows_behind
    from ...results.questions.view import View
    from ..evidence.gather import asked_field, gather
    from ..handover.export import OF_MODELS, Leave, Target, export_object
    from ..handover.formats.text import export_text
    from ..handover.own_models import make_models_known
    from ..handover.program_export import is_of_programs, program_export
    from ..handover.value import value_object
    from ..record.output import check_output, write_output, write_to_edit
    from ..run.progress import warn

    large = None
    if width is not None and depth is not None:
        large = Target(
            width, depth, batch, tokens, sequence_length, batch_tokens, vocabulary, experts, granularity
        )
    if ladder is not None and large is None:
        raise Fault("--ladder: leads to a large model, which is given by --width and --depth")
    if out is not None and ladder is not None and out.resolve() == ladder.resolve():
        raise Fault(f"--out, --ladder: are both {out}; give two names")
    for place in (out, ladder):  # before minutes are spent on what could not be written
        if place is not None:
            check_output(place, directories)
    shape = {"--width": width, "--depth": depth, "--batch": batch, "--tokens": tokens,
             "--sequence-length": sequence_length, "--batch-tokens": batch_tokens,
             "--vocabulary": vocabulary, "--experts": experts, "--granularity": granularity,
             "--rule": rule}  # fmt: skip
    given = [name for name, value in shape.items() if value is not None]
    if target is not None and (given or not FORMATS[format_].whole):
        out_of_place = ", ".join(given or ["-f"])
        raise Fault(f"--target: hands over a value alone, as yaml or json; leave out {out_of_place}")
    check_target(target)
    evidence = gather(directories, view=View.along(axis, hyperparameter, pairs("--hold", hold), pool or ()))
    for problem in evidence.problems:
        warn(problem)
    if not evidence.content.comparisons:
        if evidence.content.searches:
            warn("nothing to hand over: a search has no curves; its best trials are in the report")
        elif len(evidence.rows):
            warn(f"nothing to hand over: {evidence.lacks(axis, hyperparameter)}")
        raise typer.Exit(NOTHING_TO_REPORT)
    wanted = {"architecture": architecture, "optimizer": optimizer, "parametrization": parametrization}
    tuned = hyperparameter or next(iter(asked_field(directories, "hyperparameter")), "learning_rate")
    chosen = choose(evidence.content.comparisons, tuned, () if large is None else OF_MODELS, **wanted)
    if target is not None:
        handed = value_object(chosen, target, extrapolate=extrapolate)
    elif large is None:
        raise Fault("--width, --depth: give the large model's, or --target SCALE for the value alone")
    else:
        if is_of_programs(chosen, evidence.rows):
            if not FORMATS[format_].whole:
                raise Fault(
                    "-f: of a program's own model the roles are known, not the names; use yaml or json"
                )
            if rule or extrapolate:
                raise Fault("--rule, --extrapolate: are a program's own business; leave them out")
            handed = program_export(chosen, evidence.rows, large)
        else:
            for changed in make_models_known(directories, rows_behind(chosen, evidence.rows)):
                warn(f"warning: {changed}")
            leave = Leave(tuple(rule or ()), extrapolate)
            handed = export_object(chosen, evidence.rows, large, evidence.content.comparisons, leave)
    if ladder is not None and large is not None:
        from ..handover.ladder import ladder_text

        proposed, lines = ladder_text(directories, chosen, large)
        write_to_edit(ladder, proposed.encode(), directories)
        for line in lines:
            warn(line)
        warn(f"wrote {ladder}; next: mutransfer run {typed(ladder)}")
    for one in handed["warnings"]:
        warn(f"{one['severity']}: {one['text']}")
    text = export_text(handed, format_, partial)
    if out is None:
        print(text, end="")
    else:
        write_output(out, text.encode(), directories)
