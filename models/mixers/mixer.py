"""What a mixer is: one way to pass information over time, declared without torch.

A new mixer is a folder (or a file) with a `Mixer`, and a line in `registry`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from ..recipe.role import Parameter, Site

if TYPE_CHECKING:
    from torch import Tensor

    from ..layers.forward_multiplier import Factor
    from ..layers.trace import Trace
    from ..recipe.recipe import Recipe
    from ..recipe.shape import Shape

Kind = Literal["scalar", "row", "column"]
"""Of a learnable multiplier."""


class Forward(Protocol):
    """The forward pass of a mixer on stacked parameters."""

    def __call__(
        self,
        x_KBTD: "Tensor",
        parameters: "Mapping[str, Tensor]",
        name: str,
        shape: "Shape",
        multiplier: "Factor",
        trace: "Trace",
        /,
    ) -> "Tensor":
        """[K, B, T, D]. `name` is where its parameters are found, `multiplier` that of its site."""
        ...


def _no_fault(shape: "Shape") -> None:
    pass


def _one(recipe: "Recipe") -> float:
    return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixer:
    """`reads`: the fields that only some mixers read, this one among them.

    `parameters` are those of a module of the given name. `site` is what scales in its forward pass without
    being a parameter, and `strength` that factor at the base shape. `check` raises ValueError, naming the
    field, for a shape that does not fit. `sees_ahead`: whether it can read both ways.
    `multiplied`: where the placement of its name puts learnable multipliers, by module.

    Its cost: `flops` of mixing for a token, two a multiply-add, beyond the projections; seconds of one
    CPU core for a token and unit of width outside matrix products; GPU kernels that a layer launches in a
    step; numbers kept for the backward pass for a token and unit of width, beyond those of any block.
    """

    reads: frozenset[str]
    parameters: "Callable[[str, Shape], Iterator[Parameter]]"
    site: "Callable[[Shape], Site]"
    forward: Callable[[], Forward]
    flops: "Callable[[Shape], float]"
    cpu_seconds: float
    gpu_launches: int
    kept: int
    strength: "Callable[[Recipe], float]" = _one
    check: "Callable[[Shape], None]" = _no_fault
    sees_ahead: bool = False
    multiplied: Mapping[str, tuple[Kind, ...]]
