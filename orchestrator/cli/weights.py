"""`weights`: a trained proxy as a checkpoint that others' tools read."""

from pathlib import Path
from typing import Annotated

import typer

from .options import DirectoryArgument


def weights(
    directory: DirectoryArgument,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A trial id, or how it begins.")],
    out: Annotated[Path, typer.Option(help="The folder to make, for from_pretrained.")],
) -> None:
    """Write the trained model of one trial, whose run kept it, as a checkpoint of transformers."""
    from ..handover.pretrained import write_pretrained
    from ..record.directory import SweepDirectory
    from ..record.output import check_place
    from ..run.progress import warn
    from ..upkeep.found import found_trial

    check_place(out)
    held = SweepDirectory(directory)
    held.must_exist()
    warn(f"wrote {write_pretrained(held, found_trial(held, trial), out)}")
