"""Architectures and parametrizations of the user's own, made known to this process from the record of their
sweeps."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ...models.architectures.registry import BUILT
from ...models.parametrization.registry import OWN, OWN_TABLE
from ..record.directory import SweepDirectory
from .fault import ExportError


def make_models_known(directories: Sequence[Path], rows: pd.DataFrame) -> list[str]:
    """Those that the rows were trained with; says which files have changed since. The builders are not
    imported before parameters are asked for. Raises ExportError for one that no record has."""
    told = rows[["architecture", "code"]].dropna().drop_duplicates()
    wanted = {(str(name), str(code)) for name, code in told.itertuples(index=False)}
    tables = {
        str(name) for name in rows["parametrization"].dropna().unique() if OWN_TABLE.fullmatch(str(name))
    }
    records = (SweepDirectory(path) for path in directories if path.is_dir())
    jobs = ((directory, job) for directory in records for job in directory.planned())
    while (missing := wanted - {*BUILT}) or (lost := tables - {*OWN}):
        directory, job = next(jobs, (None, ""))
        if directory is None and missing:
            raise ExportError(
                f"{', '.join(sorted(name for name, _ in missing))}: no job of these sweeps says where its "
                "builder is; give the directory that it was trained in"
            )
        if directory is None:
            told = "no job of these sweeps has this table; give the directory that it was trained in"
            raise ExportError(f"{', '.join(sorted(lost))}: {told}")
        directory.read_job(job)  # makes known what it needs
    gone = ((name, BUILT[name, code]) for name, code in sorted(wanted))
    changed = ((name, held.changed(held.files)) for name, held in gone)
    return [f"{name}: {', '.join(files)} changed since the trials ran" for name, files in changed if files]
