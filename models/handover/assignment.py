"""Which values of a handover each parameter of a model gets. What is not sure is refused, with the remedy."""

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..recipe.placement import MATRIX_ROLES
from ..recipe.role import EXPERT_ROLES, Role, pattern_of
from .names import block_count, modules_of_tensors, multiplied_weight, owners, plain_name, rewritten_by
from .values import Handed

if TYPE_CHECKING:
    from ..recipe.shape import Shape

GAINS = {Role.VECTOR, Role.HIDDEN_VECTOR, Role.HIDDEN_SCALAR}
"""Roles of gains, which start at one, and of biases, which start at zero; neither decays."""
OF_MATRICES = {*MATRIX_ROLES} - {Role.OUTPUT}
"""Roles that no gain or bias has; a readout has a bias, and an input may be one row."""
ENDS = "blocks.*.mixer.output.weight"
INSIDE = {*Role} - {Role.INPUT, Role.OUTPUT, Role.VECTOR, Role.MULTIPLIER}
"""Roles of parameters inside blocks."""
DECAYS = ("a_log", "dt_bias")
"""Decays and time steps of linear attention and state spaces: their starts are drawn, by no role."""
TRANSPOSED = {"Conv1D"}
"""Modules of others whose weight is [in, out]: transformers' of GPT-2."""
DENSE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
FIELDS_OF = {
    Role.NARROW: "kv_heads: 1 (fewer than heads)",
    Role.HIDDEN_SCALAR: "qk_norm: true",
    **dict.fromkeys((Role.ROUTER, *EXPERT_ROLES), "experts: N"),
}
"""What puts a role into the handover of a program, under `fixed`."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A role, or a pattern of the handover, and how the model stores the parameter where that is its own.

    `transposed`: a matrix is [in, out] (or, False, [out, in], where no torch module says so).
    `zero_centred`: the gain is 1 + w, so w starts at zero. `kept`: the first values stay the model's own.
    `like`: the pattern of the handover that it is where the handover has it, so that its shape and start are
    known, too; else the role holds, and `kept`. `beside`: further patterns of the handover that are fused
    with the first, one below the other; rate and decay must be those of all, the epsilon is the first one's.
    `optional`: not every model that the map is for has it. `grouped`: rows are not one part below the other
    but one unit after the other, each with its share of every part; the count of the shape that tells how
    many units there are.
    """

    role: str
    transposed: bool | None = None
    zero_centred: bool = False
    kept: bool = False
    beside: tuple[str, ...] = ()
    like: str | None = None
    optional: bool = False
    grouped: str | None = None


Roles = Mapping[str, str | Stored]


class UnknownParameterError(Exception):
    """The model and the handover do not fit; the message lists the parameters or patterns, and the remedy."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """A parameter of the model with its entry of the handover: by its own pattern, or by its role alone."""

    name: str
    tensor: nn.Parameter
    entry: Mapping[str, Any]
    stored: Stored
    parts: tuple[tuple[Mapping[str, Any], str], ...]
    """What is fused in it: the entry of each, and the name that its first values are drawn by."""
    dense: bool
    """Whether it maps vectors, as a table that is looked up does not."""
    padding: int | None
    """By its role alone, the row of such a table for padding: torch keeps it at zero, and it never learns."""

    def stored_as(self, parts: Sequence[Tensor], shape: "Shape") -> Tensor:
        """What is fused in it, each as our own store it, [out, in] or [out], as the model does."""
        units = 1 if self.stored.grouped is None else getattr(shape, self.stored.grouped)
        rows = torch.cat([part.unflatten(0, (units, -1)) for part in parts], dim=1).flatten(0, 1)
        rows = rows.T if self.stored.transposed else rows
        return rows.reshape(self.tensor.shape) - int(self.stored.zero_centred)

    def turned(self, values: Tensor) -> Tensor:
        """From the model's storage to ours, or back: experts, then [out, in], then a kernel's extents."""
        if not self.stored.transposed or values.dim() < 2:
            return values
        return values.transpose(-1, -2) if self.entry["role"] in EXPERT_ROLES else values.transpose(0, 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """As our own would be stored."""
        return tuple(self.turned(self.tensor).shape)

    @property
    def looked_up(self) -> bool:
        """Whether it is a table whose rows are its inputs."""
        return self.entry["role"] == Role.INPUT and not self.dense

    @property
    def fan_in(self) -> int:
        """By its role alone. A lookup table adds up no inputs; a map of vectors to the width does."""
        if self.entry["role"] in EXPERT_ROLES:
            return math.prod(self.shape[-1:])
        return 1 if self.looked_up else math.prod(self.shape[1:])


def assigned(model: nn.Module, handover: Handed, roles: Roles) -> Iterator[Assigned]:
    """Every parameter of the model with its entry. Raises UnknownParameterError."""
    _must_be_a_handover(handover)
    found: list[Assigned] = []
    unknown, asked_for, modules = [], set[str](), dict(model.named_modules())
    of_tensor = modules_of_tensors(model)
    for held, tensor in model.named_parameters():  # a tied parameter comes once
        # A multiplier is known by the weight that it multiplies.
        name, weight = plain_name(held, model), multiplied_weight(held, model)
        if isinstance(tensor, nn.UninitializedParameter):
            raise UnknownParameterError(f"{name}: has no shape yet; run the model once, and then this")
        asked = weight or name
        patterns = [pattern for pattern in roles if fnmatchcase(asked, pattern)]
        meant = {_stored(roles[pattern]) for pattern in patterns} or {Stored(pattern_of(asked))}
        if len(meant) > 1:
            raise UnknownParameterError(f"{name}: matches several patterns: {', '.join(sorted(patterns))}")
        stored = _told_by(meant.pop(), handover)
        if (kind := rewritten_by(held, model)) and not stored.kept:
            raise UnknownParameterError(
                f"{name}: {kind} makes the weight that acts out of it, so that neither start nor rate would "
                "be the handover's; take it off, or map this to Stored(ROLE, kept=True) for its own start"
            )
        one = stored.role
        if weight is not None:
            one = f"{one.removesuffix('.weight')}.{held.rpartition('.')[2]}"
        entries = [_entry(meant, handover) for meant in (one, *stored.beside)]
        fused = [entry for entry in entries if entry is not None]
        if len(fused) < len(entries):
            unknown.append(name)
            asked_for.add(one)
            continue
        module = modules.get(held.rpartition(".")[0])
        stored = _as_stored(name, tensor, fused[0], stored, module)
        entry = _fitting(name, tensor, _together(name, fused), stored, handover["parameters"])
        fused = fused if len(fused) > 1 else [entry]
        parts = tuple((part, _drawn_as(name, part)) for part in fused)
        table = next((one for one in of_tensor[id(tensor)] if isinstance(one, nn.Embedding)), None)
        if table is not None and table.max_norm is not None:
            raise UnknownParameterError(
                f"{name}: every look-up clips its rows to max_norm={table.max_norm:g}, whatever they start "
                "at and learn; build it without"
            )
        dense = table is None and _maps_vectors(tensor, stored, of_tensor[id(tensor)], handover)
        padding = None if table is None or "pattern" in entry else table.padding_idx
        found.append(Assigned(name, tensor, entry, stored, parts, dense, padding))
    if unknown:
        fields = sorted({FIELDS_OF[Role(one)] for one in asked_for & {*FIELDS_OF}})
        remedy = f"; a sweep with {' and '.join(fields)} under `fixed` hands it over" if fields else ""
        raise UnknownParameterError(
            f"the handover does not know {', '.join(unknown)}; give each a role or a pattern of it in "
            f"`roles` (roles: {', '.join(handover['roles'])}){remedy}"
        )
    names = owners(model)
    matching = _matching(model, names, roles)
    _must_match(roles, matching)
    _must_be_the_target(found, names, handover)
    _must_be_tied_alike(found, names, handover)
    _must_be_whole(found, handover, [_stored(roles[pattern]) for pattern in matching])
    yield from found


def _must_be_a_handover(handover: object) -> None:
    """Raises UnknownParameterError for what is no export as it is read."""
    if not isinstance(handover, Mapping) or not {"parameters", "roles"} <= {*handover}:
        raise UnknownParameterError(
            f"the handover is a {type(handover).__name__} without parameters and roles; give what json.load "
            "makes of the file of `mutransfer export DIR -f json`"
        )


def _maps_vectors(tensor: Tensor, stored: Stored, modules: Sequence[nn.Module], handover: Handed) -> bool:
    """Whether a matrix of role input is [width, in], by its module, or by where the width stands."""
    if any(isinstance(one, DENSE) or type(one).__name__ in TRANSPOSED for one in modules):
        return True
    width = (handover.get("target") or {}).get("width")
    shape = tensor.shape[::-1] if stored.transposed else tensor.shape
    return len(shape) == 2 and shape[0] == width and shape[1] != width


def _stored(told: str | Stored) -> Stored:
    return told if isinstance(told, Stored) else Stored(told)


def _told_by(stored: Stored, handover: Handed) -> Stored:
    """By what the parameter is like, where the handover has all of that."""
    if stored.like is None:
        return stored
    if all(pattern in handover["parameters"] for pattern in (stored.like, *stored.beside)):
        return replace(stored, role=stored.like, kept=False)
    return replace(stored, beside=())


def _must_match(roles: Roles, matching: Set[str]) -> None:
    """Raises UnknownParameterError for patterns that nothing in the model is called by, whatever it ties."""
    unused = [name for name, told in roles.items() if not _stored(told).optional and name not in matching]
    if unused:
        raise UnknownParameterError(f"no parameter matches {', '.join(sorted(unused))}; mend the role map")


def _matching(model: nn.Module, names: Mapping[int, Sequence[str]], roles: Roles) -> set[str]:
    """The patterns that something in the model is called by."""
    called = {name for several in names.values() for name in several}
    called |= {weight for name, _ in model.named_parameters() if (weight := multiplied_weight(name, model))}
    return {pattern for pattern in roles if any(fnmatchcase(name, pattern) for name in called)}


def _must_be_whole(found: Sequence[Assigned], handover: Handed, told: Sequence[Stored]) -> None:
    """Raises UnknownParameterError for parameters of the handover that the model has not, where they would be
    known by their names: none is given a role alone, or the map says what is like what. `told` are the
    entries of the map that the model has."""
    likes = [stored for stored in told if stored.like in handover["parameters"]]
    if not likes and not all("pattern" in each.entry for each in found):
        return
    had = {entry["pattern"] for each in found for entry, _ in each.parts if "pattern" in entry}
    had |= {pattern for stored in likes for pattern in (stored.like, *stored.beside)}
    # Learnable multipliers are put on by themselves.
    left = [
        pattern for pattern, entry in handover["parameters"].items()
        if pattern not in had and entry["role"] != Role.MULTIPLIER
    ]  # fmt: skip
    if left:
        raise UnknownParameterError(
            f"the handover has {', '.join(left)}, and the model nothing like it: it is of another "
            "architecture; sweep proxies of this one, or map by roles what you are sure of"
        )


def _entry(meant: str, handover: Handed) -> Mapping[str, Any] | None:
    """The values of a name pattern of the handover, or those of a role."""
    if meant in handover["parameters"]:
        return {**handover["parameters"][meant], "pattern": meant}
    if meant not in handover["roles"]:
        return None
    role = handover["roles"][meant]
    return {**role, "role": meant, "start": "ones" if meant in GAINS else "normal"}


def _together(name: str, parts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The entry of parameters that are one below the other in one. Raises UnknownParameterError for parts
    that are not trained alike."""
    first, *others = parts
    if not others:
        return first
    alike = ("optimizer", "learning_rate", "weight_decay")
    if any("pattern" not in part for part in parts):
        raise UnknownParameterError(f"{name}: is fused of roles; name the matrices of the handover in it")
    if told := [what for what in alike if any(part[what] != first[what] for part in others)]:
        raise UnknownParameterError(f"{name}: is fused of parts that differ in {', '.join(told)}; split it")
    rows = sum(part["shape"][0] for part in parts)
    return {**first, "shape": [rows, *first["shape"][1:]]}


def _axes(tensor: Tensor) -> list[int]:
    """Those that are longer than one."""
    return [extent for extent in tensor.shape if extent > 1]


def _as_stored(
    name: str, tensor: Tensor, entry: Mapping[str, Any], stored: Stored, module: nn.Module | None
) -> Stored:
    """With the side that a matrix's inputs are on. Raises UnknownParameterError where nothing says it."""
    if stored.transposed is not None or len(_axes(tensor)) < 2:
        return stored
    kind = type(module).__name__
    if kind in TRANSPOSED:
        return replace(stored, transposed=True)
    known = isinstance(module, nn.Linear | nn.Embedding | nn.Conv1d) or kind == "ParametrizedLinear"
    square = len({*tensor.shape}) == 1 and tensor.dim() == 2
    if "pattern" in entry or stored.kept or known or square:
        return stored
    raise UnknownParameterError(
        f"{name}: is {list(tensor.shape)} in a {kind}, which does not say on which axis its inputs are; map "
        f"it to Stored({stored.role!r}, transposed=False) for [out, in], True for [in, out]"
    )


def _fitting(
    name: str, tensor: Tensor, entry: Mapping[str, Any], stored: Stored, handed: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The entry, made sure to be of the parameter's shape and kind; axes of length one do not matter."""
    shape = entry.get("shape")
    there = _axes(tensor)[::-1] if stored.transposed else _axes(tensor)
    if entry["role"] in EXPERT_ROLES and tensor.dim() == 3:  # ours stand one below the other
        there = _axes(tensor.flatten(0, 1))
    if shape is not None and [n for n in shape if n > 1] != there:
        raise UnknownParameterError(
            f"{name}: is {list(tensor.shape)}, but {shape} at the target; export for this model's size"
        )
    if shape is None and "apart" in entry and not name.endswith("bias"):
        raise UnknownParameterError(
            f"{name}: the role {entry['role']} does not say its learning rate and decay ({entry['apart']}); "
            "map it to a parameter of the handover, such as blocks.*.mixer_norm.gain or readout.weight"
        )
    entry = entry if shape is not None else _by_its_role(name, tensor, entry, stored, handed)
    if stored.kept:
        return {**entry, "start": "kept"}
    if entry["start"] == "ones":
        return {**entry, "start": _gain_start(name, tensor, stored)}
    return entry


def _by_its_role(
    name: str, tensor: Tensor, entry: Mapping[str, Any], stored: Stored, handed: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The entry of a role, made sure to say how this parameter starts: biases at zero, a readout's without
    decay, as it is no matrix."""
    role, bias = entry["role"], tensor.dim() == 1 and name.endswith("bias")
    if bias:
        entry = {**entry, "start": "zeros", **({"weight_decay": 0.0} if role == Role.OUTPUT else {})}
    if stored.kept:
        return entry
    if tensor.dim() < 2 and not bias and role == Role.OUTPUT:
        raise UnknownParameterError(
            f"{name}: is {[*tensor.shape]}, no matrix and no bias, which the role output is for; map gains "
            "to vector"
        )
    one_row = tensor.dim() == 1 and not bias and role == Role.INPUT
    if tensor.dim() < 2 and role in OF_MATRICES and not one_row:
        raise UnknownParameterError(
            f"{name}: is {[*tensor.shape]}, no matrix, which the role {role} is for; map gains and biases to "
            "hidden vector inside blocks, to vector outside, a readout's bias to output"
        )
    if reason := _beyond_a_role(name, tensor, entry):
        one = f"a parameter of the handover, such as {ENDS}, or to " if ENDS in handed else ""
        raise UnknownParameterError(
            f"{name}: the role {role} does not say how it starts ({reason}); map it to {one}"
            f"Stored({role!r}, kept=True) for the model's own start"
        )
    return entry


def _gain_start(name: str, tensor: Tensor, stored: Stored) -> str:
    """Raises UnknownParameterError for a gain that the model itself starts at zero, unless it is said why."""
    if stored.zero_centred:
        return "zeros"
    if tensor.requires_grad and not tensor.is_meta and not tensor.detach().any():
        raise UnknownParameterError(
            f"{name}: is a gain, and all zeros in the model; where it multiplies by 1 + w map it to "
            f"Stored({stored.role!r}, zero_centred=True), else let it start at one"
        )
    return "ones"


def _beyond_a_role(name: str, tensor: Tensor, entry: Mapping[str, Any]) -> str | None:
    """Why a role alone would give a parameter a start that its handover does not."""
    if entry["role"] == Role.NARROW_VECTOR or name.rpartition(".")[2].lower() in DECAYS:
        return "decays and time steps are drawn"
    if entry["role"] in GAINS and (len(_axes(tensor)) > 1 or tensor.dim() == 0):
        return "a gain has one axis"
    if entry["role"] in (Role.HIDDEN, Role.EXPERT_OUT) and entry["init"] == "constant":
        return "gpt2 starts the ends of branches smaller"
    return None


def _must_be_the_target(
    found: Sequence[Assigned], names: Mapping[int, Sequence[str]], handover: Handed
) -> None:
    """Raises UnknownParameterError where roles alone are given and the model is of another width or depth."""
    by_role = [each for each in found if "pattern" not in each.entry]
    target = handover.get("target") or {}
    width, depth = target.get("width"), target.get("depth")
    for each in by_role if width is not None else ():
        role, shape = each.entry["role"], each.shape
        seen = shape if role in (Role.INPUT, Role.VECTOR) else shape[-1:] if role == Role.OUTPUT else ()
        if seen and width not in seen and not (role == Role.OUTPUT and len(shape) == 1):
            raise UnknownParameterError(
                f"{each.name}: is {list(each.tensor.shape)}, of no model of width {width}; export for this "
                "model's width"
            )
    held = [(each.name, names[id(each.tensor)]) for each in by_role if each.entry["role"] in INSIDE]
    blocks = block_count(held)
    if depth is not None and blocks is not None and blocks != depth:
        raise UnknownParameterError(
            f"the model has {blocks} blocks by its parameters' names, and the handover is for {depth}; "
            "export for this model's depth"
        )


def _must_be_tied_alike(
    found: Sequence[Assigned], names: Mapping[int, Sequence[str]], handover: Handed
) -> None:
    """Raises UnknownParameterError where the model shares what the handover has apart."""
    own = handover["parameters"]
    if handover.get("tied", bool(own) and "readout.weight" not in own):
        return
    for each in found:
        if len(shared := names[id(each.tensor)]) > 1 and each.entry["role"] in (Role.INPUT, Role.OUTPUT):
            raise UnknownParameterError(
                f"{' and '.join(shared)} are one, and the handover is of a model whose embedding and readout "
                "are two; untie them, or sweep with tied: true"
            )


def _drawn_as(name: str, entry: Mapping[str, Any]) -> str:
    """The name of its own parameter, wildcards filled with this one's indices in their order."""
    if "pattern" not in entry:
        return name
    indices = iter(part for part in name.split(".") if part.isdigit())
    return ".".join(next(indices, part) if part == "*" else part for part in entry["pattern"].split("."))
