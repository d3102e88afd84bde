"""Parameters that several mixers declare alike."""

from typing import TYPE_CHECKING

from ..recipe.role import Parameter, Role, Start

if TYPE_CHECKING:
    from ..recipe.shape import Shape

CHUNK = 16
"""Positions that recurrent mixers handle together on CPU."""


def matrix(
    name: str, fan_out: int, fan_in: int, *, role: Role = Role.HIDDEN, ends_branch: bool = False
) -> Parameter:
    return Parameter(
        name=f"{name}.weight", shape=(fan_out, fan_in), role=role, fan_in=fan_in, ends_branch=ends_branch
    )


def gain(name: str, size: int, role: Role) -> Parameter:
    return vector(f"{name}.gain", size, role, "ones")


def vector(name: str, size: int, role: Role, start: Start) -> Parameter:
    return Parameter(name=name, shape=(size,), role=role, start=start, decayed=False)


def kernel(name: str, channels: int, shape: "Shape", role: Role = Role.HIDDEN_VECTOR) -> Parameter:
    """Depthwise: fan_in is the kernel size whatever the width, so a kernel is vector-like."""
    return Parameter(
        name=f"{name}.weight", shape=(channels, shape.conv_size), role=role, fan_in=shape.conv_size
    )


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
