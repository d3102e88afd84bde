"""An export as the text of one format."""

import importlib
from collections.abc import Callable

from ....models.handover.values import Handed
from ..fault import ExportError
from .registry import FORMATS
from .shared import Formatted


def export_text(handed: Handed, style: str, partial: bool = False) -> str:
    """Raises ExportError for what the framework has not; for what it cannot be told unless `partial`, which
    says it at the head."""
    kind = FORMATS[style]
    if kind.dense and handed.get("model", {}).get("experts", 1) > 1:
        raise ExportError(
            f"{style}: no model with experts is known; export huggingface, pytorch, yaml or json"
        )
    module = importlib.import_module(f".{kind.module}", __package__)
    write: Callable[[Handed], Formatted] = getattr(module, kind.function)
    formatted = write(handed)
    if not formatted.lost:
        return formatted.text
    if not partial:
        raise ExportError(
            f"{style} cannot be told: {'; '.join(formatted.lost)}; export json, which holds every value, or "
            "add --partial to leave that out"
        )
    return "".join(f"# left out: {what}\n" for what in formatted.lost) + formatted.text
