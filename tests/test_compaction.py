"""Many files as one: the same rows for every reader, whatever happens in between; and stores of old."""

import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Command

from mutransfer.results.store.compaction import FEWEST, compact
from mutransfer.results.store.schema import METADATA, ROWS
from mutransfer.results.store.store import (
    finished_trials,
    publish,
    publish_table,
    published_jobs,
    read_curves,
    read_rows,
)

STORED = Path(__file__).parent / "stored"
JOBS = FEWEST + 4


def fill(directory: Path, jobs: int = JOBS) -> None:
    for job in range(jobs):
        trials = [f"{job:08x}{index:08x}" for index in range(3)]
        rows = [{"trial_id": trial, "width": 16 * (job % 4 + 1), "loss": 2.0 + job, "status": "finished"}
                for trial in trials]  # fmt: skip
        curves = [
            {"trial_id": trial, "step": step, "train_loss": 3.0} for trial in trials for step in range(5)
        ]
        assert publish(directory, f"job{job}", rows, curves)


def read(directory: Path) -> tuple[list[str], int]:
    """Sorted ids of the rows, and how many curve points there are."""
    rows, broken = read_rows(directory)
    curves, torn = read_curves(directory)
    assert broken == torn == []
    return sorted(rows.column("trial_id").to_pylist()), curves.num_rows


def test_nothing_changes_for_readers(tmp_path: Path) -> None:
    fill(tmp_path)
    before = read(tmp_path)
    assert [compacted.files for compacted in compact(tmp_path)] == [JOBS, JOBS]
    assert len(list((tmp_path / "results").glob("*.parquet"))) == 1
    assert read(tmp_path) == before
    assert published_jobs(tmp_path) == {f"job{job}" for job in range(JOBS)}
    assert finished_trials(tmp_path)[0] == {*before[0]}
    assert compact(tmp_path) == []


def test_new_jobs_go_beside_and_late_attempts_count_for_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    before, points = read(tmp_path)
    compact(tmp_path)
    late = [{"trial_id": before[0], "loss": 9.0, "status": "finished"}]
    assert publish(tmp_path, "job0", late, [])  # its file is gone, so the name was free
    assert publish(tmp_path, "new", [{"trial_id": "f" * 16, "loss": 1.0, "status": "finished"}], [])
    after, after_points = read(tmp_path)
    assert after == [*before, "f" * 16] and after_points == points


def test_killed_between_writing_and_removing(tmp_path: Path) -> None:
    """The compacted file is there, and the files that it replaces are, too."""
    fill(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "copy")
    before = read(tmp_path)
    compact(tmp_path)
    for path in (tmp_path / "results").glob("compact-*"):
        shutil.copy(path, tmp_path / "copy" / "results")
    assert read(tmp_path / "copy") == before


def test_a_damaged_compacted_file_gives_way_to_what_is_left(tmp_path: Path) -> None:
    fill(tmp_path)
    shutil.copytree(tmp_path / "results", tmp_path / "kept")
    compact(tmp_path)
    (path,) = (tmp_path / "results").glob("compact-*")
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    for kept in (tmp_path / "kept").glob("*.parquet"):
        shutil.copy(kept, tmp_path / "results")
    rows, broken = read_rows(tmp_path)
    assert rows.num_rows == 3 * JOBS
    assert [item.path for item in broken] == [str(path)]


def test_files_that_are_damaged_or_few_stay_as_they_are(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "results" / "job3.parquet").write_bytes(b"PAR1 torn")
    assert [compacted.files for compacted in compact(tmp_path)] == [JOBS, JOBS - 1]
    assert (tmp_path / "results" / "job3.parquet").exists()
    fill(tmp_path / "small", FEWEST - 1)
    assert compact(tmp_path / "small") == []


def test_pandas_and_duckdb_read_the_folder(tmp_path: Path) -> None:
    """The recipes of docs/results.md, before and after."""
    fill(tmp_path)
    for _ in range(2):
        assert len(pd.read_parquet(tmp_path / "results")) == 3 * JOBS
        query = (
            f"SELECT count(*), count(DISTINCT trial_id) FROM '{tmp_path}/results/*.parquet' WHERE width = 16"
        )
        assert duckdb.execute(query).fetchall() == [(15, 15)]
        compact(tmp_path)


def test_a_sweep_of_schema_1_is_reported_and_gone_on_with(tmp_path: Path, mutransfer: Command) -> None:
    """A folder as the first version wrote it, with none of the later columns."""
    shutil.copytree(STORED / "schema-1", tmp_path / "old")
    report = mutransfer("report", "old")
    assert report.returncode == 0, report.stderr
    assert "transformer adamw mup" in report.stdout
    assert mutransfer("gc", "old").returncode == 0


def test_a_newer_schema_is_refused_by_name(tmp_path: Path) -> None:
    row = {"trial_id": "a", "loss": 1.0, "status": "finished"}
    table = pa.Table.from_pylist([row], schema=ROWS)
    publish_table(tmp_path, "newer", table.replace_schema_metadata({**METADATA, b"mutransfer.schema": b"99"}))
    assert pq.read_schema(tmp_path / "results/newer.parquet").metadata[b"mutransfer.schema"] == b"99"
    rows, (broken,) = read_rows(tmp_path)
    assert rows.num_rows == 0
    assert "schema 99 by a newer mutransfer; upgrade" in broken.reason


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_all_trials_as_one_file(suffix: str, tmp_path: Path, mutransfer: Command) -> None:
    shutil.copytree(STORED / "schema-1", tmp_path / "old")
    done = mutransfer("trials", "old", "--out", f"all.{suffix}")
    assert done.returncode == 0, done.stderr
    read_back = pd.read_csv if suffix == "csv" else pd.read_parquet
    frame = read_back(tmp_path / f"all.{suffix}")
    assert len(frame) == len(frame["trial_id"].unique()) == len(read_rows(tmp_path / "old")[0])
    assert mutransfer("trials", "old", "--out", "all.xlsx").returncode == 2
