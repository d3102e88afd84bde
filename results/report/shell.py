"""What every page shares: one self-contained HTML file that draws its pictures without any request."""

import html
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

from . import vega
from .drawing import drawn


def write_page(folder: Path, name: str, page: str, pictures: Mapping[str, Mapping[str, Any]]) -> list[Path]:
    """Writes the page and each picture beside it, as PNG and SVG; returns the paths, the page first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(page, encoding="utf-8")
    written = [folder / name]
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(drawn, pictures.values()))
    for stem, (svg, png) in zip(pictures, made, strict=True):
        (folder / f"{stem}.png").write_bytes(png)
        (folder / f"{stem}.svg").write_text(svg, encoding="utf-8")
        written += [folder / f"{stem}.png", folder / f"{stem}.svg"]
    return written


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
