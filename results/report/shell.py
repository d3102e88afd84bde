"""What every page shares: one self-contained HTML file that draws its pictures without any request."""

import html
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

from ...models.files.place import replace
from . import vega
from .drawing import drawn


def write_page(
    folder: Path, texts: Mapping[str, str], pictures: Mapping[str, Mapping[str, Any]]
) -> list[Path]:
    """Writes the texts, of which the first is the page, and each picture beside it, as PNG and SVG; returns
    the paths in that order."""
    held = {name: text.encode() for name, text in texts.items()}
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(drawn, pictures.values()))
    for stem, (svg, png) in zip(pictures, made, strict=True):
        held |= {f"{stem}.png": png, f"{stem}.svg": svg.encode()}
    for name, content in held.items():
        replace(folder / name, content, sync=False)
    return [folder / name for name in held]


def figures(pictures: Mapping[str, Mapping[str, Any]]) -> str:
    """An empty element for each picture, for `shell` to draw it in."""
    return "\n".join(f'<figure class="chart" id="{html.escape(stem)}"></figure>' for stem in pictures)


def shell(title: str, body: str, pictures: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page. `body` is HTML; a picture is drawn into the element whose id is its stem."""
    parts = {
        "title": html.escape(title),
        "style": _text("page.css"),
        "body": body,
        "specs": json.dumps(pictures).replace("<", "\\u003c"),
        "library": vega.script(),
    }
    return filled("shell.html", parts)


def filled(template: str, parts: Mapping[str, str]) -> str:
    """A template with its placeholders replaced, in one pass: what is put in is never searched for them."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _text(template))


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
