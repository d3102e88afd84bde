"""A model of the user's own for a coordinate check, by the names on the command line."""

import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...models.data.batches import Batches
from ...models.handover.assignment import Handover, UnknownParameterError
from ...models.handover.coordinates import Build, Built, Subject
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
        """Of the largest shape of each family. Raises OwnModelError where the roles do not fit."""
        found: list[str] = []
        with tempfile.TemporaryDirectory() as scratch, _said():
            source = sweep.materialised(Path(scratch))
            for ladder in ladders:
                recipe = ladder.largest
                found += self.subject.faults(recipe, source.batches(recipe.shape.sequence_length))
        return found


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except UnknownParameterError as error:
        raise OwnModelError(f"--model, --roles: {error}") from None


def own_model(build: str, roles: str) -> OwnModel:
    """Raises OwnModelError for names that are not there."""
    sys.path.insert(0, os.getcwd())  # as python -m has it
    known: Any = MAPS.get(roles) or _named("--roles", roles)
    if not isinstance(known, ModelMap | Mapping):
        raise OwnModelError(
            f"--roles {roles}: is a {type(known).__name__}; give a ready map ({', '.join(MAPS)}), a "
            "ModelMap, or a mapping of name patterns to roles"
        )
    mapped = (known.roles, known.sites) if isinstance(known, ModelMap) else (known, {})
    return OwnModel(Subject(_guarded(build), *mapped))


def _guarded(name: str) -> Build:
    """Raises OwnModelError for whatever the user's own code raises, with the place."""
    build = _named("--model", name)

    def built(handover: Handover) -> Built:
        try:
            made: Built = build(handover)
        except UnknownParameterError:
            raise
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
            raise OwnModelError(f"--model {name}: {told}") from error
        if not isinstance(made, nn.Module | tuple):
            raise OwnModelError(
                f"--model {name}: gives a {type(made).__name__}; return a module, or one and its optimizer"
            )
        return made

    return built


def _named(option: str, name: str) -> Any:  # noqa: ANN401 - whatever is called that
    module, colon, member = name.partition(":")
    if not colon or not module or not member:
        ready = f"; ready maps are {', '.join(MAPS)}" if option == "--roles" else ""
        raise OwnModelError(f"{option} {name}: write it as package.module:name{ready}")
    try:
        return getattr(importlib.import_module(module), member)
    except ImportError as error:
        raise OwnModelError(f"{option} {name}: cannot be imported ({error})") from None
    except AttributeError:
        raise OwnModelError(f"{option} {name}: {module} has no {member}") from None
