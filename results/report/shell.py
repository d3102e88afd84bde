"""What every page shares: one self-contained HTML file that draws its pictures without any request."""

import html
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import vl_convert


def shell(title: str, body: str, pictures: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page. `body` is HTML; a picture is drawn into the element whose id is its stem."""
    parts = {
        "title": html.escape(title),
        "style": _text("page.css"),
        "body": body,
        "specs": json.dumps(pictures).replace("<", "\\u003c"),
        "library": _library(),
    }
    return filled("shell.html", parts)


def filled(template: str, parts: Mapping[str, str]) -> str:
    """A template with its placeholders replaced, in one pass: what is put in is never searched for them."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _text(template))


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _library() -> str:
    """Vega, Vega-Lite and vega-embed; without a snippet of its own the bundle sets window.vegaEmbed."""
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    # Nothing but the end tag can end the script; any other "</" may be part of a regular expression.
    return bundle.replace("</script", "<\\/script")
