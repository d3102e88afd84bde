"""Trials that are stopped early because others of their job do far better. Pure, without torch.

N recorded steps, K trials
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..recipe.recipe import Recipe

LOOKS = 10
"""A training is looked at each time that one part in so many of it is done."""

NEIGHBOURS = 2
"""Values to either side of the best so far that are never stopped."""

CLEAR = 6.0
"""The best one's fall counts from so many times its losses' scatter from batch to batch on. Below, the first
batch's own luck would tell who has fallen least."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pruning:
    """The rule. A trial is compared with its companions, which differ from it in the fields `along` alone:
    they start from the same weights and see the same batches.

    From the share `after` of its steps on, a trial is stopped whose training loss has fallen by less than the
    share `progress` of what the best companion's has, but for the best one's NEIGHBOURS to either side: an
    optimum is made of them, however coarse the grid. Nobody is stopped while the best one's fall is within
    CLEAR times its scatter. Nothing here has a unit.
    """

    along: tuple[str, ...]
    after: float
    progress: float

    def looks(self, steps: int) -> frozenset[int]:
        """The numbers of steps done after which trials may be stopped."""
        parts = (math.ceil(steps * part / LOOKS) for part in range(1, LOOKS))
        return frozenset(done for done in parts if self.after * steps <= done < steps)

    def companions(self, recipes: Sequence[Recipe]) -> list[list[int]]:
        """The trials by whom they are compared with, in the order of what they differ in."""
        found: dict[tuple[object, ...], list[int]] = {}
        for index, recipe in enumerate(recipes):
            rest = tuple(value for name, value in recipe.point().items() if name not in self.along)
            found.setdefault(rest, []).append(index)
        values = [[float(getattr(recipe, name)) for name in self.along] for recipe in recipes]
        return [sorted(members, key=lambda index: values[index]) for members in found.values()]

    def hopeless(self, losses_NK: Floats, companions: Iterable[Sequence[int]]) -> list[int]:
        """Who is to be stopped, by the training losses so far; NaN is nobody's loss."""
        recent = max(1, math.ceil(len(losses_NK) / LOOKS))
        fallen_K = losses_NK[0] - losses_NK[-recent:].mean(axis=0)
        found: list[int] = []
        for members in companions:
            there = [place for place, index in enumerate(members) if np.isfinite(fallen_K[index])]
            if not there:
                continue
            first = max(there, key=lambda place: fallen_K[members[place]])
            best = fallen_K[members[first]]
            near = NEIGHBOURS if len(self.along) == 1 else 0
            if best > CLEAR * _scatter(losses_NK[:, members[first]]):
                found += [
                    members[place]
                    for place in there
                    if fallen_K[members[place]] < self.progress * best and abs(place - first) > near
                ]
        return sorted(found)


def _scatter(losses_N: Floats) -> float:
    """From batch to batch, in the later half of what was recorded, without its trend."""
    steps = np.diff(losses_N[len(losses_N) // 2 :])
    return float(steps.std() / 2**0.5) if len(steps) > 1 else 0.0
