"""Optuna studies: parameters, user attributes and the value of every trial, from a storage."""

import json
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from .fault import NOTES, ImportFault
from .runs import frame_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

NOT_THERE = object()


def read_optuna(storage: str, study: str | None, include: Collection[str], source: str) -> pd.DataFrame:
    """One row per completed trial; failed and pruned ones, which have no loss, where they are included.

    Optuna fails a trial whose loss is not a number, and one whose program broke. `storage` is a URL or a
    journal file; nothing is written to either. Raises ImportFault, naming the studies where there are several
    and none is chosen, and SQLite's DatabaseError for a file of its own that is damaged.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        opened = _storage(storage)
        names = optuna.get_all_study_names(opened)
        if study is None and len(names) == 1:
            (study,) = names
        if study not in names:
            asked = f"has no study {study}; " if study else ""
            held = ", ".join(names) or "it holds none"
            raise ImportFault(f"{source}: {asked}choose one with --study: {held}")
        loaded = optuna.load_study(study_name=study, storage=opened)
        if loaded.directions != [optuna.study.StudyDirection.MINIMIZE]:
            raise ImportFault(
                f"{source}: the study {study} does not minimise one loss; export its trials as CSV, with "
                "what is to be small as loss"
            )
        trials = loaded.get_trials(deepcopy=False)
    except ImportFault:
        raise
    except Exception as error:  # the storages' libraries raise their own
        cause: BaseException = error
        while cause.__cause__:  # Optuna's own words tell nothing
            cause = cause.__cause__
        if type(cause) is sqlite3.DatabaseError:  # the errors below it are of other tables, or of a lock
            raise cause from None
        reason = str(cause).splitlines()[0]
        raise ImportFault(f"{source}: is no Optuna storage that can be read ({reason})") from None
    if not trials:
        raise ImportFault(f"{source}: the study {study} has no trial that ended")
    frame = frame_of(_runs(trials), include, source)
    if "://" not in storage and _is_torn(Path(storage)):
        frame.attrs[NOTES] = ["the last line is cut off and passed over"]
    return frame


def _is_torn(journal: Path) -> bool:
    """Whether its last line is not whole, which Optuna passes over without a word."""
    last = journal.read_bytes().rstrip().rpartition(b"\n")[2]
    try:
        json.loads(last)
    except ValueError:
        return True
    return False


def _runs(trials: "Collection[FrozenTrial]") -> Iterator[tuple[str, dict[str, object]]]:
    for trial in trials:
        loss = trial.value if trial.state.name == "COMPLETE" else None  # a pruned one's is of another step
        cells: dict[str, object] = {"loss": loss}
        for folder, values in (("params", trial.params), ("user_attrs", trial.user_attrs)):
            # What says the same twice is one column.
            own = {name: value for name, value in values.items() if cells.get(name, NOT_THERE) != value}
            cells |= {f"{folder}.{name}" if name in cells else name: value for name, value in own.items()}
        yield trial.state.name, cells


def _storage(storage: str) -> "BaseStorage":
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if "://" in storage:
        return RDBStorage(storage, skip_table_creation=True)
    with Path(storage).open("rb"):  # a journal that is not there would be made
        return JournalStorage(JournalFileBackend(storage))
