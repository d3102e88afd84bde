"""The coordinate check of a model of the user's own: named on the command line, or by the sweep file."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...models.architectures.built.architecture import BuiltArchitecture
from ...models.architectures.built.model import builder_of, model_map
from ...models.architectures.registry import architecture_of
from ...models.data.batches import Batches
from ...models.handover.coordinates import Subject
from ...models.handover.own_code import OwnCodeError, map_named, own, said
from ...models.recipe.recipe import Recipe
from ...models.training.coordinates import Coordinate, measure
from ...sweeps.load import Sweep
from .coordcheck import Ladder

WHERE = "--model, --roles"


@dataclass(frozen=True, slots=True)
class OwnModel:
    """What `check_families` is given in place of proxies."""

    subject: Subject

    def measure(
        self, recipes: Sequence[Recipe], batches: Batches, device: torch.device, steps: int, sequences: int
    ) -> list[Coordinate]:
        with said(WHERE):
            return self.subject.measure(recipes, batches, device, steps, sequences)

    def faults_of(self, sweep: Sweep, ladders: Sequence[Ladder]) -> list[str]:
        """Of the largest shapes of each family. Raises OwnCodeError where the roles do not fit."""
        found: list[str] = []
        with tempfile.TemporaryDirectory() as scratch, said(WHERE):
            source = sweep.materialised(Path(scratch))
            for recipe in (recipe for ladder in ladders for recipe in ladder.largest):
                found += self.subject.faults(recipe, source.batches(recipe.shape.sequence_length))
        return found


def measure_any(
    recipes: Sequence[Recipe], batches: Batches, device: torch.device, steps: int, sequences: int
) -> list[Coordinate]:
    """Of proxies, or of an architecture of the user's own."""
    shape = recipes[0].shape
    architecture = architecture_of(shape)
    if not isinstance(architecture, BuiltArchitecture):
        return measure(recipes, batches, device, steps, sequences)
    for name, value in (("learnable_multipliers", "none"), ("precision", "float32")):
        if recipes[0].point()[name] != value:
            raise OwnCodeError(
                f"architecture {architecture.name}: the coordinate check of a builder's model knows no other "
                f"{name} than {value}; --set {name}={value}"
            )
    subject = Subject(builder_of(architecture), model_map(architecture, shape))
    with said(f"architecture {architecture.name}"):
        return subject.measure(recipes, batches, device, steps, sequences)


def own_model(build: str, roles: str) -> OwnModel:
    """Raises OwnCodeError for names that are not there."""
    here = os.getcwd()
    return OwnModel(Subject(own("--model", build, here), map_named("--roles", roles, here)))
