"""Fields of a program of the user's that are none of ours: what they may be called, and hold."""

import math
from collections.abc import Sequence

from .words import GIVEN

LARGEST_INTEGER = 2**53  # exact in JSON and Parquet, whoever reads them
MEASURED = {
    "trial_id", "job_id", "sweep", "source", "recipe_version", "status", "diverged_step", "pruned_step",
    "initial_loss", "loss", "accuracy", "train_loss", "busiest_expert", "seconds", "device",
}  # fmt: skip
"""Columns of the store that say what came of a trial (`results/store/schema.py`)."""
COUNTED = {"tokens", "parameters"}
HELPERS = {
    "id", "point", "base", "get", "report", "finish", "handover", "should_stop",
}  # fmt: skip
"""What is no field of `mutransfer.trial()` (`models/handover/trial.py`), beside GIVEN."""
KEY = "program"
"""Where a trial's identity holds its program."""


def unfit_name(name: str) -> str | None:
    """Why a field of the user's cannot have this name."""
    if name in GIVEN:
        return f"is what {{{name}}} of the command stands for; give the field another name"
    if name in HELPERS:
        return f"is what trial.{name} of the helper is; give the field another name"
    if name == KEY:
        return "is the section of the program; give the field another name"
    if name in MEASURED:
        return "is a column of what came of a trial; give the field another name"
    return None if name.isidentifier() else "cannot name a field; use letters, digits and '_'"


def unfit_value(name: str, value: object) -> str | None:
    """What is wrong with a value of such a field, or None."""
    if name in COUNTED or name == "flops":
        fits = isinstance(value, int if name in COUNTED else int | float) and not isinstance(value, bool)
        if not fits or not value > 0:  # type: ignore[operator]
            return f"{value!r} is no positive {'integer' if name in COUNTED else 'number'}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value!r} is not a finite number"
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        return f"{value!r:.40} is larger than 2^53, beyond which not all readers are exact; give it as a text"
    if isinstance(value, str) and ("\0" in value or _unwritable(value)):
        return f"{value!r} holds a character that no command can be given"
    return None if isinstance(value, str | bool | float | int) else f"{value!r} is no text, number or truth"


def unlike(values: Sequence[object]) -> str | None:
    """Why the values of one field cannot be one column, if so: kinds are texts, numbers and truths."""
    kinds = {_kind(value): value for value in reversed(values)}
    if len(kinds) < 2:
        return None
    told = " and ".join(f"{kind}s ({value!r})" for kind, value in reversed(kinds.items()))
    return f"mixes {told}; give all as one kind: in quotes they are texts"


def _kind(value: object) -> str:
    return "truth" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"


def _unwritable(text: str) -> bool:
    """A lone surrogate is no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
