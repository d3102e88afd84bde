"""Gated DeltaNet's mixer (arXiv:2412.06464), declared."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...recipe.role import Parameter, Site
from ..mixer import Forward, Mixer
from ..parts import CHUNK, RECURRENT, convolution, decay_vectors, gain, gate_roles, matrix, shared_gain

if TYPE_CHECKING:
    from ...recipe.shape import Shape


def _parameters(name: str, shape: "Shape") -> Iterator[Parameter]:
    n, v, heads = shape.width, shape.value_width, shape.state_head_count
    gate, gate_vector = gate_roles(shape)
    key_width = shape.state_key_head_count * shape.state_head_size
    for projection, width in (("query", key_width), ("key", key_width), ("value", v)):
        yield matrix(f"{name}.{projection}", width, n)
        yield from convolution(f"{name}.{projection}_conv", width, shape)
    yield matrix(f"{name}.a", heads, n, role=gate)
    yield matrix(f"{name}.b", heads, n, role=gate)
    yield from decay_vectors(name, shape, gate_vector, "a_log")
    if shape.output_gate:
        yield matrix(f"{name}.gate", v, n)
    yield gain(f"{name}.norm", shape.state_head_size * shape.expand_v, shared_gain(shape))
    yield matrix(f"{name}.output", n, v, ends_branch=True)


def _check(shape: "Shape") -> None:
    if shape.state_head_count % shape.values_per_key:
        raise ValueError(
            f"values_per_key: {shape.state_head_count} heads are not a multiple of {shape.values_per_key}"
        )


def _site(shape: "Shape") -> Site:
    return Site.GROWING_STATE if shape.grows_head else Site.STATE


def _flops(shape: "Shape") -> float:
    key, value = shape.state_head_size, shape.state_head_size * shape.expand_v
    return float(shape.state_head_count * (2 * CHUNK * (2 * key + 2 * value) + 2 * 3 * key * value))


def _forward() -> Forward:
    from .forward import gated_deltanet

    return gated_deltanet


GDN = Mixer(
    reads=RECURRENT | {"values_per_key", "negative_eigenvalues", "output_gate"},
    parameters=_parameters,
    site=_site,
    forward=_forward,
    check=_check,
    # Ours, by the paper's reasoning: queries and keys are normalised and pass a convolution, as do the
    # values; the gates' and the output gate's rows pass a nonlinearity, as Mamba2's dt and z do.
    multiplied={"output": ("row",), "gate": ("row",), "a": ("row",), "b": ("row",)},
    flops=_flops,
    cpu_seconds=3.2e-7,
    gpu_launches=330,
    kept=40,
)
