"""All parameters of a shape: its architecture's own, and the learnable multipliers on them."""

from functools import lru_cache

from ..architectures.registry import architecture_of
from .placement import learnable_multipliers
from .role import Parameter
from .shape import Shape


@lru_cache(maxsize=1024)  # asked for by every trial, of which many have one shape
def parameters(shape: Shape) -> tuple[Parameter, ...]:
    """All parameters of a proxy of this shape, in forward order, learnable multipliers after them."""
    own = plain_parameters(shape)
    names = architecture_of(shape).module_names
    return (*own, *learnable_multipliers(shape.learnable_multipliers, own, names))


def plain_parameters(shape: Shape) -> tuple[Parameter, ...]:
    """Those that the architecture has without learnable multipliers."""
    return tuple(architecture_of(shape).parameters(shape))


def parameter_count(shape: Shape) -> int:
    return sum(parameter.size for parameter in parameters(shape))
