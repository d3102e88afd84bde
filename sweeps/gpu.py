"""What a group of proxies takes on a GPU, from counts of its own step (`models/training/counted.py`).

Seconds are those of launches, of the bytes that are moved and of arithmetic together; a model that is within
20 % of the steps measured on an H200 (docs/performance.md). Counting loads torch.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from ..models.architectures.registry import architecture_of
from ..models.recipe.group import group_key
from ..models.recipe.recipe import Recipe
from .card import Card
from .cost import evaluations, gpu_seconds, trial_bytes

if TYPE_CHECKING:
    from ..models.training.counted import Counts, Work

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
    """Of one trial's share in a group of `trials`, with its evaluations."""
    if not architecture_of(recipe.shape).repeats:
        return gpu_seconds(recipe, trials)
    stepping = recipe.steps * step_seconds(recipe, trials, card)
    return (stepping + evaluations(recipe) * _evaluation_seconds(recipe, trials, card)) / trials


def bound(recipe: Recipe, trials: int, card: Card) -> str | None:
    """What most of a step is; None where it is not counted."""
    if not architecture_of(recipe.shape).repeats:
        return None
    work = _of_step(recipe, trials)
    recordable = _counts(recipe, 1, 1).recordable
    parts = {
        "launches": work.launches * (LAUNCHES * card.launch_seconds if recordable else UNRECORDED_SECONDS),
        "traffic": work.bytes_moved / card.bytes_per_second,
        "arithmetic": work.flops / card.flops[recipe.precision],
    }
    return max(parts, key=lambda name: parts[name])


def step_seconds(recipe: Recipe, trials: int, card: Card) -> float:
    """Of a group's step, recorded where it can be."""
    work = _of_step(recipe, trials)
    return _busy(work, recipe, card) if _counts(recipe, 1, 1).recordable else _launched(work, recipe, card)


def _evaluation_seconds(recipe: Recipe, trials: int, card: Card) -> float:
    """Of all its sequences. A step that is recorded is recorded anew after it."""
    from ..models.training.evaluate import sequences_at_once

    one, count = _counts(recipe, 1, 1), recipe.eval_sequences
    times = trials * count / one.sequences
    parts = -(-count // sequences_at_once(trials, recipe.shape.sequence_length))
    work = replace(
        one.evaluation,
        launches=one.evaluation.launches * parts,
        bytes_moved=round(one.evaluation.bytes_moved * times),
        flops=round(one.evaluation.flops * times),
    )
    recording = one.step.launches * UNRECORDED_SECONDS if one.recordable else 0.0
    return _launched(work, recipe, card) + recording


def _busy(work: "Work", recipe: Recipe, card: Card) -> float:
    """What keeps the GPU busy, in seconds."""
    moved = work.bytes_moved / card.bytes_per_second + work.flops / card.flops[recipe.precision]
    return (moved + work.launches * LAUNCHES * card.launch_seconds) / REACHED


def _launched(work: "Work", recipe: Recipe, card: Card) -> float:
    """Operation after operation: the host may be the slower one."""
    return max(_busy(work, recipe, card), work.launches * UNRECORDED_SECONDS)


def _of_step(recipe: Recipe, trials: int) -> "Work":
    """Launches are those of one trial, whatever their number; traffic and arithmetic grow by as much with
    each. So two counts tell them of any group."""
    one, two = (_counts(recipe, number, 1).step for number in (1, 2))
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
