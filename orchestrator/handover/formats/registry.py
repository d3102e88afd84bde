"""The formats of an export, by the names of the command line."""

import importlib
from collections.abc import Callable

from ....models.handover.values import Handed
from ..fault import ExportError
from .shared import Formatted

FORMATS: dict[str, tuple[str, str]] = {
    "yaml": ("plain", "as_yaml"),
    "json": ("plain", "as_json"),
    "pytorch": ("pytorch", "as_pytorch"),
    "huggingface": ("huggingface", "as_hugging_face"),
    "nanogpt": ("nanogpt", "as_nanogpt"),
    "torchtitan": ("torchtitan", "as_torchtitan"),
    "megatron": ("megatron", "as_megatron"),
}
"""Modules and their functions, loaded when they are asked for: some need torch."""
WHOLE = ("yaml", "json")
"""Those that hold all of it, whatever the model."""
DENSE = ("nanogpt", "torchtitan", "megatron")
"""Those whose models have an MLP in every block."""


def export_text(handed: Handed, style: str, partial: bool = False) -> str:
    """Raises ExportError for what the framework has not; for what it cannot be told unless `partial`, which
    says it at the head."""
    if style in DENSE and handed.get("model", {}).get("experts", 1) > 1:
        raise ExportError(
            f"{style}: no model with experts is known; export huggingface, pytorch, yaml or json"
        )
    module, name = FORMATS[style]
    write: Callable[[Handed], Formatted] = getattr(importlib.import_module(f".{module}", __package__), name)
    formatted = write(handed)
    if not formatted.lost:
        return formatted.text
    if not partial:
        raise ExportError(
            f"{style} cannot be told: {'; '.join(formatted.lost)}; export json, which holds every value, or "
            "add --partial to leave that out"
        )
    return "".join(f"# left out: {what}\n" for what in formatted.lost) + formatted.text
