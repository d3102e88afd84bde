"""The parameters of every architecture, each declared with its role: the single list of what exists.

The forward pass reads parameters by these names, initialisation and optimizers walk this list, and the
rule table covers exactly the roles that appear here.
"""

from collections.abc import Iterator

from .parametrization.role import Parameter, Role, Site
from .shape import Norm, Shape


def parameters(shape: Shape) -> tuple[Parameter, ...]:
    """All parameters of a proxy of this shape, in forward order."""
    return tuple(_decoder(shape))


def parameter_count(shape: Shape) -> int:
    return sum(parameter.size for parameter in parameters(shape))


def attention_site(shape: Shape) -> Site:
    return Site.GROWING_ATTENTION if shape.grows_head else Site.ATTENTION


def state_site(shape: Shape) -> Site:
    return Site.GROWING_STATE if shape.grows_head else Site.STATE


def _decoder(shape: Shape) -> Iterator[Parameter]:
    n = shape.width
    yield Parameter(name="embedding.weight", shape=(shape.vocab_size, n), role=Role.INPUT)
    if shape.architecture == "transformer" and shape.positions == "learned":
        yield Parameter(name="positions.weight", shape=(shape.sequence_length, n), role=Role.INPUT)
    for index in range(shape.depth):
        block = f"blocks.{index}"
        yield from _norm(f"{block}.mixer_norm", shape, shape.norm, Role.HIDDEN_VECTOR)
        match shape.architecture:
            case "transformer":
                yield from _attention(f"{block}.mixer", shape)
            case "gdn":
                yield from _gated_deltanet(f"{block}.mixer", shape)
        yield from _norm(f"{block}.mlp_norm", shape, shape.norm, Role.HIDDEN_VECTOR)
        yield from _mlp(f"{block}.mlp", shape)
    yield from _norm("final_norm", shape, shape.last_norm, Role.VECTOR)
    if not shape.tied:
        yield Parameter(name="readout.weight", shape=(shape.vocab_size, n), role=Role.OUTPUT, fan_in=n)


def _norm(name: str, shape: Shape, kind: Norm, role: Role) -> Iterator[Parameter]:
    if kind != "none":
        yield Parameter(name=f"{name}.gain", shape=(shape.width,), role=role, start="ones", decayed=False)
    if kind == "layernorm":
        yield Parameter(name=f"{name}.bias", shape=(shape.width,), role=role, start="zeros", decayed=False)


def _matrix(
    name: str, fan_out: int, fan_in: int, *, role: Role = Role.HIDDEN, ends_branch: bool = False
) -> Parameter:
    return Parameter(
        name=f"{name}.weight",
        shape=(fan_out, fan_in),
        role=role,
        fan_in=fan_in,
        ends_branch=ends_branch,
    )


def _attention(name: str, shape: Shape) -> Iterator[Parameter]:
    """Softmax attention. Keys and values that a growing number of query heads shares are narrow."""
    n = shape.width
    kv_role = Role.NARROW if shape.pools_queries else Role.HIDDEN
    yield _matrix(f"{name}.query", n, n)
    for projection in ("key", "value"):
        yield _matrix(f"{name}.{projection}", shape.kv_width, n, role=kv_role)
    yield _matrix(f"{name}.output", n, n, ends_branch=True)


def _mlp(name: str, shape: Shape) -> Iterator[Parameter]:
    n, m = shape.width, shape.mlp_width
    yield _matrix(f"{name}.up", m, n)
    if shape.mlp == "swiglu":
        yield _matrix(f"{name}.gate", m, n)
    yield _matrix(f"{name}.down", n, m, ends_branch=True)


def _gated_deltanet(name: str, shape: Shape) -> Iterator[Parameter]:
    """GDN's mixer (arXiv:2412.06464). The roles of its gates depend on how it is widened.

    With heads added at fixed head_dim, a gate pools a fixed number of coordinates and there are ~ n
    gates: their projections are hidden matrices, A_log and dt_bias behave like biases, and the norm
    gain shared by all heads has no growing dimension. With a fixed number of growing heads a gate
    pools ~ n coordinates: arXiv:2606.04048 gives rows of their own, and the shared gain grows.
    """
    n, v, heads = shape.width, shape.value_width, shape.head_count
    gate, gate_vector, gain = (
        (Role.NARROW, Role.NARROW_VECTOR, Role.HIDDEN_VECTOR)
        if shape.grows_head
        else (Role.HIDDEN, Role.HIDDEN_VECTOR, Role.HIDDEN_SCALAR)
    )
    for projection, width in (("query", n), ("key", n), ("value", v)):
        yield _matrix(f"{name}.{projection}", width, n)
        # Depthwise: fan_in is the kernel size whatever the width, so a kernel is vector-like.
        yield Parameter(
            name=f"{name}.{projection}_conv.weight",
            shape=(width, shape.conv_size),
            role=Role.HIDDEN_VECTOR,
            fan_in=shape.conv_size,
        )
    yield _matrix(f"{name}.a", heads, n, role=gate)
    yield _matrix(f"{name}.b", heads, n, role=gate)
    yield Parameter(name=f"{name}.a_log", shape=(heads,), role=gate_vector, start="a_log", decayed=False)
    yield Parameter(name=f"{name}.dt_bias", shape=(heads,), role=gate_vector, start="dt_bias", decayed=False)
    yield _matrix(f"{name}.gate", v, n)
    head_size_v = shape.head_size * shape.expand_v
    yield Parameter(name=f"{name}.norm.gain", shape=(head_size_v,), role=gain, start="ones", decayed=False)
    yield _matrix(f"{name}.output", n, v, ends_branch=True)
