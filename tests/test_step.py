"""The training step reads no value of any tensor.

On the meta device tensors have no values, and devices that mix are an error, too. It knows no autocast, so
every precision is also watched on a CPU, where the operator behind every `item()` and `bool()` is refused.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mutransfer.models.architectures.registry import ARCHITECTURES
from mutransfer.models.optimizers import spectral_sphere
from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.recipe.recipe import FIELDS, Recipe
from mutransfer.models.training.group import Group
from mutransfer.models.training.recording import unrecordable
from mutransfer.models.training.state import GroupState
from mutransfer.models.training.step import Placed, advance

META, CPU = torch.device("meta"), torch.device("cpu")
STEPS = 2  # the first one, which begins statistics and bases, and one that follows them


@pytest.fixture(autouse=True)
def _once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Iterations repeat the same operations; one of each is enough to see them all."""
    for name in ("POWER_ITERATIONS", "BISECTIONS"):
        monkeypatch.setattr(spectral_sphere, name, 1)


class ReadError(Exception):
    """A value of a tensor was asked for."""


class Unread(TorchDispatchMode):
    """Refuses to read values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default):
            raise ReadError(str(func))
        return func(*args, **(kwargs or {}))


def steps(recipes: Sequence[Recipe], device: torch.device, micro_batches: int = 1) -> None:
    group = Group(recipes, device, micro_batches)
    state = GroupState.first(group)
    tokens = torch.zeros(len(recipes), 4, 16, dtype=torch.int64, device=device)
    numbers: list[int | torch.Tensor] = [*range(STEPS)]
    if unrecordable(group) is None:  # then its number may be a tensor
        numbers.append(torch.full((), STEPS, device=device))
    for step in numbers:
        loss_K, norm_K = advance(group, state, Placed(tokens, tokens), step)
        assert loss_K.shape == norm_K.shape == (len(recipes),)


def pair(recipe: Callable[..., Recipe], **common: object) -> list[Recipe]:
    """Two trials that differ in what a group lets them differ in."""
    interleaved = str(common["architecture"]).endswith(("gdn-hybrid", "mamba2-hybrid"))
    depth = 2 if interleaved else 1
    common |= {
        "attention_every": 2, "depth": depth, "base_depth": depth, "adamw_lr_ratio": 0.5, "matrices": "all",
        "curvature_every": 1, "precondition_every": 1, "learnable_multipliers": "readout=scalar",
        "z_loss": 0.1, "weight_decay": 0.1,
    }  # fmt: skip
    return [recipe(**common), recipe(**common, seed=1, residual_multiplier=0.5)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_step_reads_nothing_and_mixes_no_devices(
    architecture: str, optimizer: str, recipe: Callable[..., Recipe]
) -> None:
    steps(pair(recipe, architecture=architecture, optimizer=optimizer), META)


@pytest.mark.parametrize("precision", FIELDS["precision"].choices or ())
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_step_reads_nothing_in_any_precision(
    architecture: str, optimizer: str, precision: str, recipe: Callable[..., Recipe]
) -> None:
    options = {"dropout": 0.1, "activation_checkpointing": architecture.endswith("hybrid")}
    recipes = pair(recipe, architecture=architecture, optimizer=optimizer, precision=precision, **options)
    with Unread():  # type: ignore[no-untyped-call]
        steps(recipes, CPU, micro_batches=2)


def test_reads_and_mixed_devices_would_be_seen() -> None:
    nothing = torch.ones(2, device=META)
    for read in (lambda: bool(nothing.any()), lambda: nothing[0].item(), nothing.tolist, nothing.numpy):
        with pytest.raises((RuntimeError, NotImplementedError, TypeError)):
            read()
    with pytest.raises(RuntimeError):
        nothing + torch.ones(2)
    value = torch.ones(2)
    for read in (lambda: bool(value.any()), lambda: value[0].item(), lambda: float(value[0])):
        with pytest.raises(ReadError), Unread():  # type: ignore[no-untyped-call]
            read()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_state_is_changed_in_place(optimizer: str, recipe: Callable[..., Recipe]) -> None:
    """So that a captured program may hold on to it: no tensor is added, left out or replaced."""
    group = Group(
        [recipe(optimizer=optimizer, adamw_lr_ratio=0.5, precondition_every=1)], torch.device("cpu")
    )
    state = GroupState.first(group)

    def places() -> list[object]:
        tensors = [*state.buffers_KP, *(t for memory in state.optimizers for t in memory.values())]
        tensors += [state.alive_K, state.broke_K, state.scale_K, state.served_K]
        return [(tensor.data_ptr(), tensor.shape) for tensor in tensors]

    before = places()
    tokens = torch.zeros(1, 4, 16, dtype=torch.int64)
    for step in range(STEPS):
        advance(group, state, Placed(tokens, tokens), step)
        assert places() == before
