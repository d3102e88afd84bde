"""Declarations are the one place where a fact stands: what is made of them, and that nothing is left over."""

from pathlib import Path

import pytest

from mutransfer.models.architectures.registry import ARCHITECTURES
from mutransfer.models.mixers.registry import MIXERS
from mutransfer.models.optimizers.registry import BESIDE, OPTIMIZERS, PAIRING, optimizer_reads
from mutransfer.models.recipe.identity import readers
from mutransfer.models.recipe.recipe import FIELDS, RECIPE_FIELDS
from mutransfer.models.recipe.shape import SHAPE_FIELDS
from mutransfer.results.store.schema import BUDGETS, CURVES, POINT_NAMES, ROWS
from mutransfer.sweeps.command.fields import COUNTED, MEASURED
from mutransfer.sweeps.reference import fields_markdown, parts_markdown

DOCS = Path(__file__).parent.parent / "docs"
COLUMNS = Path(__file__).parent / "stored" / "columns.txt"


def test_the_docs_page_is_the_declarations() -> None:
    """Mend it with: python -m mutransfer.sweeps.reference, in place of the page's table."""
    assert fields_markdown() in (DOCS / "sweep-file.md").read_text()


def test_the_page_of_declarations_is_the_declarations() -> None:
    """Mend it with: python -m mutransfer.sweeps.reference parts, below the page's own words."""
    assert (DOCS / "declarations.md").read_text().endswith(parts_markdown())


def test_who_reads_a_field_names_one() -> None:
    assert {*readers()} <= {*FIELDS}
    of_mixers = set().union(*(mixer.reads for mixer in MIXERS.values()))
    assert of_mixers <= {*SHAPE_FIELDS} | {"attention_multiplier"}
    assert PAIRING | set().union(*(o.reads for o in OPTIMIZERS.values())) <= {*RECIPE_FIELDS}
    assert all(architecture.reads <= {*FIELDS} for architecture in ARCHITECTURES.values())


def test_a_matrix_optimizer_reads_what_adamw_beside_it_reads() -> None:
    for name, optimizer in OPTIMIZERS.items():
        beside = OPTIMIZERS[BESIDE].reads | PAIRING
        assert (beside <= optimizer_reads(name)) == optimizer.matrices or name == BESIDE


@pytest.mark.parametrize("name", FIELDS)
def test_a_default_is_allowed_by_its_own_declaration(name: str) -> None:
    field = FIELDS[name]
    assert field.required or field.fault(field.default) is None
    assert field.setting.says
    assert not (field.setting.tuned and field.setting.searched), "tuned ones are searched anyway"


@pytest.mark.parametrize(
    ("field", "own"), [("architecture", "package.module:build"), ("parametrization", "mine@0123abcd")]
)
def test_a_name_of_a_registry_or_of_the_users_own(field: str, own: str) -> None:
    registries = [name for name, declared in FIELDS.items() if declared.setting.choices is not None]
    assert [name for name in registries if FIELDS[name].chosen(own)] == [field]
    assert "is not one of" in (FIELDS[field].fault("package.module") or "")


def test_columns_are_added_and_never_renamed() -> None:
    """Mend it, where one was added, with: python tests/test_declarations.py."""
    assert columns() == COLUMNS.read_text()


def test_a_field_of_a_program_cannot_be_called_like_an_outcome() -> None:
    """The sweep file refuses what the store would."""
    assert {*ROWS.names} - POINT_NAMES - BUDGETS == MEASURED
    assert {*COUNTED, "flops"} == BUDGETS


def columns() -> str:
    return "".join(f"{column.name} {column.type}\n" for column in (*ROWS, *CURVES))


if __name__ == "__main__":
    COLUMNS.write_text(columns())
