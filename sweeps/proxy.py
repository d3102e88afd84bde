"""Our proxies as programs: a recipe, with what it costs and how a group of them is trained."""

import importlib
import logging
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, Self

from ..models.architectures.built.architecture import BuiltArchitecture
from ..models.architectures.registry import architecture_of, make_known_as_recorded
from ..models.files.place import beside, sync_file
from ..models.recipe.budget import tokens_of
from ..models.recipe.group import group_key
from ..models.recipe.identity import canonical
from ..models.recipe.inventory import parameter_count
from ..models.recipe.recipe import Recipe, recipe_from_point
from ..models.training.outcome import Outcome
from .card import Card
from .cost import cpu_seconds, gpu_seconds, training_flops, trial_bytes
from .gpu import bound, group_bytes, trial_seconds
from .problem import Problem, SpecError
from .program import Cost, DeviceKind, Point, ProgramFailed, Setup, Train
from .trial import Trial

if TYPE_CHECKING:
    from torch import Tensor

    Keep = Callable[[list[dict[str, Tensor] | None]], None]

LOGGER = logging.getLogger(__name__)

NOTHING: Mapping[str, Any] = {}
TRAINING = "MUTRANSFER_TRAINING"
"""Names what trains in place of the proxies, `module:function`, for tests of all else. Its trials are others:
it is part of their ids."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """The training of one proxy."""

    recipe: Recipe

    @classmethod
    def read(cls, point: Point, definition: Mapping[str, Any] = NOTHING) -> Self:
        """The definition is that of an architecture of the user's own."""
        if definition:
            make_known_as_recorded(BuiltArchitecture.of(point["architecture"], definition))
        return cls(recipe_from_point(point))

    @property
    def kind(self) -> str:
        return "proxy"

    def point(self) -> dict[str, Any]:
        return self.recipe.point()

    @property
    def definition(self) -> Mapping[str, Any]:
        architecture = architecture_of(self.recipe.shape)
        return architecture.definition if isinstance(architecture, BuiltArchitecture) else NOTHING

    def at(self, changes: Point) -> Self:
        return type(self).read({**self.point(), **changes})

    def identity(self) -> Point:
        instead = {"training": os.environ[TRAINING]} if TRAINING in os.environ else {}
        return {**canonical(self.recipe), **instead}

    def group_key(self) -> Hashable:
        return group_key(self.recipe)

    @property
    def steps(self) -> int:
        return self.recipe.steps

    @property
    def most_parts(self) -> int:
        return self.recipe.batch_size

    @property
    def gpus(self) -> None:
        return None

    def cost(self) -> Cost:
        recipe = self.recipe
        return Cost(parameter_count(recipe.shape), tokens_of(recipe), training_flops(recipe))

    def seconds(self, device: DeviceKind, together: int, card: Card | None = None) -> float:
        if device == "cpu":
            return cpu_seconds(self.recipe)
        return (
            gpu_seconds(self.recipe, together) if card is None else trial_seconds(self.recipe, together, card)
        )

    def bound(self, together: int, card: Card) -> str | None:
        return bound(self.recipe, together, card)

    def memory_bytes(self, together: int = 1, counted: bool = False, parts: int = 1) -> int:
        if counted:
            return group_bytes(self.recipe, together, parts)
        return together * trial_bytes(self.recipe)


def train(programs: Sequence[Proxy], setup: Setup) -> tuple[list[Outcome], str]:
    """Trains them as one group. Loads torch."""
    if setup.visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = setup.visible
    if TRAINING in os.environ:
        module, _, function = os.environ[TRAINING].partition(":")
        stand_in: Train = getattr(importlib.import_module(module), function)
        return stand_in(programs, setup)
    import torch

    if setup.device == "cuda":
        names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
        allocator = next(filter(None, map(os.environ.get, names)), "as torch has it")
        LOGGER.info("%s, CUDA %s, allocator %s", torch.cuda.get_device_name(), torch.version.cuda, allocator)
    keep = None if setup.weights is None else partial(_keep, setup.weights, setup.ids)
    trained = _trained_by_several if setup.gpus > 1 else _trained
    if setup.device != "cuda":
        return trained(programs, setup, keep), "cpu"
    try:
        outcomes = trained(programs, setup, keep)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            clear_frames(cause.__traceback__)  # they hold the training's tensors
            cause = cause.__cause__ or cause.__context__
        with suppress(RuntimeError):  # of a device that is lost
            torch.cuda.empty_cache()
        raise
    torch.cuda.empty_cache()  # a worker lives on, and another job may share the GPU
    return outcomes, torch.cuda.get_device_name()


def _trained(programs: Sequence[Proxy], setup: Setup, keep: "Keep | None") -> list[Outcome]:
    import torch

    from ..models.training.checkpoint import Checkpoints
    from ..models.training.loop import GroupTraining

    recipes = [program.recipe for program in programs]
    batches = setup.data(recipes[0].data).batches(recipes[0].shape.sequence_length)
    training = GroupTraining(
        recipes, batches, torch.device(setup.device), setup.micro_batches, setup.pruning, setup.execution
    )
    outcomes = training.train(setup.report, Checkpoints(setup.checkpoints, setup.checkpoint_seconds))
    if keep is not None:
        keep(training.weights())
    return outcomes


def _trained_by_several(programs: Sequence[Proxy], setup: Setup, keep: "Keep | None") -> list[Outcome]:
    """Raises ProgramFailed where a process is lost: that is an attempt that failed, and says nothing of the
    trials."""
    from ..models.training.together import Order, RankLostError, train_together

    order = Order(
        recipes=partial(_read, [(dict(one.point()), dict(one.definition)) for one in programs]),
        source=setup.data(programs[0].recipe.data),
        device=setup.device,
        checkpoints=setup.checkpoints,
        checkpoint_seconds=setup.checkpoint_seconds,
        micro_batches=setup.micro_batches,
        pruning=setup.pruning,
        execution=setup.execution,
        keep=keep,
    )
    try:
        return train_together(order, int(setup.gpus), setup.report)
    except RankLostError as error:
        raise ProgramFailed("killed", str(error)) from None


def _keep(file: Path, ids: Sequence[str], held: "list[dict[str, Tensor] | None]") -> None:
    """The weights of those that were trained to the end, by trial."""
    import torch

    with beside(file) as scratch:
        torch.save({trial: one for trial, one in zip(ids, held, strict=True) if one is not None}, scratch)
        sync_file(scratch)
        os.replace(scratch, file)


def _read(programs: Sequence[tuple[Point, Mapping[str, Any]]]) -> list[Recipe]:
    return [Proxy.read(point, definition).recipe for point, definition in programs]


def recipe_of(trial: Trial) -> Recipe:
    """The recipe of a trial that trains a proxy. Raises SpecError for one of another program."""
    if not isinstance(trial.program, Proxy):
        reason = "trains no proxy of ours, so nothing is known of its parameters"
        raise SpecError(f"trial {trial.id}", [Problem((), reason)])
    return trial.program.recipe
