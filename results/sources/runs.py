"""Runs of trackers: those that finished are taken, the others are counted by how they stand."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import pandas as pd

from .fault import ImportFault

FINISHED = "finished"
LEFT_OUT = "left out"
"""The attribute of a frame that counts the runs that are not in it, by state."""


def frame_of(
    runs: Iterable[tuple[str, Mapping[str, object]]], include: Collection[str], source: object
) -> pd.DataFrame:
    """A row for each run, given as its state and its cells, that finished or whose state is included.

    Raises ImportFault where none is left, or a state that is asked for is no run's.
    """
    rows, left_out = [], Counter[str]()
    for state, row in runs:
        if state == FINISHED or state in include:
            rows.append(row)
        else:
            left_out[state] += 1
        if state in include:
            left_out[state] += 0
    if unknown := sorted({*include} - {*left_out}):
        there = f"there are {', '.join(sorted(left_out))} runs" if left_out else "all runs have finished"
        raise ImportFault(f"{source}: --include {unknown[0]}: no run is {unknown[0]}; {there}")
    left_out += Counter()
    if not rows and left_out:
        raise ImportFault(f"{source}: no run has finished: {told(left_out)}")
    frame = pd.DataFrame(rows)
    frame.attrs[LEFT_OUT] = dict(left_out)
    return frame


def told(left_out: Mapping[str, int]) -> str:
    """How many were left out, and how to take them."""
    counts = ", ".join(f"{count} {state}" for state, count in sorted(left_out.items()))
    return f"{counts} left out; --include {sorted(left_out)[0]} takes them"
