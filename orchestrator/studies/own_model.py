"""A model of the user's own for a coordinate check, by the names on the command line."""

import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...models.data.batches import Batches
from ...models.handover.assignment import UnknownParameterError
from ...models.handover.coordinates import Subject
from ...models.handover.maps.model_map import ModelMap
from ...models.handover.maps.registry import MAPS
from ...models.recipe.fault import Fault
from ...models.recipe.recipe import Recipe
from ...models.training.coordinates import Coordinate
from ...sweeps.load import Sweep
from .coordcheck import Ladder


class OwnModelError(Fault):
    """The model, or what its parameters are, cannot be had or do not fit; the message says what to mend."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """What `check_families` is given in place of proxies."""

    subject: Subject

    def measure(
        self, recipes: Sequence[Recipe], batches: Batches, device: torch.device, steps: int, sequences: int
    ) -> list[Coordinate]:
        with _said():
            return self.subject.measure(recipes, batches, device, steps, sequences)

    def faults_of(self, sweep: Sweep, ladders: Sequence[Ladder]) -> list[str]:
        """Of the largest shapes of each family. Raises OwnModelError where the roles do not fit."""
        found: list[str] = []
        with tempfile.TemporaryDirectory() as scratch, _said():
            source = sweep.materialised(Path(scratch))
            for recipe in (recipe for ladder in ladders for recipe in ladder.largest):
                found += self.subject.faults(recipe, source.batches(recipe.shape.sequence_length))
        return found


@contextmanager
def _said() -> Iterator[None]:
    """Raises OwnModelError for whatever the model and the user's own code raise, with the place."""
    try:
        yield
    except (Fault, UnknownParameterError) as error:
        raise OwnModelError(f"--model, --roles: {error}") from None
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        raise OwnModelError(f"--model: {told}") from error


def own_model(build: str, roles: str) -> OwnModel:
    """Raises OwnModelError for names that are not there."""
    sys.path.insert(0, os.getcwd())  # as python -m has it
    known = MAPS.get(roles) or _named("--roles", roles)
    if not isinstance(known, ModelMap):
        raise OwnModelError(
            f"--roles {roles}: is a {type(known).__name__}; give a ready map ({', '.join(MAPS)}) or a "
            "ModelMap of your own, which says where multipliers go, too"
        )
    return OwnModel(Subject(_named("--model", build), known))


def _named(option: str, name: str) -> Any:  # noqa: ANN401 - whatever is called that
    module, colon, member = name.partition(":")
    if not colon or not module or not member:
        ready = f"; ready maps are {', '.join(MAPS)}" if option == "--roles" else ""
        raise OwnModelError(f"{option} {name}: write it as package.module:name{ready}")
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise OwnModelError(
            f"{option} {name}: cannot be imported ({type(error).__name__}: {error})"
        ) from None
    if not hasattr(found, member):
        raise OwnModelError(f"{option} {name}: {module} has no {member}")
    return getattr(found, member)
