"""Fields of a program of the user's that are none of ours: what they may be called, and hold."""

import math

from .words import GIVEN

LARGEST_INTEGER = 2**53  # exact in JSON and Parquet, whoever reads them
MEASURED = {
    "trial_id", "job_id", "sweep", "source", "status", "diverged_step", "pruned_step", "initial_loss", "loss",
    "accuracy", "train_loss", "seconds", "device",
}  # fmt: skip
"""Columns of the store that say what came of a trial (`results/store/schema.py`)."""
COUNTED = {"tokens", "parameters"}


def unfit_name(name: str) -> str | None:
    """Why a field of the user's cannot have this name."""
    if name in GIVEN:
        return f"is what {{{name}}} of the command stands for; give the field another name"
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
    if isinstance(value, str | bool | float) or (isinstance(value, int) and abs(value) <= LARGEST_INTEGER):
        return None
    return f"{value!r} is no text, number or truth"
