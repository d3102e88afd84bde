"""Optuna studies: parameters, user attributes and the value of every trial, from a storage."""

import os
from typing import TYPE_CHECKING

import pandas as pd

from .fault import ImportFault

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def read_optuna(storage: str, study: str | None) -> pd.DataFrame:
    """One row per trial that ended; one that failed or was pruned has no loss.

    `storage` is a URL, a SQLite file or a journal file. Raises ImportFault, naming the studies where
    there are several and none is chosen.
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
            raise ImportFault(f"{storage}: {asked}choose one with --study: {held}")
        loaded = optuna.load_study(study_name=study, storage=opened)
        if loaded.directions != [optuna.study.StudyDirection.MINIMIZE]:
            raise ImportFault(f"{storage}: the study {study} does not minimise one loss")
        trials = loaded.get_trials(deepcopy=False)
    except ImportFault:
        raise
    except Exception as error:  # the storages' libraries raise their own
        raise ImportFault(f"{storage}: is no Optuna storage ({str(error).splitlines()[0]})") from None
    done = optuna.trial.TrialState
    rows = [
        {**trial.user_attrs, **trial.params, "loss": trial.value if trial.state == done.COMPLETE else None}
        for trial in trials
        if trial.state in (done.COMPLETE, done.FAIL, done.PRUNED)
    ]
    if not rows:
        raise ImportFault(f"{storage}: the study {study} has no trial that ended")
    return pd.DataFrame(rows)


def _storage(storage: str) -> "str | BaseStorage":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if storage.startswith("sqlite:///") and not os.path.exists(storage.removeprefix("sqlite:///")):
        raise FileNotFoundError(f"there is no {storage.removeprefix('sqlite:///')}")  # it would be made
    if "://" in storage:
        return storage
    with open(storage, "rb") as file:
        if file.read(6) == b"SQLite":
            return f"sqlite:///{storage}"
    return JournalStorage(JournalFileBackend(storage))
