"""`like: llama` under `fixed`: the fields of a real model, where the file does not say otherwise."""

from collections.abc import Mapping
from typing import Any

from ..models.recipe.likes import LIKES
from .problem import Problem

KEY = "like"


def spelled_out(raw: Mapping[str, Any], problems: list[Problem]) -> Mapping[str, Any]:
    """The sweep file with the fields in place of the name; a problem more where nothing is called that."""
    fixed = raw.get("fixed")
    if not isinstance(fixed, Mapping) or KEY not in fixed or raw.get("program") is not None:
        return raw
    own = {name: value for name, value in fixed.items() if name != KEY}
    model = fixed[KEY]
    if not isinstance(model, str) or model not in LIKES:
        problems.append(Problem(("fixed", KEY), f"{model!r} is no model that is known: {', '.join(LIKES)}"))
        return {**raw, "fixed": own}
    said = {*own}
    search = raw.get("search")
    for place in (raw.get("axes"), search.get("space") if isinstance(search, Mapping) else None):
        said |= {*place} if isinstance(place, Mapping) else set()
    if "kv_heads" in said:
        said.add("queries_per_kv")
    return {**raw, "fixed": {**{n: v for n, v in LIKES[model].items() if n not in said}, **own}}
