"""What a group of proxies takes on a GPU, from counts of its own step (`models/training/counted.py`).

A step's seconds are those of its launches, of the bytes that it moves and of its arithmetic together; a model
that is within 20 % of the steps measured on an H200 (docs/performance.md). Counting loads torch.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from ..models.architectures.registry import architecture_of
from ..models.recipe.group import group_key
from ..models.recipe.recipe import Recipe
from .card import Card
from .cost import gpu_seconds, trial_bytes

if TYPE_CHECKING:
    from ..models.training.counted import Counts

LAUNCHES = 1.5
"""A small operation takes so many times what an empty one does."""
REACHED = 0.8
"""Of the rates of a copy and of a large product."""
UNRECORDED_SECONDS = 20e-6
"""That the host takes to launch one operation, where a step cannot be recorded."""

_counted: "dict[object, Counts]" = {}


def group_bytes(recipe: Recipe, trials: int, micro_batches: int = 1) -> int:
    """At the peak. A module of somebody's own is not counted: it gets an estimate."""
    if not architecture_of(recipe.shape).repeats:
        return trials * trial_bytes(recipe)
    return _counts(recipe, trials, micro_batches).peak_bytes


def trial_seconds(recipe: Recipe, trials: int, card: Card) -> float:
    """Of one trial's share in a group of `trials`."""
    if not architecture_of(recipe.shape).repeats:
        return gpu_seconds(recipe, trials)
    return recipe.steps * step_seconds(_of_step(recipe, trials), recipe, card) / trials


def bound(recipe: Recipe, trials: int, card: Card) -> str | None:
    """What most of a step is; None where it is not counted."""
    if not architecture_of(recipe.shape).repeats:
        return None
    counts = _of_step(recipe, trials)
    parts = {
        "launches": counts.launches * LAUNCHES * card.launch_seconds,
        "traffic": counts.bytes_moved / card.bytes_per_second,
        "arithmetic": counts.flops / card.flops[recipe.precision],
    }
    if not counts.recordable:
        parts["launches"] = counts.launches * UNRECORDED_SECONDS
    return max(parts, key=lambda name: parts[name])


def step_seconds(counts: "Counts", recipe: Recipe, card: Card) -> float:
    busy = counts.bytes_moved / card.bytes_per_second + counts.flops / card.flops[recipe.precision]
    busy = (busy + counts.launches * LAUNCHES * card.launch_seconds) / REACHED
    return max(busy, counts.launches * UNRECORDED_SECONDS) if not counts.recordable else busy


def _of_step(recipe: Recipe, trials: int) -> "Counts":
    """Launches are those of one trial, whatever their number; traffic and arithmetic grow by as much with
    each. So two counts tell them of any group; `peak_bytes` is not told so."""
    one, two = (_counts(recipe, number, 1) for number in (1, 2))
    return replace(
        one,
        bytes_moved=one.bytes_moved + (trials - 1) * (two.bytes_moved - one.bytes_moved),
        flops=one.flops + (trials - 1) * (two.flops - one.flops),
    )


def _counts(recipe: Recipe, trials: int, micro_batches: int) -> "Counts":
    from ..models.training.counted import counted

    # What is not of the key may differ within a group, and is then counted as its first trial has it.
    key = (group_key(recipe), bool(recipe.dropout), bool(recipe.z_loss), trials, micro_batches)
    if key not in _counted:
        _counted[key] = counted([recipe] * trials, micro_batches)
    return _counted[key]
