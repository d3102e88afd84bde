"""The weights that a run kept, as the model that was trained."""

import shlex
from typing import TYPE_CHECKING

from ...models.recipe.fault import Fault
from ...sweeps.proxy import recipe_of
from ..record.directory import SweepDirectory
from .found import Found

if TYPE_CHECKING:
    from ...models.training.trained import Trained


def trained_model(directory: SweepDirectory, found: Found) -> "Trained":
    """Raises Fault where they were not kept: the trial has not ended, diverged, or was stopped; and where its
    recipe trains another model by now."""
    from ...models.training.trained import Trained, load_weights

    assert found.trial is not None
    found.must_train_as_it_did()
    recipe = recipe_of(found.trial)
    for job in found.jobs:
        file = directory.weights(job)
        if file.exists() and (weights := load_weights(str(file), found.id)) is not None:
            return Trained(recipe, weights)
    raise Fault(
        f"{directory.path}: no weights of trial {found.id} were kept; mutransfer rerun "
        f"{shlex.quote(str(directory.path))} {found.id} --keep-weights trains it again, in a directory of "
        "its own, from which they load"
    )
