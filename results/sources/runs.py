"""Runs of trackers: those that finished are taken, the others are counted by how they stand."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import pandas as pd

from .fault import ImportFault
from .table import LINES

FINISHED = "finished"
STATES = {
    FINISHED,
    "diverged",
    "running",
    "failed",
    "crashed",
    "killed",
    "preempted",
    "pruned",
    "scheduled",
    "pending",
}
FOLDERS = "folders"
"""The attribute of a frame that tells the column of a name with its folder."""
LEFT_OUT = "left out"
"""The attribute of a frame that counts the runs that are not in it, by state."""


def frame_of(
    runs: Iterable[tuple[str, Mapping[str, object]]], include: Collection[str], source: object
) -> pd.DataFrame:
    """A row for each run, given as its state and its cells, that finished or whose state is included.

    Raises ImportFault where none is left, or a state that is asked for is no run's.
    """
    runs = list(runs)
    taken, left_out = _taken([state for state, _ in runs], include, source)
    frame = pd.DataFrame([row for (_, row), mine in zip(runs, taken, strict=True) if mine])
    frame.attrs[LEFT_OUT] = left_out
    return frame


def _taken(
    states: Sequence[str], include: Collection[str], source: object
) -> tuple[list[bool], dict[str, int]]:
    """Which runs count, and the others by state. Raises ImportFault."""
    taken = [state == FINISHED or state in include for state in states]
    others = {*states} - {FINISHED}
    if unknown := sorted({*include} - others):
        there = f"there are {', '.join(sorted(others))} runs" if others else "all runs have finished"
        raise ImportFault(f"{source}: --include {unknown[0]}: no run is {unknown[0]}; {there}")
    left_out = dict(Counter(state for state, mine in zip(states, taken, strict=True) if not mine))
    if left_out and not any(taken):
        raise ImportFault(f"{source}: no run has finished: {told(left_out)}")
    return taken, left_out


def named_apart(
    runs: Sequence[tuple[str, Mapping[str, object], Mapping[str, object], Mapping[str, object]]],
    folders: tuple[str, str],
    include: Collection[str],
    source: object,
) -> pd.DataFrame:
    """`frame_of` runs given as state, cells of their own, what was configured and what was measured.

    A name that both have is told apart by its folder, `config.loss` and `summary.loss`; every other name may
    be given with its folder, too.
    """
    configured = {name for _, _, one, _ in runs for name in one}
    measured = {name for _, _, _, one in runs for name in one}
    both = configured & measured
    rows = []
    for state, own, *parts in runs:
        cells = {**own}
        for folder, values in reversed([*zip(folders, parts, strict=True)]):
            cells |= {f"{folder}.{name}" if name in both else name: value for name, value in values.items()}
        rows.append((state, cells))
    frame = frame_of(rows, include, source)
    frame.attrs[FOLDERS] = {
        f"{folder}.{name}": name
        for folder, names in zip(folders, (configured, measured), strict=True)
        for name in names - both
    }
    return frame


def told(left_out: Mapping[str, int]) -> str:
    """How many were left out, and how to take them."""
    counts = ", ".join(f"{count} {state}" for state, count in sorted(left_out.items()))
    return f"{counts} left out; --include {sorted(left_out)[0]} takes them"


def by_state(frame: pd.DataFrame, include: Collection[str], source: object) -> pd.DataFrame:
    """The rows of a table that says how its runs stand, by state; any other table as it is."""
    column = next((name for name in frame.columns if str(name).lower() in ("state", "status")), None)
    states = set() if column is None else {str(state).lower() for state in frame[column].dropna()}
    if column is None or not states or not states <= STATES:
        if include:
            raise ImportFault(f"{source}: --include {next(iter(include))}: the table has no states of runs")
        return frame
    state = frame[column].astype(str).str.lower().replace("diverged", FINISHED)  # divergence is a result
    taken, left_out = _taken(state.tolist(), include, source)
    kept = frame[taken].drop(columns=column).reset_index(drop=True)
    kept.attrs.update({**frame.attrs, LEFT_OUT: left_out})
    if (lines := frame.attrs.get(LINES)) is not None:
        kept.attrs[LINES] = [line for line, mine in zip(lines, taken, strict=True) if mine]
    return kept
