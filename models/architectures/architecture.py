"""The seam to what is trained: an architecture says which parameters it has, what scales in its forward pass,
what it costs, and what that pass is. Declared without torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..recipe.role import Parameter, Site

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..layers.forward_multiplier import Factor
    from ..layers.outputs import Outputs
    from ..layers.trace import Trace
    from ..recipe.recipe import Recipe
    from ..recipe.shape import Shape
    from .proxy import Regime


class Forward(Protocol):
    """The forward pass on stacked parameters."""

    def __call__(
        self,
        shape: "Shape",
        parameters: "Mapping[str, Tensor]",
        sites: "Mapping[Site, Factor]",
        inputs: "Tensor",
        trace: "Trace",
        regime: "Regime",
        /,
    ) -> "Outputs":
        """What makes logits [K, B, T, V] of tokens [K, B, T] or vectors [K, B, T, I]. `parameters` are
        [K, ...] by name, `sites` the forward multipliers. `trace` is told what every module is given and
        makes."""
        ...


@dataclass(frozen=True, slots=True)
class Mixing:
    """What mixing over time costs in all blocks together; see `Mixer`."""

    flops: float
    cpu_seconds: float
    gpu_launches: int
    kept: int
    kept_at_once: int
    """Of the block that keeps most: what there is at a time where blocks are computed again."""


class Architecture(Protocol):
    """What a shape's `architecture` names. `reads` are the fields that only some architectures read."""

    @property
    def reads(self) -> frozenset[str]: ...

    @property
    def sees_ahead(self) -> bool:
        """Whether it can read both ways."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether every pass is the same operations, so that it can be recorded once."""
        ...

    @property
    def module_names(self) -> Mapping[str, str]:
        """What the modules of each mixer are called, by the mixer: placements of multipliers name mixers."""
        ...

    def check(self, shape: "Shape") -> None:
        """Raises ValueError, naming the field, for a shape that does not fit."""
        ...

    def check_training(self, recipe: "Recipe") -> None:
        """Raises ValueError, naming the field, for a recipe that it cannot be trained by."""
        ...

    def start(self, shape: "Shape", parameter: Parameter, seed: int) -> "np.ndarray":
        """What a parameter starts from, before it is scaled, flat float32."""
        ...

    def parameters(self, shape: "Shape") -> Iterator[Parameter]:
        """All parameters in forward order, each with its role; learnable multipliers come on top."""
        ...

    def sites(self, recipe: "Recipe") -> Mapping[Site, float]:
        """The forward multiplier of every site, before the parametrization scales it."""
        ...

    def mixing(self, shape: "Shape") -> Mixing: ...

    def forward(self) -> Forward:
        """The forward pass. Loads torch."""
        ...
