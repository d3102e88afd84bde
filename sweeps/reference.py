"""What is declared, as the documentation lists it.

python -m mutransfer.sweeps.reference          the fields: the table of docs/sweep-file.md
python -m mutransfer.sweeps.reference parts    the rest: the tables of docs/declarations.md
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..models.architectures.registry import ARCHITECTURES
from ..models.mixers.registry import MIXERS
from ..models.optimizers.optimizer import Optimizer
from ..models.optimizers.registry import OPTIMIZERS, optimizer_reads
from ..models.recipe.field import Age, Field
from ..models.recipe.group import SHARED
from ..models.recipe.identity import readers
from ..models.recipe.inventory import parameter_count
from ..models.recipe.recipe import FIELDS, recipe_from_point
from ..models.recipe.shape import SHAPE_FIELDS

HEADS = ("field", "default", "values", "what it is", "read by", "may be", "in a group", "before it")
REFERENCE = recipe_from_point({
    "architecture": "transformer", "width": 64, "depth": 4, "head_dim": 16, "sequence_length": 64,
    "vocab_size": 256, "parametrization": "sp", "optimizer": "adamw", "learning_rate": 0.01, "steps": 100,
    "batch_size": 16, "data": "reference",
})  # fmt: skip
MATRIX = (64, 128)
KINDS = {int: "integer", float: "number", bool: "true, false", str: "text"}


def fields_markdown() -> str:
    """One row for each field; some are decided elsewhere in the file."""
    return _table(HEADS, [_row(field) for field in FIELDS.values()])


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
    if field.required:
        return "required"
    by: dict[float, list[str]] = {}
    for name, held in OPTIMIZERS.items():
        if field.name in held.defaults:
            by.setdefault(held.defaults[field.name], []).append(name)
    others = [f"; {_word(value)} for {', '.join(names)}" for value, names in by.items()]
    return _word(field.default) + "".join(others)


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


def parts_markdown() -> str:
    """What else is declared, as docs/declarations.md lists it, with costs at one shape."""
    return "\n".join(f"## {title}\n\n{_table(heads, rows)}" for title, heads, rows in _parts())


def _parts() -> Iterator[tuple[str, tuple[str, ...], list[list[str]]]]:
    yield (
        "Mixers",
        ("mixer", "reads", "learnable multipliers", "both ways", "flops a token", "CPU seconds", "kernels",
         "kept numbers"),
        [
            [
                name, _names(mixer.reads), _placed(mixer.multiplied), _word(mixer.sees_ahead),
                f"{mixer.flops(REFERENCE.shape):,.0f}", f"{mixer.cpu_seconds:.2g}", str(mixer.gpu_launches),
                str(mixer.kept),
            ]
            for name, mixer in MIXERS.items()
        ],
    )  # fmt: skip
    yield (
        "Architectures",
        ("architecture", "mixers", "modules", "reads", "parameters"),
        [
            [name, ", ".join(held.module_names), ", ".join(held.module_names.values()), _names(held.reads),
             f"{parameter_count(replace(REFERENCE.shape, architecture=name)):,}"]
            for name, held in ARCHITECTURES.items()
        ],
    )  # fmt: skip
    yield (
        "Optimizers",
        ("optimizer", "reads", "acts on", "update", "exported as", "observes curvature",
         "flops of a matrix", "further passes", "numbers of a matrix"),
        [
            [
                name, _names(optimizer_reads(name)), "matrices" if held.matrices else "all",
                held.convention or "as usual", _exported(held), _word(held.observe is not None),
                f"{held.matrix_flops(REFERENCE, *MATRIX):,.0f}", f"{held.batch_flops(REFERENCE, 1.0):g}",
                f"{held.matrix_numbers(*MATRIX):,.0f}",
            ]
            for name, held in OPTIMIZERS.items()
        ],
    )  # fmt: skip


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join("| " + " | ".join(line) + " |\n" for line in (heads, ["---"] * len(heads), *rows))


def _names(fields: Iterable[str]) -> str:
    return ", ".join(sorted(fields))


def _placed(multiplied: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{module} {'+'.join(kinds)}" for module, kinds in multiplied.items())


def _exported(optimizer: Optimizer) -> str:
    return ", ".join(f"{name} ({framework})" for framework, name in optimizer.exported_as.items())


if __name__ == "__main__":
    print(parts_markdown() if sys.argv[1:] == ["parts"] else fields_markdown(), end="")
