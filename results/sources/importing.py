"""Measurements made elsewhere, brought into the store's schema."""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ..store.schema import METADATA, ROWS, WAITING
from .cells import NUMERIC, REQUIRED, USUAL, faults_in
from .fault import NOTES, ImportFault
from .mlflow import has_runs, read_mlflow
from .names import logarithm, one_spelling, passed_over, perplexity, powered, score, understood
from .ray_tune import is_experiment, read_experiment
from .reached import as_planned
from .readings import read_cells
from .records import read_json
from .runs import FOLDERS, LEFT_OUT, MARK, NOT_TOLD, by_state, told_left_out
from .table import LINES, is_gzipped, opening, read_table, read_tables, tables_of
from .wandb import read_folder
from .written import WIDE

MAGIC = b"SQLite format 3\0"
JOURNAL = b'{"op_code"'
COMMENT, FAR = (b"#", b"//", b"/*"), 1 << 16
COMMENTED_JSON = re.compile(rb"((#|//)[^\n]*\n\s*|/\*.*?\*/\s*)+[\[\s]*\{", re.DOTALL)
DATABASES = {"postgresql", "mysql", "mariadb", "oracle", "mssql"}
"""Whose addresses Optuna takes, with a driver or without."""
PASSWORD = re.compile(r"((?<=://)[^/@:]*:)[^\s]*(?=@)|((?:password|pwd)=)[^&]*")
LFS = b"version https://git-lfs"
OTHERS = {
    b"PK\x03\x04": ("a spreadsheet or a ZIP archive", "save its table as CSV, or unpack it"),
    b"BZh": ("packed by bzip2", "unpack it"),
    b"\xfd7zXZ": ("packed by xz", "unpack it"),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", "unpack it"),
    b"ARROW1": ("an Arrow or Feather file", "save it as Parquet or CSV"),
    b"\x89HDF": ("an HDF5 file", "save its table as Parquet or CSV"),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet", "save its table as CSV"),
}
"""Files of other kinds, by what they begin with: what they are, and the remedy."""
MAX_FAULTS = 10
LEFT = {
    WAITING: "waiting for a loss",
    **dict.fromkeys(("oom", "out of memory", "out-of-memory"), "out of memory, which is no divergence,"),
}
"""What stands in place of a loss that no training has told."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source is read: which column becomes which field, what is filled in, and which
    Optuna study or MLflow experiment."""

    columns: Mapping[str, str] = field(default_factory=dict)  # our name: theirs
    fill: Mapping[str, str] = field(default_factory=dict)
    study: str | None = None
    include: Collection[str] = ()
    """States of runs that are taken although they have not finished."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """The rows in the store's schema, which of the source's columns was taken for which field, and what else
    is to be said of how they were read."""

    table: pa.Table
    found: Mapping[str, str]
    notes: tuple[str, ...]


def _remedy(frame: pd.DataFrame, missing: Sequence[str], source: str) -> str:
    """For columns that are missing: perhaps their values are names of others."""
    numbered = [name for name in frame.columns if name not in REQUIRED and re.search(r"\d", str(name))]
    if "loss" in missing and len(numbered) >= WIDE:
        several = f"{numbered[0]}, {numbered[1]}, ..."
        return f"where {several} hold losses, call them lr=RATE if they are rates; else give each loss a row"
    told = " ".join(f"--map {name}=COLUMN" for name in missing)
    return f"name theirs: mutransfer import {source} {told} --out DIR"


def read_measurements(source: str | Path, reading: Reading = Reading()) -> pa.Table:
    """The rows of `understand`."""
    return understand(source, reading).table


def understand(source: str | Path, reading: Reading = Reading()) -> Measurements:
    """Rows of a source in the store's schema; an empty loss means diverged.

    The kind is told by the source: CSV or Parquet; JSON, whose objects may be runs of Weights & Biases, or
    its offline runs; an Optuna storage; MLflow's file store or database. Sources are only read. Columns,
    after renaming and filling in: `source?, architecture?, optimizer?, parametrization?, width?, depth?,
    learning_rate, weight_decay?, seed?, loss`, or what people call them (names.py); others are kept.
    Raises ImportFault with everything that is wrong.
    """
    raw = _read(str(source), reading)
    source = _shown(str(source))
    path = Path(source)
    notes = [told_left_out(raw.attrs[LEFT_OUT])] if raw.attrs.get(LEFT_OUT) else []
    notes += raw.attrs.get(NOTES, [])
    named = _renamed(raw, source, reading)
    notes += passed_over(named.drop(columns=[name for name in reading.columns if name in named]))
    frame, found = understood(named, source)
    frame = read_cells(frame)
    notes += frame.attrs.get(NOTES, [])[len(raw.attrs.get(NOTES, [])) :]
    frame, waiting = _trained(frame)
    notes += waiting
    frame, spelled = one_spelling(frame)
    notes += spelled
    if empty := [name for name in USUAL if name in frame and len(frame) and frame[name].isna().all()]:
        frame = frame.drop(columns=empty)
        notes.append(f"{', '.join(empty)}: empty in every row, left out")
    theirs = reading.columns.get("loss", found.get("loss", "loss"))
    frame, unplaced = _placed(frame, raw.attrs.get(FOLDERS, {}).get(theirs, theirs))
    notes += unplaced
    mapped = {
        ours: theirs if (base := logarithm(theirs, ours)) is None else f"{base:g}^{theirs}"
        for ours, theirs in reading.columns.items()
    }
    found |= {**mapped, **{name: f"{value!r} for all" for name, value in reading.fill.items()}}
    if score(found.get("loss", "")):
        notes.append(f"loss: {found['loss']} is called like a score; where more is better, give its negative")
    if perplexity(found.get("loss", "")):
        notes.append(
            f"loss: {found['loss']} is called like a perplexity; give its logarithm for losses in nats, or a "
            "tolerance in its own unit"
        )
    if missing := [name for name in REQUIRED if name not in frame.columns]:
        raise ImportFault(
            f"{path}: the columns {', '.join(missing)} are missing; it has "
            f"{', '.join(map(str, frame.columns))}; {_remedy(frame, missing, source)}"
        )
    if frame.empty:
        raise ImportFault("; ".join([f"{path}: holds no measurements", *waiting]))
    faults = faults_in(frame)
    if faults:
        more = f"\n{path}: and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else ""
        raise ImportFault("\n".join(f"{path}: {fault}" for fault in faults[:MAX_FAULTS]) + more)
    marked = int((frame[MARK] & _finite(frame["loss"])).sum()) if MARK in frame else 0
    table, short = _table(frame, path)
    if twice := len(frame) - table.num_rows:
        said = "1 row that repeats another is" if twice == 1 else f"{twice} rows that repeat others are"
        notes.append(f"{said} left out")
    if again := int(table.drop_columns(["trial_id"]).to_pandas().duplicated().sum()):
        said = "1 row repeats" if again == 1 else f"{again} rows repeat"
        notes.append(f"{said} others, and no seed tells them apart: taken for runs of their own")
    if diverged := table.column("status").to_pylist().count("diverged"):
        if diverged > marked:
            notes.append(f"{diverged - marked} without a finite final loss are taken for diverged")
        if marked:
            notes.append(f"{marked} diverged, as they say; a loss beside that does not count")
    if short:
        notes.append(f"{short} that diverged are compared at what finished ones train for, not at their own")
    return Measurements(table, found, tuple(notes))


def _trained(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Without the trials of a suggestion that have no loss yet, and those that had too little memory."""
    if "loss" not in frame or FOLDERS in frame.attrs:
        return frame, []
    told = frame["loss"].map(lambda cell: LEFT.get(str(cell).strip().lower()))
    left = told.notna()
    if not left.any():
        return frame, []
    kept = frame[~left].reset_index(drop=True)
    kept.attrs.update(frame.attrs)
    if (lines := frame.attrs.get(LINES)) is not None:
        kept.attrs[LINES] = [line for line, one in zip(lines, left, strict=True) if not one]
    return kept, [f"{count} {why} left out" for why, count in told.value_counts(sort=False).items()]


def _placed(frame: pd.DataFrame, loss: str) -> tuple[pd.DataFrame, list[str]]:
    """Of a tracker's runs those with a learning rate, and a loss in the column of this name: others are of
    something else, or nobody wrote what they measured."""
    if FOLDERS not in frame.attrs:
        return frame, []
    notes = []
    told = ~np.array(frame.attrs[NOT_TOLD].get(loss, [False] * len(frame)), dtype=bool)
    if MARK in frame:
        told |= frame[MARK].to_numpy(dtype=bool)
    if "learning_rate" in frame and frame["learning_rate"].notna().any():
        there = frame["learning_rate"].notna().to_numpy()
        frame, told = frame[there], told[there]
        if not there.all():
            notes.append(f"{_runs(int((~there).sum()))} without a learning rate left out")
    if not told.all():
        notes.append(f"{_runs(int((~told).sum()))} without a {loss} left out")
    return frame[told].reset_index(drop=True), notes


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _shown(source: str) -> str:
    """An address without its password."""
    return PASSWORD.sub(lambda found: f"{found[1] or found[2]}***", source) if "://" in source else source


def _read(source: str, reading: Reading) -> pd.DataFrame:
    """By what the source holds, not by what it is called."""
    path = Path(source.removeprefix("sqlite:///") if source.startswith("sqlite:///") else source)
    if "://" in source and not source.startswith("sqlite:///"):
        shown, kind = _shown(source), source.split("://")[0].split("+")[0]
        if kind in ("postgres", "sqlite"):
            right = "postgresql://" if kind == "postgres" else "sqlite:///, or the path alone"
            raise ImportFault(f"{shown}: write {right}")
        if kind not in DATABASES:
            raise ImportFault(f"{shown}: is no database's address; download what is there, and import that")
        from .optuna import read_optuna

        return read_optuna(source, reading.study, reading.include, shown)
    if not path.exists():
        raise ImportFault(f"{path}: cannot be read (there is no such file)")
    if path.is_file():
        return _read_file(path, reading)
    if not path.is_dir():
        raise ImportFault(f"{path}: is neither a file nor a folder; save what it gives, and import that")
    if (path / "sweep.yaml").exists():
        raise ImportFault(f"{path}: is a sweep directory already; next: mutransfer report {path}")
    configured = path.glob("**/files/config.yaml")
    offline = any("artifacts" not in file.relative_to(path).parts for file in configured)
    if has_runs(path):
        if offline:
            raise ImportFault(
                f"{path}: holds runs of MLflow and of Weights & Biases; give one of the folders"
            )
        return read_mlflow(path, reading.study, reading.include)
    if offline:
        _without_study(path, reading)
        return read_folder(path, reading.include)
    parts, others = tables_of(path)
    if is_experiment(path):
        if parts:
            raise ImportFault(f"{path}: holds trials of Ray Tune and Parquet files; give one of the folders")
        _without_study(path, reading)
        return read_experiment(path, reading.include)
    if parts:
        _without_study(path, reading)
        return by_state(read_tables(path, parts, others), reading.include, path)
    if any(path.glob("**/run-*.wandb")):
        raise ImportFault(
            f"{path}: holds runs of Weights & Biases that only wandb reads; wandb sync them, and import an "
            "export of the project"
        )
    return read_mlflow(path, reading.study, reading.include)


def _read_file(path: Path, reading: Reading) -> pd.DataFrame:
    opens = opening(path)
    if opens.startswith((MAGIC, JOURNAL)) and is_gzipped(path):
        raise ImportFault(f"{path}: is gzipped, which only tables and JSON may be; unpack it")
    for mark, (kind, remedy) in OTHERS.items():
        if opens.startswith(mark):
            raise ImportFault(f"{path}: is {kind}; {remedy}")
    if opens.startswith(LFS):
        raise ImportFault(f"{path}: is a pointer of Git LFS, not the file; git lfs pull fetches that")
    if opens.startswith(MAGIC):
        from .database import read_database

        return read_database(path, reading.study, reading.include)
    if opens.startswith(JOURNAL):
        from .optuna import read_optuna

        return read_optuna(str(path), reading.study, reading.include, str(path))
    _without_study(path, reading)
    if opens.startswith(COMMENT) and COMMENTED_JSON.match(opening(path, FAR)):
        raise ImportFault(f"{path}: begins with a comment, which JSON has not; take it out")
    if opens.startswith((b"{", b"[")):
        return read_json(path, reading.include)
    return by_state(read_table(path), reading.include, path)


def _without_study(path: Path, reading: Reading) -> None:
    if reading.study is not None:
        raise ImportFault(
            f"{path}: --study {reading.study}: holds neither Optuna's studies nor MLflow's experiments"
        )


def _renamed(frame: pd.DataFrame, source: str, reading: Reading) -> pd.DataFrame:
    """Their columns under our names. A column that is in the way of a renamed one is dropped."""
    if both := sorted({*reading.columns} & {*reading.fill}):
        raise ImportFault(f"{source}: {', '.join(both)} is both mapped and filled in; keep one of the two")
    folders: Mapping[str, str] = frame.attrs.get(FOLDERS, {})
    columns = {ours: folders.get(theirs, theirs) for ours, theirs in reading.columns.items()}
    unknown = [theirs for theirs in columns.values() if theirs not in frame.columns]
    if unknown:
        raise ImportFault(
            f"{source}: has no column {', '.join(unknown)}; it has {', '.join(map(str, frame.columns))}"
        )
    found = {ours: powered(frame[theirs], ours, source) for ours, theirs in columns.items()}
    rest = frame.drop(columns=[name for name in frame.columns if name in {*found, *columns.values()}])
    named = rest.assign(**found, **dict(reading.fill))
    named.attrs.update(frame.attrs)
    if folders:  # what was mapped and filled in is nobody else's
        given = {*columns, *columns.values(), *reading.fill}
        named.attrs[FOLDERS] = {told: name for told, name in folders.items() if name not in given}
    return named


def _table(frame: pd.DataFrame, path: Path) -> tuple[pa.Table, int]:
    """And how many diverged runs have other steps in it than their own."""
    finite = _finite(frame["loss"])
    if MARK in frame:
        finite &= ~frame[MARK]
    frame = frame.drop(columns=[MARK], errors="ignore")
    frame = frame.assign(**{name: pd.to_numeric(frame[name]) for name in NUMERIC if name in frame})
    frame = frame.copy().assign(  # one table in memory, or pandas warns of many parts
        loss=frame["loss"].where(finite),
        status=["finished" if ok else "diverged" for ok in finite],
        sweep=name_of(path),
    )
    frame = frame.assign(trial_id=_identities(frame))
    frame, finite = frame[first := ~frame.duplicated("trial_id")], finite[first]
    frame, short = as_planned(frame.reset_index(drop=True), finite.reset_index(drop=True))
    known = {}
    for entry in ROWS:
        column = frame[entry.name] if entry.name in frame else pd.Series([None] * len(frame))
        if pa.types.is_string(entry.type):
            column = _as_text(column)
        try:
            known[entry.name] = pa.array(column, type=entry.type, from_pandas=True)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise ImportFault(f"{path}: column {entry.name}: {str(error).splitlines()[0]}") from None
    extra = frame[[name for name in frame.columns if name not in ROWS.names]]
    table = pa.table(known, schema=ROWS)
    for name in extra.columns:
        # As text, so that files which hold other kinds of values under one name still go together.
        table = table.append_column(str(name), pa.array(_as_text(extra[name]), pa.string(), from_pandas=True))
    return table.replace_schema_metadata(METADATA), short


def _finite(losses: pd.Series) -> pd.Series:
    return pd.to_numeric(losses).map(lambda loss: pd.notna(loss) and math.isfinite(loss)).astype(bool)


def name_of(source: Path) -> str:
    """What the sweep of a source is called; a name of bytes that are no UTF-8 has marks in their place."""
    return _storable(source.stem)


def _storable(text: str) -> str:
    """A lone surrogate, which JSON and names of files may hold, is no text that can be stored."""
    return text.encode("utf-8", "replace").decode()


def _as_text(column: pd.Series) -> pd.Series:
    return column.map(lambda value: _storable(str(value)), na_action="ignore").astype(object)


def _identities(frame: pd.DataFrame) -> list[str]:
    """A measurement is its content: importing a file twice adds nothing. Of rows without a seed those that
    repeat others are runs of their own, unless every row comes as often."""
    contents = [
        json.dumps({str(n): str(value) for n, value in record.items() if n != "sweep"}, sort_keys=True)
        for record in frame.to_dict("records")
    ]
    copies = min(Counter(contents).values(), default=1)
    seeded = frame["seed"].notna() if "seed" in frame else pd.Series(data=False, index=frame.index)
    seen: Counter[str] = Counter()
    found = []
    for content, has_seed in zip(contents, seeded, strict=True):
        nth = 0 if has_seed else seen[content] // copies
        seen[content] += 1
        found.append(hashlib.sha256((content + f" {nth}" * bool(nth)).encode()).hexdigest()[:16])
    return found
