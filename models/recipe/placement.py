"""Learnable multipliers (arXiv:2601.04890): which matrices have them. No torch.

W_eff = s * diag(r) W diag(c): a scalar s, a row multiplier r (one for each row of the matrix as it is
stored) and a column multiplier c. A placement is a text, so that it can be an axis of a sweep:

    none                                  no multipliers
    attention, mlp                        named placements, as many as wanted
    readout=scalar, *.mlp.down=row+column any matrices, by role or by name pattern, with their kinds
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, get_args

from .role import Parameter, Role

Kind = Literal["scalar", "row", "column"]
Kinds = tuple[Kind, ...]
Placement = tuple[tuple[str, Kinds], ...]

# Section 4 of the paper: as many multipliers as a block has scales, and no two that can undo each other.
#   attention: a scale of the keys is one of the queries, one of the values is one of the output's columns.
#   mlp: up's rows are down's columns; of a gated MLP the gate's rows pass its SiLU. A plain MLP has no gate.
#   mamba2: the convolution scales x, B and C, the norm's gain the output's columns.
#   gdn is ours by the same reasoning: queries and keys are normalised and pass a convolution, as do the
#   values; the gates' and the output gate's rows pass a nonlinearity, as Mamba2's dt and z do.
PRESETS: Mapping[str, Placement] = {
    "attention": (("*.{attention}.output", ("row", "column")), ("*.{attention}.query", ("row",))),
    "mlp": (("*.mlp.down", ("row", "column")), ("*.mlp.gate", ("row",))),
    "mamba2": (("*.{mamba2}.output", ("row",)), ("*.{mamba2}.z", ("row",)), ("*.{mamba2}.dt", ("row",))),
    "gdn": (
        ("*.{gdn}.output", ("row",)),
        ("*.{gdn}.gate", ("row",)),
        ("*.{gdn}.a", ("row",)),
        ("*.{gdn}.b", ("row",)),
    ),
    "embedding": (("embedding", ("row", "column")),),
}
# What the paper trained with: both kinds everywhere, held by their decay; no rows on the readout, which
# would make it lazy.
EVERYWHERE: Placement = (
    ("input", ("row", "column")),
    ("hidden", ("row", "column")),
    ("narrow", ("row", "column")),
    ("output", ("column",)),
)
MULTIPLIER_NAMES = tuple(f".{kind}" for kind in get_args(Kind))
MATRIX_ROLES = (Role.INPUT, Role.HIDDEN, Role.NARROW, Role.OUTPUT)


def parse(text: str) -> Placement:
    """The named presets and patterns of a placement, in order. Raises ValueError, naming the field."""
    items = [item.strip() for item in text.split(",")]
    if items == ["none"]:
        return ()
    found: list[tuple[str, Kinds]] = []
    for item in items:
        pattern, equals, kinds = item.partition("=")
        if equals and {"{", "}"} & {*pattern}:
            raise ValueError(f"learnable_multipliers: {item!r}: a pattern has no braces; write two of them")
        if equals:
            found.append((pattern.strip(), _kinds(item, kinds)))
        elif item == "all":
            found += [entry for name in PRESETS for entry in PRESETS[name]]
        elif item == "everywhere":
            found += EVERYWHERE
        elif item in PRESETS:
            found += PRESETS[item]
        else:
            raise ValueError(
                f"learnable_multipliers: {item!r} is no placement; give none, {', '.join(PRESETS)}, all, "
                "everywhere, or PATTERN=KIND[+KIND] such as readout=scalar"
            )
    return tuple(found)


def normal_form(text: str) -> str:
    """Equal for texts that name the same placement in another order or other words."""
    kinds_of: dict[str, set[str]] = {}
    for pattern, kinds in parse(text):
        kinds_of.setdefault(pattern, set()).update(kinds)
    return ",".join(f"{pattern}={'+'.join(sorted(kinds))}" for pattern, kinds in sorted(kinds_of.items()))


def multipliers_of(
    text: str, matrices: Sequence[Parameter], mixers: Mapping[str, str]
) -> Iterator[Parameter]:
    """The multipliers of some parameters, each a parameter itself. `mixers` are their names, by kind."""
    placement = _named(parse(text), mixers)
    for parameter in matrices:
        kinds = {kind for pattern, wanted in placement if _fits(pattern, parameter) for kind in wanted}
        rows, columns = parameter.shape if kinds else (0, 0)
        sizes: dict[Kind, int] = {"scalar": 1, "row": rows, "column": columns}
        for kind in get_args(Kind):
            if kind in kinds:
                yield Parameter(
                    name=f"{module_of(parameter)}.{kind}",
                    shape=(sizes[kind],),
                    role=Role.MULTIPLIER,
                    start="ones",
                )


def unmatched(text: str, matrices: Sequence[Parameter], mixers: Mapping[str, str]) -> list[str]:
    """Patterns of the placement that fit no matrix, or all of it; of presets, only if nothing fits at all."""
    placement = _named(parse(text), mixers)
    known = {pattern for preset in (*PRESETS.values(), EVERYWHERE) for pattern, _ in _named(preset, mixers)}
    lost = [pattern for pattern, _ in placement if not any(_fits(pattern, matrix) for matrix in matrices)]
    if placement and len(lost) == len(placement):
        return [text]
    return [pattern for pattern in lost if pattern not in known]


def module_of(parameter: Parameter) -> str:
    return parameter.name.removesuffix(".weight")


def _kinds(item: str, text: str) -> Kinds:
    kinds = tuple(kind for kind in get_args(Kind) if kind in [part.strip() for part in text.split("+")])
    if len(kinds) != len(text.split("+")):
        raise ValueError(
            f"learnable_multipliers: {item!r}: kinds are scalar, row and column, such as row+column"
        )
    return kinds


def _named(placement: Placement, mixers: Mapping[str, str]) -> Placement:
    """The presets' mixers by the names that they have in this model; a mixer that it lacks fits nothing."""
    names = {kind: mixers.get(kind, "\0") for kind in ("attention", "gdn", "mamba2")}
    return tuple(
        (pattern.format(**names) if "{" in pattern else pattern, kinds) for pattern, kinds in placement
    )


def _fits(pattern: str, parameter: Parameter) -> bool:
    if parameter.role not in MATRIX_ROLES:
        return False
    return pattern == parameter.role.value or fnmatchcase(module_of(parameter), pattern)
