"""Optuna's suggestions as a function of what was measured: a study is rebuilt for every batch.

The study lives for one call. Its history comes from the store, in the order in which it was suggested,
and its random numbers from the seed and the number of the batch: so the same results lead to the same
suggestions, whoever asks and however often a search was interrupted.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .adaptive import SearchSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

Point = Mapping[str, float]
DIGITS = 6
"""Suggestions are rounded to so many significant digits: they are read, and typed, by people."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A suggested point and its loss; None where it diverged."""

    point: Point
    loss: float | None


def suggest(search: SearchSpec, batches: Sequence[Sequence[Measured]]) -> list[dict[str, float]]:
    """The next batch, given all earlier ones; empty when the search has had its trials."""
    import optuna

    done = sum(len(batch) for batch in batches)
    count = min(search.batch, search.trials - done)
    if count <= 0:
        return []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space: dict[str, BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(*bounds.ends, log=True)
        for name, bounds in search.space.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(sampler=_sampler(search, len(batches)))
        worst = _worse_than_all(batches)
        for measured in (entry for batch in batches for entry in batch):
            loss = worst if measured.loss is None else measured.loss
            params = {name: _within(search, name, measured.point[name]) for name in space}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=loss))
        asked = [study.ask(fixed_distributions=space).params for _ in range(count)]
    return [{name: float(f"{value:.{DIGITS}g}") for name, value in params.items()} for params in asked]


def _sampler(search: SearchSpec, batch: int) -> "BaseSampler":
    """Both take account of the suggestions of the same batch, which have no loss yet."""
    import optuna

    seed = (search.seed * 1_000_003 + batch) % 2**32
    if search.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _worse_than_all(batches: Sequence[Sequence[Measured]]) -> float:
    """What a diverged trial is told as: a nat above the worst loss, not infinity, which no model can fit."""
    losses = [entry.loss for batch in batches for entry in batch if entry.loss is not None]
    return max(losses, default=0.0) + 1.0


def _within(search: SearchSpec, name: str, value: float) -> float:
    """Rounding may have moved a suggestion at an end just outside."""
    low, high = search.space[name].ends
    return min(max(value, low), high)
