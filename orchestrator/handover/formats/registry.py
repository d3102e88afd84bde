"""The formats of an export, by the names of the command line."""

from collections.abc import Callable

from ..export import ExportError
from .huggingface import as_hugging_face
from .megatron import as_megatron
from .nanogpt import as_nanogpt
from .plain import as_json, as_yaml
from .pytorch import as_pytorch
from .shared import Formatted, Handed
from .torchtitan import as_torchtitan

FORMATS: dict[str, Callable[[Handed], Formatted]] = {
    "yaml": as_yaml,
    "json": as_json,
    "pytorch": as_pytorch,
    "huggingface": as_hugging_face,
    "nanogpt": as_nanogpt,
    "torchtitan": as_torchtitan,
    "megatron": as_megatron,
}
WHOLE = ("yaml", "json")
"""Those that hold all of it, whatever the model."""


def export_text(handed: Handed, style: str, partial: bool = False) -> str:
    """Raises ExportError for what the framework has not; for what it cannot be told unless `partial`, which
    says it at the head."""
    formatted = FORMATS[style](handed)
    if not formatted.lost:
        return formatted.text
    if not partial:
        raise ExportError(
            f"{style} cannot be told: {'; '.join(formatted.lost)}; export json, which holds every value, or "
            "add --partial to leave that out"
        )
    return "".join(f"# left out: {what}\n" for what in formatted.lost) + formatted.text
