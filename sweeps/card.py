"""What a GPU can do, as three rates: those of one H200, or those that were measured here and kept."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..models.data.cache import cache_folder
from ..models.files.place import beside


@dataclass(frozen=True, slots=True)
class Card:
    """Seconds that a recorded operation takes at least, bytes a second that are read and written, and
    floating-point operations a second of a large product by precision."""

    name: str
    launch_seconds: float
    bytes_per_second: float
    flops: Mapping[str, float]

    @property
    def told(self) -> str:
        return f"an {self.name}" if self is H200 else f"this {self.name}"


H200 = Card(
    "NVIDIA H200", 1.2e-6, 4.25e12, {"float32": 51e12, "tf32": 434e12, "bf16": 804e12, "fp16": 804e12}
)
"""Measured (benchmarks/results/gpu-h200.md)."""


def card_named(name: str) -> Card:
    """What was measured of it here (`doctor --measure`), or an H200's rates."""
    return _kept().get(name, H200)


def keep_card(card: Card) -> Path:
    """Writes it beside the others; returns the file."""
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with beside(file) as scratch:
        held = {**_kept(), card.name: card}
        scratch.write_text(json.dumps([asdict(each) for each in held.values()], indent=1))
        os.replace(scratch, file)
    return file


def _file() -> Path:
    return cache_folder() / "cards.json"


def _kept() -> dict[str, Card]:
    """By name; none where there is no such file, or one of another version."""
    try:
        cards = [Card(**held) for held in json.loads(_file().read_text())]
    except (OSError, ValueError, TypeError):
        return {}
    return {card.name: card for card in cards}
