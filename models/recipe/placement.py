"""Learnable multipliers (arXiv:2601.04890): which matrices have them. No torch.

W_eff = s * diag(r) W diag(c): a scalar s, a row multiplier r (one for each row of the matrix as it is
stored) and a column multiplier c. A placement is a text, so that it can be an axis of a sweep:

    none                                  no multipliers
    attention, mlp                        named placements, as many as wanted
    readout=scalar, *.mlp.down=row+column any matrices, by role or by name pattern, with their kinds
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import get_args

from ..mixers.mixer import Kind
from ..mixers.registry import MIXERS
from .role import EXPERT_ROLES, Parameter, Role

Kinds = tuple[Kind, ...]
Placement = tuple[tuple[str, Kinds], ...]

# Section 4 of the paper: as many multipliers as a block has scales, and no two that can undo each other. Each
# mixer declares its own. Up's rows are down's columns; of a gated MLP the gate's rows pass its SiLU. A plain
# MLP has no gate.
OF_EVERY_STACK: Mapping[str, Placement] = {
    "mlp": (("*.mlp.down", ("row", "column")), ("*.mlp.gate", ("row",))),
    "embedding": (("embedding", ("row", "column")),),
}
# What the paper trained with: both kinds everywhere, held by their decay; no rows on the readout, which
# would make it lazy.
EVERYWHERE: Placement = (
    ("input", ("row", "column")),
    ("hidden", ("row", "column")),
    ("narrow", ("row", "column")),
    ("router", ("row", "column")),
    ("expert in", ("row", "column")),
    ("expert out", ("row", "column")),
    ("output", ("column",)),
)
MULTIPLIER_NAMES = tuple(f".{kind}" for kind in get_args(Kind))
MATRIX_ROLES = (Role.INPUT, Role.HIDDEN, Role.NARROW, Role.ROUTER, *EXPERT_ROLES, Role.OUTPUT)


def presets() -> dict[str, Placement]:
    """The named placements: one for each mixer, of the modules that it names, and those of every stack."""
    of_mixers = {
        name: tuple((f"*.{{{name}}}.{module}", kinds) for module, kinds in mixer.multiplied.items())
        for name, mixer in MIXERS.items()
    }
    return {**of_mixers, **OF_EVERY_STACK}


def parse(text: str) -> Placement:
    """The named presets and patterns of a placement, in order. Raises ValueError, naming the field."""
    items = [item.strip() for item in text.split(",")]
    if items == ["none"]:
        return ()
    found: list[tuple[str, Kinds]] = []
    known = presets()
    for item in items:
        pattern, equals, kinds = item.partition("=")
        if equals and {"{", "}"} & {*pattern}:
            raise ValueError(f"learnable_multipliers: {item!r}: a pattern has no braces; write two of them")
        if equals:
            found.append((pattern.strip(), _kinds(item, kinds)))
        elif item == "all":
            found += [entry for placement in known.values() for entry in placement]
        elif item == "everywhere":
            found += EVERYWHERE
        elif item in known:
            found += known[item]
        else:
            raise ValueError(
                f"learnable_multipliers: {item!r} is no placement; give none, {', '.join(known)}, all, "
                "everywhere, or PATTERN=KIND[+KIND] such as readout=scalar"
            )
    return tuple(found)


def normal_form(text: str) -> str:
    """Equal for texts that name the same placement in another order or other words."""
    kinds_of: dict[str, set[str]] = {}
    for pattern, kinds in parse(text):
        kinds_of.setdefault(pattern, set()).update(kinds)
    return ",".join(f"{pattern}={'+'.join(sorted(kinds))}" for pattern, kinds in sorted(kinds_of.items()))


def learnable_multipliers(
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
    known = {pattern for preset in (*presets().values(), EVERYWHERE) for pattern, _ in _named(preset, mixers)}
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
    names = {kind: mixers.get(kind, "\0") for kind in MIXERS}
    return tuple(
        (pattern.format(**names) if "{" in pattern else pattern, kinds) for pattern, kinds in placement
    )


def _fits(pattern: str, parameter: Parameter) -> bool:
    if parameter.role not in MATRIX_ROLES:
        return False
    return pattern == parameter.role.value or fnmatchcase(module_of(parameter), pattern)
