"""The parameters of every architecture, each declared with its role: the single list of what exists.

The forward pass reads parameters by these names, initialisation and optimizers walk this list, and the
rule table covers exactly the roles that appear here.
"""

from collections.abc import Iterator

from .placement import multipliers_of
from .role import Parameter, Role, Site
from .shape import Mixer, Norm, Shape


def parameters(shape: Shape) -> tuple[Parameter, ...]:
    """All parameters of a proxy of this shape, in forward order, learnable multipliers after them."""
    own = plain_parameters(shape)
    return (*own, *multipliers_of(shape.learnable_multipliers, own, mixer_names(shape)))


def plain_parameters(shape: Shape) -> tuple[Parameter, ...]:
    """Those that the architecture has without learnable multipliers."""
    return tuple(_model(shape))


def mixer_names(shape: Shape) -> dict[str, str]:
    return {mixer: shape.mixer_name(mixer) for mixer in shape.mixers}


def parameter_count(shape: Shape) -> int:
    return sum(parameter.size for parameter in parameters(shape))


def attention_site(shape: Shape) -> Site:
    return Site.GROWING_ATTENTION if shape.grows_head else Site.ATTENTION


def state_site(shape: Shape) -> Site:
    return Site.GROWING_STATE if shape.grows_head else Site.STATE


def scores_site(shape: Shape) -> Site:
    return Site.SCORES if shape.state_ratio is None else Site.GROWING_SCORES


def _model(shape: Shape) -> Iterator[Parameter]:
    n = shape.width
    # A token is a vector with a single one, whatever their number; a vector has all its coordinates.
    fan_in = shape.vocab_size if shape.vectors else 1
    yield Parameter(name="embedding.weight", shape=(shape.vocab_size, n), role=Role.INPUT, fan_in=fan_in)
    if "attention" in shape.mixers and shape.positions == "learned":
        yield Parameter(name="positions.weight", shape=(shape.sequence_length, n), role=Role.INPUT)
    for index in range(shape.depth):
        block = f"blocks.{index}"
        yield from _norm(f"{block}.mixer_norm", shape, shape.norm, Role.HIDDEN_VECTOR)
        for mixer in shape.mixers_of(index):
            yield from _mixer(mixer, f"{block}.{shape.mixer_name(mixer)}", shape)
        yield from _norm(f"{block}.mlp_norm", shape, shape.norm, Role.HIDDEN_VECTOR)
        yield from _mlp(f"{block}.mlp", shape)
    yield from _norm("final_norm", shape, shape.last_norm, Role.VECTOR)
    if not shape.tied:
        yield Parameter(name="readout.weight", shape=(shape.output_count, n), role=Role.OUTPUT, fan_in=n)


def _mixer(mixer: Mixer, name: str, shape: Shape) -> Iterator[Parameter]:
    match mixer:
        case "attention":
            return _attention(name, shape)
        case "gdn":
            return _gated_deltanet(name, shape)
        case "mamba2":
            return _mamba2(name, shape)


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
    if shape.qk_norm:
        for projection in ("query", "key"):
            yield _gain(f"{name}.{projection}_norm", shape.head_size, _shared_gain(shape))
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
    gate, gate_vector = _gate_roles(shape)
    for projection, width in (("query", shape.key_width), ("key", shape.key_width), ("value", v)):
        yield _matrix(f"{name}.{projection}", width, n)
        yield _kernel(f"{name}.{projection}_conv", width, shape)
    yield _matrix(f"{name}.a", heads, n, role=gate)
    yield _matrix(f"{name}.b", heads, n, role=gate)
    yield Parameter(name=f"{name}.a_log", shape=(heads,), role=gate_vector, start="a_log", decayed=False)
    yield Parameter(name=f"{name}.dt_bias", shape=(heads,), role=gate_vector, start="dt_bias", decayed=False)
    if shape.output_gate:
        yield _matrix(f"{name}.gate", v, n)
    yield _gain(f"{name}.norm", shape.head_size * shape.expand_v, _shared_gain(shape))
    yield _matrix(f"{name}.output", n, v, ends_branch=True)


def _mamba2(name: str, shape: Shape) -> Iterator[Parameter]:
    """Mamba2's mixer (arXiv:2405.21060), its input projection as its five parts.

    B and C are shared by all heads of a group: with a state of fixed size they are as narrow as shared
    keys, and no dimension of their kernels grows. A state that grows with the width makes them hidden.
    """
    n, v, heads = shape.width, shape.value_width, shape.head_count
    gate, gate_vector = _gate_roles(shape)
    rows = shape.state_groups * shape.state_rows
    state, kernel = (
        (Role.NARROW, Role.HIDDEN_SCALAR) if shape.state_ratio is None else (Role.HIDDEN, Role.HIDDEN_VECTOR)
    )
    yield _matrix(f"{name}.z", v, n)
    yield _matrix(f"{name}.x", v, n)
    yield _kernel(f"{name}.x_conv", v, shape)
    for projection in ("b", "c"):
        yield _matrix(f"{name}.{projection}", rows, n, role=state)
        yield _kernel(f"{name}.{projection}_conv", rows, shape, role=kernel)
    yield _matrix(f"{name}.dt", heads, n, role=gate)
    yield Parameter(
        name=f"{name}.a_log", shape=(heads,), role=gate_vector, start="a_log_from_1", decayed=False
    )
    yield Parameter(name=f"{name}.dt_bias", shape=(heads,), role=gate_vector, start="dt_bias", decayed=False)
    yield Parameter(name=f"{name}.skip", shape=(heads,), role=gate_vector, start="ones", decayed=False)
    yield _gain(f"{name}.norm", v, Role.HIDDEN_VECTOR)
    yield _matrix(f"{name}.output", n, v, ends_branch=True)


def _gate_roles(shape: Shape) -> tuple[Role, Role]:
    """Of the projections to one number a head, and of the vectors beside them."""
    return (Role.NARROW, Role.NARROW_VECTOR) if shape.grows_head else (Role.HIDDEN, Role.HIDDEN_VECTOR)


def _shared_gain(shape: Shape) -> Role:
    """Of a gain over the coordinates of a head, which all heads share."""
    return Role.HIDDEN_VECTOR if shape.grows_head else Role.HIDDEN_SCALAR


def _gain(name: str, size: int, role: Role) -> Parameter:
    return Parameter(name=f"{name}.gain", shape=(size,), role=role, start="ones", decayed=False)


def _kernel(name: str, channels: int, shape: Shape, role: Role = Role.HIDDEN_VECTOR) -> Parameter:
    """Depthwise: fan_in is the kernel size whatever the width, so a kernel is vector-like."""
    return Parameter(
        name=f"{name}.weight", shape=(channels, shape.conv_size), role=role, fan_in=shape.conv_size
    )
