"""What a training says: how far it is, and what became of each trial."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..recipe.budget import budgeted
from ..recipe.recipe import Recipe
from .schedule import schedule_factor


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One recorded step of one trial. Losses in nats per token; `eval_loss` where it was evaluated. NaN and
    None are what a program of the user's did not say.
    """

    step: int
    tokens: int | None
    train_loss: float
    eval_loss: float | None
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one trial. A diverged trial has no `loss`; `diverged_step` says when it broke.

    A trial has diverged when its loss or gradient was not finite (its weights are frozen from that
    step on), or when it ended above the loss of the untrained model. `accuracy` is that of the labelled
    positions of the validation set at the end, None where labels are numbers. A trial that was stopped early
    (`pruning`) has no `loss` either: `pruned_step` says after how many steps. `busiest_expert` is the load of
    a block's busiest expert over an average one's, on the validation set at the end, mean over blocks; None
    where there are no experts.
    """

    diverged: bool
    diverged_step: int | None
    initial_loss: float
    loss: float | None
    accuracy: float | None
    train_loss: float | None
    seconds: float
    curve: tuple[CurvePoint, ...]
    pruned_step: int | None = None
    busiest_expert: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a group is: steps done, and trials that have diverged so far."""

    step: int
    diverged: int


Evaluations = Mapping[int, Sequence[Sequence[float]]]
"""By number of steps done: of all trials what `evaluate` measures."""
Records = Sequence[tuple[int, Sequence[float], Sequence[float]]]
"""Steps with the training losses and gradient norms of all trials."""


def outcomes(
    recipes: Sequence[Recipe],
    broke: Sequence[int],
    pruned: Mapping[int, int],
    evals: Evaluations,
    records: Records,
    seconds: float,
) -> list[Outcome]:
    """What became of each trial of a group. `broke` are the steps at which trials broke, -1 where they did
    not; `pruned` are the steps done by those that were stopped early; `seconds` are those of the group."""
    steps = [pruned.get(index, recipe.steps) for index, recipe in enumerate(recipes)]
    return [
        _outcome(
            recipe,
            index,
            broke[index],
            pruned.get(index),
            evals,
            records,
            seconds * steps[index] / sum(steps),
        )
        for index, recipe in enumerate(recipes)
    ]


def _outcome(
    recipe: Recipe,
    index: int,
    broke: int,
    pruned: int | None,
    evals: Evaluations,
    records: Records,
    seconds: float,
) -> Outcome:
    initial, final = evals[0][0][index], evals[recipe.steps][0][index]
    _, accurate, *loads = (values[index] for values in evals[recipe.steps])
    load = loads[0] if loads else math.nan  # older checkpoints know none
    diverged = pruned is None and (broke >= 0 or not final <= initial)
    ended = not diverged and pruned is None
    end = broke if broke >= 0 else recipe.steps if pruned is None else pruned
    trained = budgeted(recipe)
    return Outcome(
        diverged=diverged,
        diverged_step=end if diverged else None,
        initial_loss=initial,
        loss=final if ended else None,
        accuracy=accurate if ended and not math.isnan(accurate) else None,
        train_loss=records[-1][1][index] if ended else None,
        seconds=seconds,
        curve=tuple(_point(trained, index, record, evals) for record in records if record[0] < end),
        pruned_step=pruned,
        busiest_expert=load if ended and not math.isnan(load) else None,
    )


def _point(
    recipe: Recipe, index: int, record: tuple[int, Sequence[float], Sequence[float]], evals: Evaluations
) -> CurvePoint:
    step, losses, norms = record
    return CurvePoint(
        step=step,
        tokens=(step + 1) * recipe.batch_size * recipe.shape.sequence_length,
        train_loss=losses[index],
        eval_loss=evals[step + 1][0][index] if step + 1 in evals else None,
        learning_rate=recipe.learning_rate * schedule_factor(recipe, step),
        gradient_norm=norms[index],
    )
