"""Why a trial diverged: it is trained again, alone, and watched."""

from collections.abc import Iterator
from typing import Any

from ...models.recipe.fault import Fault
from ...sweeps.proxy import recipe_of
from ..record.directory import SweepDirectory
from .found import Found


def told_cause(directory: SweepDirectory, found: Found, row: dict[str, Any] | None) -> Iterator[str]:
    """Lines. Raises Fault for a trial that did not diverge, SpecError for a program's."""
    import torch

    from ...models.training.cause import cause

    if found.trial is None or row is None or row["status"] != "diverged":
        raise Fault(f"--cause: trial {found.id} did not diverge")
    found.must_train_as_it_did()
    recipe, at = recipe_of(found.trial), row["diverged_step"]
    batches = directory.read_data(recipe.data).batches(recipe.shape.sequence_length)
    seen = cause(recipe, batches, torch.device("cpu"), recipe.steps if at is None else at + 1)
    if seen.grown is not None:
        yield f"left first: {seen.grown.told}"
    if seen.broken is not None:
        yield f"not finite first: {seen.broken.told}"
    if seen.grown is None and seen.broken is None:
        yield "nothing left by itself; the loss ended above that of the untrained model"
