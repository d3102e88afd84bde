"""Batch and duration in tokens: what a sweep file may give in place of `batch_size` and `steps`."""

from collections.abc import Collection, Mapping
from typing import Any

from ..models.recipe.field import POSITIVE, Field, Setting
from ..models.recipe.inventory import parameter_count
from ..models.recipe.recipe import EXPERTS
from ..models.recipe.shape import SHAPE_FIELDS, Shape

TOKEN_FIELDS: dict[str, Field] = {
    name: Field(name, kind, nullable=False, default=None, setting=Setting(says, POSITIVE))
    for name, kind, says in (
        ("tokens", int, "trained on; gives steps"),
        ("tokens_per_parameter", float, "tokens for each parameter, rounded to whole steps; gives steps"),
        ("batch_tokens", int, "in a batch; gives batch_size"),
    )
}
INSTEAD: Mapping[str, tuple[str, ...]] = {
    "steps": ("tokens", "tokens_per_parameter"),
    "batch_size": ("batch_tokens",),
}
"""What may be given in place of a field."""


def in_place_of(name: str, given: Collection[str]) -> str | None:
    """What is given in place of a field, if anything."""
    return next((other for other in INSTEAD.get(name, ()) if other in given), None)


def counted(point: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The point with batch size and steps in place of tokens; with the prefix `base_`, those of the base,
    whose shape is the point's at its base's sizes.

    Raises ValueError, naming the field, for tokens that make no whole number of sequences or batches.
    """
    known = {name: value for name, value in point.items() if name.removeprefix(prefix) not in TOKEN_FIELDS}
    given = {name: point[prefix + name] for name in TOKEN_FIELDS if point.get(prefix + name) is not None}
    label = "base." if prefix else ""
    if (tokens := given.get("batch_tokens")) is not None:
        known[prefix + "batch_size"] = _whole(
            label + "batch_tokens", tokens, point["sequence_length"], "sequences"
        )
    if not given.keys() & {*INSTEAD["steps"]} or known.get(prefix + "batch_size") is None:
        return known
    batch = known[prefix + "batch_size"] * point["sequence_length"]
    if (tokens := given.get("tokens")) is not None:
        known[prefix + "steps"] = _whole(label + "tokens", tokens, batch, "batches")
        return known
    sizes = {name: value for name, value in known.items() if name in SHAPE_FIELDS}
    if prefix:
        names = ("width", "depth", *(EXPERTS if point.get("experts", 1) > 1 else ()))
        of_base = {name: point.get(prefix + name) for name in names}
        sizes |= {name: value for name, value in of_base.items() if value is not None}
    try:
        shape = Shape(**sizes)
    except ValueError as error:
        raise ValueError(f"{label}{error}") from None
    tokens = given["tokens_per_parameter"] * parameter_count(shape)
    known[prefix + "steps"] = max(1, round(tokens / batch))
    return known


def at_scale(
    point: Mapping[str, Any], parameters: int, axis: str, scale: float, duration: str
) -> dict[str, Any]:
    """What changes where a proxy's axis has another value: of a batch, the steps too, where `duration` is not
    in steps; of a size, steps stay, since its parameters are not known here."""
    if axis in ("tokens", "tokens_per_parameter"):
        tokens = scale * (1 if axis == "tokens" else parameters)
        return {"steps": max(1, round(tokens / (point["batch_size"] * point["sequence_length"])))}
    changed = {axis: type(point[axis])(scale)}
    if axis == "batch_size" and duration != "steps":
        changed["steps"] = max(1, round(point["steps"] * point["batch_size"] / scale))
    return changed


def _whole(label: str, tokens: int, part: int, parts: str) -> int:
    count, rest = divmod(tokens, part)
    if rest or not count:
        near = max(1, round(tokens / part)) * part
        raise ValueError(f"{label}: {tokens} is no whole number of {parts} of {part} tokens; {near} is")
    return count
