"""`search:`, `refine:` and `prune:` of a sweep file: trials that are decided from the results of others."""

import math
from typing import Literal

from pydantic import Field, field_validator

from ..models.recipe.recipe import FIELDS
from .section import Section

Range = tuple[float, float]
TUNED = tuple(name for name, field in FIELDS.items() if field.setting.tuned)
SEARCHED = (*TUNED, *(name for name, field in FIELDS.items() if field.setting.searched))


class LogRange(Section):
    """Between two powers: {log2: [-10, -2]} or {log10: [-4, -1]}."""

    log2: list[float | int] | None = None
    log10: list[float | int] | None = None

    @field_validator("log2", "log10")
    @classmethod
    def _ordered(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and not (
            len(value) == 2 and all(map(math.isfinite, value)) and -300 < value[0] < value[1] < 300
        ):
            raise ValueError("a range is written [low, high], with low below high")
        return value

    @property
    def ends(self) -> Range:
        """The values at the ends."""
        base, powers = (2.0, self.log2) if self.log2 is not None else (10.0, self.log10)
        assert powers is not None
        return base ** float(powers[0]), base ** float(powers[1])


class SearchSpec(Section):
    """Several hyperparameters at once, by Optuna, in every cell of the axes (seeds are averaged over).

    `batch` suggestions are made at a time, and trained together.
    """

    space: dict[str, LogRange] = Field(min_length=1)
    sampler: Literal["tpe", "gp"] = "tpe"
    trials: int = Field(ge=1, le=10_000)
    batch: int = Field(default=8, ge=1, le=1000)
    seed: int = Field(default=0, ge=0)

    @field_validator("space")
    @classmethod
    def _known(cls, value: dict[str, LogRange]) -> dict[str, LogRange]:
        for name, given in value.items():
            if name not in SEARCHED:
                raise ValueError(f"{name} cannot be searched; choose from {', '.join(SEARCHED)}")
            if (given.log2 is None) == (given.log10 is None):
                raise ValueError(f"{name} is written {{log2: [low, high]}} or {{log10: [low, high]}}")
        return value


class RefineSpec(Section):
    """The smallest scale trains its grid, larger ones begin with a few of their values where the smaller
    ones predict the optimum. Then come points, in at most `rounds` rounds, until the verdict is settled and
    each optimum known within `target` octaves.
    """

    target: float = Field(default=0.5, gt=0)
    finest: float = Field(default=0.25, gt=0)
    rounds: int = Field(default=12, ge=1, le=50)


class PruneSpec(Section):
    """Trials are stopped whose training loss, from the share `after` of their steps on, has fallen by less
    than the share `progress` of what the best of their curve has (`models.training.pruning`)."""

    after: float = Field(default=0.5, gt=0, lt=1)
    progress: float = Field(default=0.7, gt=0, lt=1)
