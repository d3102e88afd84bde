"""The columns of the Parquet files, with their units: kept for years, so written down here and versioned.

A column is added, never renamed or reused; `SCHEMA_VERSION` stands in every file's metadata.
Losses are in nats per token. Missing values are null and `status` says why; NaN never appears.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ...models.recipe.field import Age
from ...models.recipe.recipe import FIELDS

SCHEMA_VERSION = 1
METADATA = {b"mutransfer.schema": str(SCHEMA_VERSION).encode()}

IDENTITY = [
    pa.field("trial_id", pa.string(), nullable=False),
    pa.field("job_id", pa.string()),
    pa.field("sweep", pa.string()),
    pa.field("source", pa.string()),  # where imported measurements come from; null for our own
    pa.field("recipe_version", pa.int64()),  # since which the point trains as it did; null where that was 1
]

ARROW = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}

POINT = [pa.field(name, ARROW.get(field.kind, pa.string())) for name, field in FIELDS.items()]
"""Every field of a recipe; what they mean is said where they are declared."""
POINT_NAMES = frozenset(FIELDS)

PRUNED = "pruned"
WAITING = "waiting"
"""Status of a row that has no measurement yet, and the loss of one in a table of suggestions: it says what
else there is to train."""

OUTCOME = [
    pa.field("status", pa.string(), nullable=False),  # finished | diverged | pruned
    pa.field("diverged_step", pa.int64()),
    pa.field("pruned_step", pa.int64()),  # steps done by a trial that was stopped early
    pa.field("initial_loss", pa.float64()),  # validation, untrained
    pa.field("loss", pa.float64()),  # validation, after the last step; null unless finished
    pa.field("accuracy", pa.float64()),  # validation, of labelled positions; null where labels are numbers
    pa.field("train_loss", pa.float64()),  # of the last batch
    pa.field("busiest_expert", pa.float64()),  # its load over an average one's, validation, mean over blocks
]

OUTCOMES = frozenset(field.name for field in OUTCOME)

COST = [
    pa.field("parameters", pa.int64()),
    pa.field("tokens", pa.int64()),  # trained on
    pa.field("flops", pa.float64()),  # of training, counted from the shape
    pa.field("seconds", pa.float64()),  # the trial's share of its group's wall time
    pa.field("device", pa.string()),
]

ROWS = pa.schema([*IDENTITY, *POINT, *OUTCOME, *COST], metadata=METADATA)

BUDGETS = {"parameters", "tokens", "flops"}
"""What a training is made of. Follows from the rest for trials of our own; where others trained, a budget
may be what tells trials apart."""

COORDINATE = {b"mutransfer.coordinate": b"1"}
"""Metadata of a column that tells trials apart and is no field of a recipe: another program's coordinate."""


def rows_schema(points: Sequence[Mapping[str, object]]) -> pa.Schema:
    """The columns of rows at these points, each typed by all its values; integers beside numbers are numbers.
    Fields of a recipe that no point has are left out: reading gives them, empty.

    Raises ValueError, naming the coordinate, for values that no one column holds, and for a name that means
    something else here.
    """
    names, further = dict.fromkeys(name for point in points for name in point), []
    for name in names:
        if name in POINT_NAMES or name in BUDGETS:
            continue
        if name in ROWS.names:
            raise ValueError(f"{name}: is a column of what came of a trial; give the coordinate another name")
        kinds = {type(value) for point in points if (value := point.get(name)) is not None}
        if kinds == {int, float}:
            kinds = {float}
        if len(kinds) > 1 or not kinds <= {*ARROW}:
            told = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise ValueError(f"{name}: no column holds {told}; give texts, numbers or truths alone")
        kind = ARROW[kinds.pop()] if kinds else pa.null()
        further.append(pa.field(name, kind, metadata=COORDINATE))
    ours = [field for field in POINT if field.name in names]
    return pa.schema([*IDENTITY, *ours, *OUTCOME, *COST, *further], metadata=METADATA)


def coordinate_names(table: pa.Table) -> list[str]:
    """The columns that may tell the trials of a table apart: ours, and other programs' coordinates. What an
    import brought along is none."""
    further = [field.name for field in table.schema if (field.metadata or {}).items() >= COORDINATE.items()]
    return [*ROWS.names, *further]


BEFORE: dict[str, Any] = {
    name: field.setting.before
    for name, field in FIELDS.items()
    if not isinstance(field.setting.before, Age) and field.setting.before is not None
} | {"recipe_version": 1}
"""What rows that are older than a column, and have null there, were trained with."""

UNKNOWN_BEFORE = {name for name, field in FIELDS.items() if field.setting.before is Age.UNKNOWN}
"""Columns that older rows do not have and do not miss: they may not split a sweep that has gained points."""

CURVES = pa.schema(
    [
        pa.field("trial_id", pa.string(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),  # 0 is the first optimizer step
        pa.field("tokens", pa.int64()),  # seen, this step's included
        pa.field("train_loss", pa.float64()),
        pa.field("eval_loss", pa.float64()),  # null where it was not evaluated
        pa.field("learning_rate", pa.float64()),  # base value times the schedule
        pa.field("gradient_norm", pa.float64()),  # before clipping
    ],
    metadata=METADATA,
)
