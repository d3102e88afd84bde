"""What parameters of a model are called: without what wraps it, by all their owners, and in which block."""

from collections.abc import Sequence

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from .scaled_weight import Multiplied

ORIGINAL, HELD = ".parametrizations.weight.original", ".parametrizations.weight.0."
"""What torch calls a weight with a parametrization, and what that holds: with ours it is the weight still."""
REWRITTEN, REWRITING = ("_orig", "_g", "_v"), {"SpectralNorm", "WeightNorm"}
"""What hooks of torch.nn.utils call a parameter out of which they make another, and their classes."""
COMPILED = "_orig_mod"
"""What torch.compile calls the module that it wraps."""
WRAPPERS = {COMPILED, "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What torch.compile, FSDP and activation checkpointing put into the names of parameters."""


def plain_name(name: str, model: nn.Module) -> str:
    """What a parameter would be called in the model as it was written: without what wraps it."""
    kept: list[str] = []
    module: object = model
    for part in name.split("."):
        wrapped = isinstance(module, nn.parallel.DistributedDataParallel) and part == "module"
        if not wrapped and part not in WRAPPERS:
            kept.append(part)
        module = getattr(module, part, None)
    plain = ".".join(kept)
    if (ORIGINAL in plain or HELD in plain) and not rewritten_by(name, model):
        return plain.replace(ORIGINAL, ".weight").replace(HELD, ".")
    return plain


def rewritten_by(name: str, model: nn.Module) -> str | None:
    """What makes another weight out of a parameter, as torch's spectral_norm does, by its class: of a
    parametrization, or of the hook that older ones leave."""
    module: object = model
    for part in name.split("."):
        if isinstance(module, ParametrizationList):
            return next((type(one).__name__ for one in module if not isinstance(one, Multiplied)), None)
        if part.endswith(REWRITTEN) and isinstance(module, nn.Module):
            hooks = (type(hook).__name__ for hook in module._forward_pre_hooks.values())
            return next((kind for kind in hooks if kind in REWRITING), None)
        module = getattr(module, part, None)
    return None


def held_names(model: nn.Module) -> dict[str, str]:
    """What each parameter is called in the model as it is, by its plain name."""
    return {plain_name(name, model): name for name, _ in model.named_parameters()}


def multiplied_weight(name: str, model: nn.Module) -> str | None:
    """The weight that a parameter multiplies, by its name in the model; None for any other parameter."""
    module, held, _ = name.partition(HELD)
    return plain_name(f"{module}.weight", model) if held else None


def modules_of_tensors(model: nn.Module) -> dict[int, list[nn.Module]]:
    """The modules that have a parameter as their own, by its identity: several where it is tied. What torch
    parametrizes is that of the module around."""
    found: dict[int, list[nn.Module]] = {}
    for name, module in model.named_modules():
        around = name.partition(".parametrizations.")[0]
        for tensor in module.parameters(recurse=False):
            found.setdefault(id(tensor), []).append(model.get_submodule(around))
    return found


def owners(model: nn.Module) -> dict[int, list[str]]:
    """The names of every parameter, by identity; a tied one has several."""
    found: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.setdefault(id(parameter), []).append(plain_name(name, model))
    return found


def _index(name: str) -> int | None:
    """The place of the first index in a name."""
    return next((place for place, part in enumerate(name.split(".")) if part.isdigit()), None)


def _list_of(name: str) -> str:
    return ".".join(name.split(".")[: _index(name)])


BLOCKS = frozenset({"blocks", "layers", "h", "resblocks"})
"""What stages call their blocks."""


def block_count(parameters: Sequence[tuple[str, Sequence[str]]]) -> int | None:
    """How many blocks hold parameters, each with its name and those of all its owners: names up to their
    first index, which counts from zero; None where it does not.

    A block that a list holds several times counts as often; another name of the list does not. Lists of
    single layers are blocks where nothing else is. Where a list holds nothing but stages, lists of blocks
    that are alike, those are the blocks.
    """
    held = [name for first, several in parameters for name in several if _list_of(name) == _list_of(first)]
    nested = [name for name in held if (index := _index(name)) is not None and index < name.count(".") - 1]
    found: dict[str, set[int]] = {}
    for list_, index in _staged(nested) or map(_indexed, nested or held):
        if index is not None:
            found.setdefault(list_, set()).add(index)
    counts = [len(indices) for indices in found.values()]
    contiguous = all(indices == set(range(len(indices))) for indices in found.values())
    return sum(counts) if counts and contiguous else None


def _indexed(name: str) -> tuple[str, int | None]:
    """The list that holds it, and where."""
    place = _index(name)
    return _list_of(name), None if place is None else int(name.split(".")[place])


def _staged(nested: Sequence[str]) -> list[tuple[str, int | None]]:
    """Of names that all have a second index in a list of blocks, by its name and by blocks that hold the
    same: the list that counts by that."""
    found: list[tuple[str, int | None]] = []
    held: dict[tuple[str, int], set[str]] = {}
    for name in nested:
        outer = ".".join(name.split(".")[: (_index(name) or 0) + 1])
        inner = name.removeprefix(f"{outer}.")
        list_, index = _indexed(inner)
        rest = inner.removeprefix(f"{list_}.{index}.")
        if index is None or list_.rpartition(".")[2] not in BLOCKS or "." not in rest:
            return []
        found.append((f"{outer}.{list_}", index))
        held.setdefault((f"{outer}.{list_}", index), set()).add(rest)
    alike = len({frozenset(rests) for rests in held.values()}) == 1
    return found if alike else []
