"""The architectures, by the names that sweep files use; those of the user's own, as they are made known."""

from typing import TYPE_CHECKING

from .architecture import Architecture
from .built.architecture import BuiltArchitecture
from .stack import Stack

if TYPE_CHECKING:
    from ..recipe.shape import Shape

ARCHITECTURES: dict[str, Architecture] = {
    "transformer": Stack(("attention",)),
    "gdn": Stack(("gdn",)),
    "mamba2": Stack(("mamba2",)),
    "gdn-hybrid": Stack(("gdn", "attention"), interleaved=True),
    "mamba2-hybrid": Stack(("mamba2", "attention"), interleaved=True),
    "parallel-hybrid": Stack(("attention", "mamba2")),  # Falcon-H1, arXiv:2507.22448
}

BUILT: dict[tuple[str, str], BuiltArchitecture] = {}
"""Those that a sweep file or a job has made known to this process, by name and code."""


def make_known(architecture: BuiltArchitecture) -> str:
    """Its code, by which, with its name, it is found from now on."""
    BUILT[architecture.name, architecture.code] = architecture
    return architecture.code


def make_known_as_recorded(architecture: BuiltArchitecture) -> None:
    """By a job of before: where the same code is known already, it may have moved since."""
    BUILT.setdefault((architecture.name, architecture.code), architecture)


def architecture_of(shape: "Shape") -> Architecture:
    """Raises ValueError as `architecture_named`."""
    return architecture_named(shape.architecture, shape.code)


def architecture_named(name: str, code: str | None) -> Architecture:
    """Raises ValueError, naming the field, for one that is not known; `code` is that of a builder's."""
    if code is None and name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if code is not None and (name, code) in BUILT:
        return BUILT[name, code]
    raise ValueError(f"architecture: {name} is a builder that nothing here says where to find")
