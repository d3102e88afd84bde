"""The fields of a sweep file as docs/sweep-file.md lists them, from their declarations.

python -m mutransfer.sweeps.reference      prints the table
"""

from ..models.recipe.field import Age, Field
from ..models.recipe.group import SHARED
from ..models.recipe.identity import readers
from ..models.recipe.recipe import FIELDS
from ..models.recipe.shape import SHAPE_FIELDS

HEADS = ("field", "default", "values", "what it is", "read by", "may be", "in a group", "before it")
KINDS = {int: "integer", float: "number", bool: "true, false", str: "text"}


def fields_markdown() -> str:
    """One row for each field; some are decided elsewhere in the file."""
    lines = [HEADS, ["---"] * len(HEADS), *(_row(field) for field in FIELDS.values())]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _row(field: Field) -> list[str]:
    setting = field.setting
    read_by = readers().get(field.name)
    return [
        f"`{field.name}`",
        _default(field),
        _values(field),
        setting.says,
        "all" if read_by is None else ", ".join(read_by),
        _uses(field),
        "one" if field.name in SHAPE_FIELDS or field.name in SHARED else "any",
        _before(setting.before),
    ]


def _default(field: Field) -> str:
    if field.setting.decided_by is not None:
        return f"by `{field.setting.decided_by}`"
    return "required" if field.required else _word(field.default)


def _values(field: Field) -> str:
    if field.listed is not None:
        return ", ".join(field.listed)
    bounds = field.setting.bounds
    return KINDS[field.kind] + ("" if bounds is None else f" {bounds.told}")


def _uses(field: Field) -> str:
    """What it may be beside a value or an axis; and whether some values of others make it do nothing."""
    setting = field.setting
    uses = [
        name
        for name, holds in (
            ("scale", setting.scale),
            ("hyperparameter", setting.tuned),
            ("searched", setting.tuned or setting.searched),
            ("idle", setting.idle is not None),
        )
        if holds
    ]
    return ", ".join(uses)


def _before(value: object) -> str:
    if value is Age.FIRST:
        return ""
    return "not said" if value is Age.UNKNOWN else _word(value)


def _word(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    print(fields_markdown(), end="")
