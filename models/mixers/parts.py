"""Parameters that several mixers declare alike."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..recipe.role import Parameter, Role, Start

if TYPE_CHECKING:
    from ..recipe.shape import Shape

RECURRENT = frozenset({
    "expand_v", "conv_size", "conv_bias", "state_head_dim", "state_head_ratio", "a_start", "dt_start",
})  # fmt: skip
"""The fields that mixers with a state and short convolutions read alike."""
CHUNK = 16
"""Positions that recurrent mixers handle together on CPU."""


def matrix(
    name: str,
    rows: int,
    fan_in: int,
    *,
    role: Role = Role.HIDDEN,
    matrices: int = 1,
    ends_branch: bool = False,
) -> Parameter:
    """Rows are those of all matrices together."""
    return Parameter(
        name=f"{name}.weight",
        shape=(rows, fan_in),
        role=role,
        fan_in=fan_in,
        matrices=matrices,
        ends_branch=ends_branch,
    )


def linear(
    name: str, fan_out: int, fan_in: int, *, biased: bool, ends_branch: bool = False
) -> Iterator[Parameter]:
    """A hidden matrix, and its bias where it has one."""
    yield matrix(name, fan_out, fan_in, ends_branch=ends_branch)
    if biased:
        yield vector(f"{name}.bias", fan_out, Role.HIDDEN_VECTOR, "zeros")


def gain(name: str, size: int, role: Role) -> Parameter:
    return vector(f"{name}.gain", size, role, "ones")


def vector(name: str, size: int, role: Role, start: Start) -> Parameter:
    return Parameter(name=name, shape=(size,), role=role, start=start, decayed=False)


def convolution(
    name: str, channels: int, shape: "Shape", role: Role = Role.HIDDEN_VECTOR
) -> Iterator[Parameter]:
    """Depthwise: fan_in is the kernel size whatever the width, so a kernel is vector-like, as its bias is."""
    yield Parameter(
        name=f"{name}.weight", shape=(channels, shape.conv_size), role=role, fan_in=shape.conv_size
    )
    if shape.conv_bias:
        yield vector(f"{name}.bias", channels, role, "zeros")


def decay_vectors(name: str, shape: "Shape", role: Role, drawn: Start) -> Iterator[Parameter]:
    """A_log and dt_bias, one of each a head; `drawn` is the start of A where it is not counted."""
    heads = shape.state_head_count
    yield vector(f"{name}.a_log", heads, role, drawn if shape.a_start == "drawn" else "a_log_counted")
    yield vector(f"{name}.dt_bias", heads, role, "dt_bias" if shape.dt_start == "drawn" else "ones")


def gate_roles(shape: "Shape") -> tuple[Role, Role]:
    """Of the projections to one number a head, and of the vectors beside them.

    With heads added at fixed head_dim, a gate pools a fixed number of coordinates and there are ~ n gates:
    their projections are hidden matrices, A_log and dt_bias behave like biases. With a fixed number of
    growing heads a gate pools ~ n coordinates: arXiv:2606.04048 gives rows of their own.
    """
    return (Role.NARROW, Role.NARROW_VECTOR) if shape.grows_head else (Role.HIDDEN, Role.HIDDEN_VECTOR)


def shared_gain(shape: "Shape") -> Role:
    """Of a gain over the coordinates of a head, which all heads share: its dimension grows with the head."""
    return Role.HIDDEN_VECTOR if shape.grows_head else Role.HIDDEN_SCALAR
