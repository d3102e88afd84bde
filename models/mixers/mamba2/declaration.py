"""Mamba2's mixer (arXiv:2405.21060), declared; its input projection as its five parts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...recipe.role import Parameter, Role, Site
from ..mixer import Forward, Mixer
from ..parts import CHUNK, RECURRENT, convolution, decay_vectors, gain, gate_roles, matrix, vector

if TYPE_CHECKING:
    from ...recipe.shape import Shape


def state_rows(shape: "Shape") -> int:
    """Rows of a head's state."""
    return shape.state_size if shape.state_ratio is None else round(shape.state_ratio * shape.width)


def _parameters(name: str, shape: "Shape") -> Iterator[Parameter]:
    """B and C are shared by all heads of a group: with a state of fixed size they are as narrow as shared
    keys, and no dimension of their kernels grows. A state that grows with the width makes them hidden."""
    n, v, heads = shape.width, shape.value_width, shape.state_head_count
    gate, gate_vector = gate_roles(shape)
    rows = shape.state_groups * state_rows(shape)
    state, state_kernel = (
        (Role.NARROW, Role.HIDDEN_SCALAR) if shape.state_ratio is None else (Role.HIDDEN, Role.HIDDEN_VECTOR)
    )
    yield matrix(f"{name}.z", v, n)
    yield matrix(f"{name}.x", v, n)
    yield from convolution(f"{name}.x_conv", v, shape)
    for projection in ("b", "c"):
        yield matrix(f"{name}.{projection}", rows, n, role=state)
        yield from convolution(f"{name}.{projection}_conv", rows, shape, state_kernel)
    yield matrix(f"{name}.dt", heads, n, role=gate)
    yield from decay_vectors(name, shape, gate_vector, "a_log_from_1")
    yield vector(f"{name}.skip", heads, gate_vector, "ones")
    if shape.state_norm:
        yield gain(f"{name}.norm", v, Role.HIDDEN_VECTOR)
    yield matrix(f"{name}.output", n, v, ends_branch=True)


def _check(shape: "Shape") -> None:
    heads, groups = shape.state_head_count, shape.state_groups
    if heads % groups:
        raise ValueError(f"state_groups: {heads} heads are not a multiple of {groups}")
    if shape.state_ratio is not None and state_rows(shape) < 1:
        raise ValueError(f"state_ratio: {shape.state_ratio} leaves no state at width {shape.width}")


def _site(shape: "Shape") -> Site:
    return Site.SCORES if shape.state_ratio is None else Site.GROWING_SCORES


def _flops(shape: "Shape") -> float:
    rows, value = state_rows(shape), shape.state_head_size * shape.expand_v
    scores = 2 * CHUNK * rows * shape.state_groups
    return float(scores + shape.state_head_count * (2 * CHUNK * value + 2 * 2 * rows * value))


def _forward() -> Forward:
    from .forward import mamba2

    return mamba2


MAMBA2 = Mixer(
    reads=RECURRENT | {"state_size", "state_ratio", "state_groups", "state_norm", "norm_before_gate"},
    parameters=_parameters,
    site=_site,
    forward=_forward,
    check=_check,
    # The convolution scales x, B and C, the norm's gain the output's columns.
    multiplied={"output": ("row",), "z": ("row",), "dt": ("row",)},
    flops=_flops,
    cpu_seconds=2.1e-7,
    gpu_launches=250,
    kept=40,
)
