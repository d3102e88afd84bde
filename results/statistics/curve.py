"""A loss curve: loss against one hyperparameter at one scale, freed of what is not the hyperparameter's.

S seeds, P points (values of the hyperparameter)
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

SPIKED_RUN = 6.0
"""A run is left out of its value's mean when it is so many standard deviations above the other seeds'."""
SPIKED_SHARE = 0.1
"""And by at least this share of the curve's middle height: seeds that all but agree have no spikes."""
SWEEPS, SETTLED = 50, 1e-12


MAGNITUDES = ((1e12, "T"), (1e9, "B"), (1e6, "M"))
LARGEST_NAMED = 1e15
"""From here on, where operations are counted, a scale is written with an exponent."""


def scale_name(scale: float) -> str:
    """A scale as sizes of models are written: 1024, 59.2M, 1.3B."""
    rounded = float(f"{scale:.6g}")
    size, letter = next((one for one in MAGNITUDES if one[0] <= rounded < LARGEST_NAMED), (1.0, ""))
    return f"{rounded / size:.6g}{letter}"


@dataclass(frozen=True, slots=True)
class Curve:
    """Loss against one hyperparameter at one scale, ascending in log2 of it.

    `y` [P] are means over seeds: infinite where at least half of the seeds diverged, blew up or were stopped
    early, NaN where the value spiked and is left out. `runs` [P] counts the losses behind each mean.
    `losses_SP` are the single runs' and `scatter_SP` what remains of them after point and seed effects, NaN
    where there is no run; `seeds` [S] name the rows, `failed` [P] counts the seeds that diverged. `blown` are
    log2 of the values that blew up although their losses are finite (outliers.py), `pruned` of those where
    trials were stopped early: of their losses no more is known than that they were far behind. `lone` is log2
    of the value with the lowest loss where none beside it bears that out.
    """

    scale: float
    x: Floats
    y: Floats
    runs: Floats
    seeds: Floats
    losses_SP: Floats
    scatter_SP: Floats
    failed: Floats
    trials: int
    diverged: int
    blown: tuple[float, ...] = ()
    pruned: tuple[float, ...] = ()
    lone: float | None = None

    @property
    def usable(self) -> Truths:
        finite: Truths = np.isfinite(self.y)
        return finite

    @property
    def lowest(self) -> int:
        """Where the lowest usable loss is."""
        return int(np.argmin(np.where(self.usable, self.y, np.inf)))

    @property
    def settled(self) -> "Curve":
        """Means and scatter anew without the runs of values that are not usable: they would tell something of
        the seeds that no other value bears out."""
        if self.usable.all():
            return self
        losses_SP = np.where(self.usable, self.losses_SP, np.nan)
        point_P, seed_S = _effects(losses_SP, np.isfinite(losses_SP))
        return replace(
            self, y=np.where(self.usable, point_P, self.y), scatter_SP=losses_SP - point_P - seed_S[:, None]
        )

    @property
    def spiked(self) -> tuple[float, ...]:
        """log2 of the values that were left out."""
        return tuple(float(x) for x in self.x[np.isnan(self.y)])


def curve_of(
    scale: float,
    x: Floats,
    seeds: Floats,
    losses_SP: Floats,
    diverged_SP: Truths,
    pruned_SP: Truths | None = None,
) -> Curve:
    """A curve from single runs: NaN where there is none, or it diverged or was stopped early, which
    `diverged_SP` and `pruned_SP` tell apart.

    Seeds are paired (same batches and start for every value), so what a seed shifts all its losses by
    moves no optimum and is taken out. A run far above the other seeds' at its value is left out.
    """
    losses_SP = _without_spiked_runs(losses_SP)
    there = np.isfinite(losses_SP)
    runs = there.sum(axis=0).astype(float)
    point_P, seed_S = _effects(losses_SP, there)
    failed = diverged_SP.sum(axis=0)
    stopped = np.zeros_like(failed) if pruned_SP is None else pruned_SP.sum(axis=0)
    y = np.where(runs > 0, point_P, np.inf)
    every = np.maximum(runs + failed + stopped, 1)
    y = np.where(failed + stopped >= every / 2, np.inf, y)
    return Curve(
        scale=scale,
        x=x,
        y=y,
        runs=np.maximum(runs, 1.0),
        seeds=seeds,
        losses_SP=losses_SP,
        scatter_SP=losses_SP - point_P - seed_S[:, None],
        failed=failed.astype(float),
        trials=int(there.sum() + failed.sum() + stopped.sum()),
        diverged=int(failed.sum()),
        pruned=tuple(float(place) for place in x[np.isinf(y) & (stopped > 0) & (failed < every / 2)]),
    )


def _effects(losses_SP: Floats, there: Truths) -> tuple[Floats, Floats]:
    """Point and seed effects of an additive model by alternating means; the seeds' add up to zero."""
    filled = np.where(there, losses_SP, 0.0)
    per_point, per_seed = np.maximum(there.sum(axis=0), 1), np.maximum(there.sum(axis=1), 1)
    seed_S = np.zeros(len(filled))
    for _ in range(SWEEPS):
        point_P = (filled - np.where(there, seed_S[:, None], 0.0)).sum(axis=0) / per_point
        before, seed_S = seed_S, (filled - np.where(there, point_P, 0.0)).sum(axis=1) / per_seed
        seed_S = seed_S - seed_S.mean()
        if np.abs(seed_S - before).max() <= SETTLED * np.abs(filled).max(initial=0.0):
            break
    return (filled - np.where(there, seed_S[:, None], 0.0)).sum(axis=0) / per_point, seed_S


def _without_spiked_runs(losses_SP: Floats) -> Floats:
    """Drops single runs far above their value's median; it takes three seeds to tell which run is off."""
    there = np.isfinite(losses_SP)
    enough = there.sum(axis=0) >= 3
    if not enough.any():
        return losses_SP
    middle = np.nanmedian(losses_SP[:, enough], axis=0)
    centered = losses_SP[:, enough] - middle
    # 1.48 times the median absolute deviation is the standard deviation of a normal distribution.
    spread = 1.48 * float(np.nanmedian(np.abs(centered)))
    height = float(np.median(middle - middle.min()))
    off = np.zeros_like(there)
    off[:, enough] = centered > max(SPIKED_RUN * spread, SPIKED_SHARE * height)
    return np.where(off, np.nan, losses_SP)
