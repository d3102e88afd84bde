"""Runs of trackers: those that finished are taken, the others are counted by how they stand."""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import pandas as pd

from .fault import NOTES, ImportFault
from .table import LINES

FINISHED, DIVERGED = "finished", "diverged"
"""Results, both: of a run that diverged the loss, if it has one, is the last before."""
UNFINISHED = "unfinished"
UNTOLD = "untold"
"""The state of a run that tells none, where others tell theirs."""
STATES = {
    FINISHED: (
        "complete", "completed", "converged", "done", "ok", "success", "successful", "succeeded",
        "terminated",
    ),
    DIVERGED: (),
    "running": ("in progress", "in_progress", "started", "completing"),
    "failed": ("fail", "failure", "error", "errored", "boot_fail", "launch failed"),
    "crashed": ("crash",),
    "killed": ("revoked",),
    "cancelled": ("canceled", "aborted", "interrupted", "stopped"),
    "preempted": ("preempting",),
    "pruned": (),
    "scheduled": ("queued", "created"),
    "pending": ("waiting", "requeued", "requeue_hold"),
    "suspended": ("paused",),
    "timeout": ("timed out", "timed_out", "deadline"),
    "out_of_memory": ("oom",),
    "node_fail": (),
    "deleted": (),
    UNFINISHED: (),
}  # fmt: skip
"""What MLflow, Optuna, Ray Tune, Weights & Biases and clusters' accounting call the states of runs."""
SHORT = {
    "bf": "failed", "ca": "cancelled", "cd": FINISHED, "cf": "pending", "cg": "running", "dl": "timeout",
    "f": "failed", "nf": "node_fail", "oom": "out_of_memory", "pd": "pending", "pr": "preempted",
    "r": "running", "s": "suspended", "st": "suspended", "to": "timeout",
}  # fmt: skip
"""As a queue prints them, if all of a column are such, and one of them is CD: others are of anything."""
EXIT_CODES = {"exitcode", "exitstatus", "returncode"}
SAY_SO = {
    **dict.fromkeys(("finished", "completed", "done"), FINISHED),
    **{
        state: state
        for state in ("failed", "crashed", "killed", "cancelled", "preempted", "pruned", DIVERGED)
    },
}
"""What truth values of these names, or with `is` before them, say of a run where they are true."""
TRUE, FALSE = {"true", "1", "1.0", "yes", "y", "t"}, {"false", "0", "0.0", "no", "n", "f"}
MAY_TELL = {"outcome", "result", "success", "succeeded", "successful", "ok"}
"""Names of what may be how a run ended, or what it measured."""
LIFE = "lifecyclestage"
"""Of MLflow's runs: `active` unless they were deleted, finished or not."""
MANY = 4
"""More states than these are not all repeated in the remedy."""
_KNOWN = {word: state for state, words in STATES.items() for word in (state, *words)}
MARK = "(diverged)"
"""The column of a frame that tells which of its runs diverged, whatever their losses are, if any did."""
FOLDERS = "folders"
"""The attribute of a frame that tells the column of a name with its folder."""
NOT_TOLD = "not told"
"""The attribute of a frame that tells, by column, of which of its runs nobody wrote what was measured: a loss
that is no number was."""
LEFT_OUT = "left out"
"""The attribute of a frame that counts the runs that are not in it, by state."""


def frame_of(
    runs: Iterable[tuple[object, Mapping[str, object]]], include: Collection[str], source: object
) -> pd.DataFrame:
    """A row for each run, given as its state and its cells, that finished or whose state is included.

    Where no run tells a state all have finished.

    Raises ImportFault where none is left, or a state that is asked for is no run's.
    """
    runs = list(runs)
    states = [_state(told) for told, _ in runs]
    taken, left_out = _taken(states, include, source)
    rows = [row for (_, row), mine in zip(runs, taken, strict=True) if mine]
    frame = pd.DataFrame(rows)
    frame.attrs[LEFT_OUT] = left_out
    frame = _marked(frame, [state for state, mine in zip(states, taken, strict=True) if mine])
    # Whoever asks for runs that did not finish takes what they have.
    done = [state in (FINISHED, UNTOLD) for state, mine in zip(states, taken, strict=True) if mine]
    told = [*zip(rows, done, strict=True)]
    frame.attrs[NOT_TOLD] = {name: [ended and name not in row for row, ended in told] for name in frame}
    return frame


def _state(told: object) -> str:
    """What a state is called here; words of nobody's, in lower case, are states of their own."""
    text = told.decode(errors="replace") if isinstance(told, bytes) else told
    word = "" if pd.api.types.is_scalar(text) and pd.isna(text) else str(text).strip().lower()
    if not word:
        return UNTOLD
    if (last := word.rpartition(".")[2]) in _KNOWN:  # TrialState.COMPLETE, as Python writes it
        return _KNOWN[last]
    word = "cancelled" if word.startswith("cancelled by ") else word  # a scheduler's accounting says by whom
    return _KNOWN.get(word, word)


def _taken(
    states: Sequence[str], include: Collection[str], source: object
) -> tuple[list[bool], dict[str, int]]:
    """Which runs count, and the others by state. Raises ImportFault."""
    if {*states} <= {UNTOLD, DIVERGED}:
        states = [FINISHED if state == UNTOLD else state for state in states]
    wanted = {_state(one) for one in include}
    taken = [state in (FINISHED, DIVERGED) or state in wanted for state in states]
    others = {*states} - {FINISHED, DIVERGED}
    if unknown := sorted(one for one in include if _state(one) not in {*states}):
        there = f"there are {', '.join(sorted(others))} runs" if others else "all runs have finished"
        raise ImportFault(f"{source}: --include {unknown[0]}: no run is {unknown[0]}; {there}")
    left_out = dict(Counter(state for state, mine in zip(states, taken, strict=True) if not mine))
    if left_out and not any(taken):
        raise ImportFault(f"{source}: no run has finished: {told_left_out(left_out)}")
    return taken, left_out


def named_apart(
    runs: Sequence[tuple[object, Mapping[str, object], Mapping[str, object], Mapping[str, object]]],
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
    rows: list[tuple[object, dict[str, object]]] = []
    for state, own, *parts in runs:
        cells: dict[str, object] = {**own}
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


def told_left_out(left_out: Mapping[str, int]) -> str:
    """How many were left out, and how to take them."""
    states = sorted(left_out)
    counts = ", ".join(f"{left_out[state]} {state}" for state in states)
    if len(states) > MANY:
        return f"{counts} left out; import --include STATE takes those of one"
    asked = " ".join(f"--include {shlex.quote(state)}" for state in states)
    return f"{counts} left out; import {asked} {'takes' if len(states) == 1 else 'take'} them"


def is_state(name: object) -> bool:
    """Whether a column is called like one of states: `State`, `status`, `trial_state`, `JobState`, `ST`,
    `exit_code`, `finished`."""
    ends_so = str(name).strip().lower().endswith(("state", "status"))
    return ends_so or _plain(name) in ("st", LIFE) or _is_code(name) or _said_true(name) is not None


def tells_state(name: object, cell: object) -> bool:
    """Whether this entry of a run is one of its state: a number called like a truth value is a measure."""
    return is_state(name) and (_said_true(name) is None or isinstance(cell, bool))


def _said_true(name: object) -> str | None:
    """What a truth value called so says where it is true. What a tracker's folder holds is a measure."""
    return None if "." in str(name) else SAY_SO.get(_plain(name).removeprefix("is"))


def _is_code(name: object) -> bool:
    return _plain(name) in EXIT_CODES


def _plain(name: object) -> str:
    """Its letters, without the folders before it."""
    return re.sub("[ _-]", "", str(name).lower().rpartition(".")[2])


def state_of(run: Mapping[str, object]) -> str:
    """Of a run that tells it in entries called like a state. It finished where none is known, unless the one
    that is called just so holds a word of somebody's own."""
    told = {name: _reader(name)(one) for name, one in run.items() if tells_state(name, one)}
    known = {name: state for name, state in told.items() if state in {*STATES, UNTOLD}}
    own = [state for name, state in told.items() if _plain(name) in ("state", "status")]
    return _worst([*known.values()], [*map(_is_code, known)]) if known else next(iter(own), FINISHED)


def _reader(name: object) -> Callable[[object], str]:
    """What an entry called so says of its run."""
    if (true := _said_true(name)) is not None:
        return lambda told: _of_truth(told, true)
    return _of_code if _is_code(name) else _of_life if _plain(name) == LIFE else _state


def _of_truth(told: object, true: str) -> str:
    """A state of nobody's where it is no truth value."""
    state = _state(told)
    if state in TRUE:
        return true
    if state in FALSE:
        return UNFINISHED if true == FINISHED else FINISHED
    return FINISHED if state == UNTOLD and true != FINISHED else state


def _of_code(told: object) -> str:
    """0, or 0:0 of a cluster, where all went well; a word where there is one."""
    state = _state(told)
    if re.fullmatch(r"-?\d+([:.]\d+)?", state):
        return FINISHED if re.fullmatch(r"0([:.]0)?", state) else "failed"
    return state


def _of_life(told: object) -> str:
    state = _state(told)
    return FINISHED if state == "active" else state


def _column(name: object, cells: pd.Series) -> list[str]:
    states = [*map(_reader(name), cells)]
    if _said_true(name) is not None and not {*map(_state, cells)} <= {*TRUE, *FALSE, UNTOLD}:
        return [""] * len(states)  # a measure that is called like a state
    short = {cell.strip().lower() for cell in cells if isinstance(cell, str)} - {""}
    if "cd" in short and short <= {*SHORT}:
        return [SHORT.get(state, state) for state in states]
    return states


def _worst(states: Sequence[str], codes: Sequence[bool]) -> str:
    """Of a run of which several columns tell: it finished where all say so or nothing. Exit codes, which
    `codes` tells, count where no word says anything: a run that diverged may well leave with one."""
    words = [state for state, code in zip(states, codes, strict=True) if not code and state != UNTOLD]
    told = words or [state for state in states if state != UNTOLD]
    diverged = DIVERGED in told  # however the run ended then
    over = {FINISHED, DIVERGED, *((UNFINISHED, "failed", "crashed") if diverged else ())}
    done = DIVERGED if diverged else FINISHED if told else UNTOLD
    return next((state for state in told if state not in over), done)


def _marked(frame: pd.DataFrame, states: Sequence[str]) -> pd.DataFrame:
    """With a column of those that diverged, where any did."""
    if DIVERGED not in states:
        return frame
    # A copy is one block: pandas warns of a column put into many.
    return frame.copy().assign(**{MARK: [state == DIVERGED for state in states]})


def _not_followed(frame: pd.DataFrame, told: Collection[object]) -> Iterator[str]:
    """Lines of columns that may say how runs ended, in words or under a name that is not known."""
    for name in frame.columns:
        called_so = _plain(name) in ("state", "status")
        if name in told or not (called_so or _plain(name) in MAY_TELL):
            continue
        words = {*map(str, frame[name].dropna())}
        if called_so and words:
            some = ", ".join(sorted(words)[:MANY])
            yield f"{name}: {some} are no states that are known; no run is left out for them"
        elif words and {*map(_state, words)} <= {*STATES, "true", "false"}:
            yield f"{name}: may tell how runs ended, but is not called state; no run is left out for it"


def by_state(frame: pd.DataFrame, include: Collection[str], source: object) -> pd.DataFrame:
    """The rows of a table that says how its runs stand, by state; any other table as it is."""
    columns = [name for name in frame.columns if is_state(name)]
    told = {name: states for name in columns if {*(states := _column(name, frame[name]))} & {*STATES}}
    frame.attrs[NOTES] = [*frame.attrs.get(NOTES, []), *_not_followed(frame, {*told})]
    if not told:
        if include:
            raise ImportFault(f"{source}: --include {next(iter(include))}: the table has no states of runs")
        return frame
    codes = [*map(_is_code, told)]
    worst = [_worst(states, codes) for states in zip(*told.values(), strict=True)]
    taken, left_out = _taken(worst, include, source)
    kept = frame[taken].drop(columns=[*told]).reset_index(drop=True)
    kept.attrs.update({**frame.attrs, LEFT_OUT: left_out})
    kept = _marked(kept, [state for state, mine in zip(worst, taken, strict=True) if mine])
    if (lines := frame.attrs.get(LINES)) is not None:
        kept.attrs[LINES] = [line for line, mine in zip(lines, taken, strict=True) if mine]
    return kept
