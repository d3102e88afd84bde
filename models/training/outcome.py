"""What a training says: how far it is, and what became of each trial."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One recorded step of one trial. Losses in nats per token; `eval_loss` where it was evaluated."""

    step: int
    tokens: int
    train_loss: float
    eval_loss: float | None
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one trial. A diverged trial has no `loss`; `diverged_step` says when it broke.

    A trial has diverged when its loss or gradient was not finite (its weights are frozen from that
    step on), or when it ended above the loss of the untrained model. `accuracy` is that of the labelled
    positions of the validation set at the end, None where labels are numbers.
    """

    diverged: bool
    diverged_step: int | None
    initial_loss: float
    loss: float | None
    accuracy: float | None
    train_loss: float | None
    seconds: float
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a group is: steps done, and trials that have diverged so far."""

    step: int
    diverged: int
