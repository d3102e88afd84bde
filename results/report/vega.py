"""Vega, Vega-Lite and vega-embed as one script, for pages that draw their pictures without any request.

Bundling it takes seconds, so it is kept in the user's cache, under the version and the digest of its bytes.
"""

import hashlib
import os
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import vl_convert

from ...models.files.place import replace


def script() -> str:
    """Without a snippet of its own the bundle sets window.vegaEmbed."""
    folder, start = _cache(), f"vega-{version('vl-convert-python')}"
    for path in folder.glob(f"{start}-*.js") if folder else ():
        with suppress(OSError):
            held = path.read_bytes()
            if path.name == _name(start, held):
                return held.decode()
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    # Nothing but the end tag can end the script; any other "</" may be part of a regular expression.
    text = bundle.replace("</script", "<\\/script")
    with suppress(OSError):  # of a home that cannot be written to
        if folder:
            replace(folder / _name(start, text.encode()), text.encode())
    return text


def _cache() -> Path | None:
    """None for a user without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "mutransfer")
    except RuntimeError:
        return None


def _name(start: str, content: bytes) -> str:
    return f"{start}-{hashlib.sha256(content).hexdigest()[:16]}.js"
