"""Softmax attention, declared: grouped queries (arXiv:2305.13245), norms of queries and keys, windows."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...recipe.role import Parameter, Role, Site
from ..mixer import Forward, Mixer
from ..parts import gain, linear, matrix, shared_gain, vector

if TYPE_CHECKING:
    from ...recipe.recipe import Recipe
    from ...recipe.shape import Shape


def kv_head_count(shape: "Shape") -> int:
    return shape.kv_heads or shape.head_count // (shape.queries_per_kv or 1)


def turned(shape: "Shape") -> int:
    """Coordinates of a head that rotary positions turn."""
    return int(shape.rotary_share * shape.head_size)


def _parameters(name: str, shape: "Shape") -> Iterator[Parameter]:
    """Keys and values that a growing number of query heads shares are narrow."""
    n, inner = shape.width, shape.head_count * shape.head_size
    kv_width = kv_head_count(shape) * shape.head_size
    pools_queries = shape.kv_heads is not None and not shape.grows_head
    narrow, narrow_bias = (
        (Role.NARROW, Role.NARROW_VECTOR) if pools_queries else (Role.HIDDEN, Role.HIDDEN_VECTOR)
    )
    yield from linear(f"{name}.query", inner, n, biased=shape.biases != "none")
    for projection in ("key", "value"):
        yield matrix(f"{name}.{projection}", kv_width, n, role=narrow)
        if shape.biases != "none":
            yield vector(f"{name}.{projection}.bias", kv_width, narrow_bias, "zeros")
    if shape.attention_gate:
        yield matrix(f"{name}.gate", inner, n)
    if shape.qk_norm:
        for projection in ("query", "key"):
            yield gain(f"{name}.{projection}_norm", shape.head_size, shared_gain(shape))
    yield from linear(f"{name}.output", n, inner, biased=shape.biases == "all", ends_branch=True)


def _check(shape: "Shape") -> None:
    if shape.positions == "rotary" and shape.rotary_share == 1 and shape.head_size % 2:
        raise ValueError(f"head_dim: rotary positions need an even head, not {shape.head_size}")
    if shape.positions == "rotary" and (not turned(shape) or turned(shape) % 2):
        raise ValueError(
            f"rotary_share: {shape.rotary_share:g} of a head of {shape.head_size} is no even number above 0"
        )
    if shape.kv_heads is not None and shape.queries_per_kv is not None:
        raise ValueError("kv_heads: give kv_heads (a fixed number) or queries_per_kv, not both")
    for name in ("kv_heads", "queries_per_kv"):
        count = getattr(shape, name)
        if count is not None and (count < 1 or shape.head_count % count):
            raise ValueError(f"{name}: {shape.head_count} heads are not a multiple of {count}")


def _site(shape: "Shape") -> Site:
    return Site.GROWING_ATTENTION if shape.grows_head else Site.ATTENTION


def _strength(recipe: "Recipe") -> float:
    """1/sqrt(head_dim) of the *base*, times the table's power of the head's growth: a fixed head stays at
    1/sqrt(head_dim), a growing one falls like 1/head_dim."""
    base = recipe.base_shape()
    logits = recipe.attention_multiplier / math.sqrt(base.head_size)
    return logits * math.sqrt(base.head_size / recipe.shape.head_size)


def _flops(shape: "Shape") -> float:
    """Causal attention counted at half."""
    seen = min(shape.sequence_length, 2 * (shape.window or shape.sequence_length))
    return 2.0 * seen * shape.head_count * shape.head_size


def _forward() -> Forward:
    from .forward import attention

    return attention


ATTENTION = Mixer(
    reads=frozenset({
        "positions", "rotary_base", "rotary_share", "attention_multiplier", "kv_heads", "queries_per_kv",
        "qk_norm", "window", "attention_gate",
    }),
    parameters=_parameters,
    site=_site,
    strength=_strength,
    forward=_forward,
    check=_check,
    sees_ahead=True,
    # A scale of the keys is one of the queries, one of the values is one of the output's columns.
    multiplied={"output": ("row", "column"), "query": ("row",)},
    flops=_flops,
    cpu_seconds=8.5e-8,
    gpu_launches=60,
    kept=0,
)  # fmt: skip
