"""The Parquet store: atomic, first attempt wins, tolerant of broken files, never NaN."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mutransfer.results.store.schema import CURVES, ROWS, SCHEMA_VERSION
from mutransfer.results.store.store import (
    diverged_trials,
    finished_trials,
    publish,
    publish_table,
    quarantine,
    read_curves,
    read_rows,
)


def row(trial: str, loss: float | None = 2.0) -> dict[str, object]:
    return {"trial_id": trial, "status": "finished" if loss else "diverged", "loss": loss, "width": 16}


def point(trial: str) -> dict[str, object]:
    return {"trial_id": trial, "step": 0, "train_loss": 3.0}


def test_what_is_published_is_read_back(tmp_path: Path) -> None:
    assert publish(tmp_path, "job", [row("a"), row("b", None)], [point("a")])
    table, broken = read_rows(tmp_path)
    assert broken == []
    assert table.column("trial_id").to_pylist() == ["a", "b"]
    assert table.column("loss").to_pylist() == [2.0, None]
    assert table.column("status").to_pylist() == ["finished", "diverged"]
    assert read_curves(tmp_path)[0].column("train_loss").to_pylist() == [3.0]
    assert finished_trials(tmp_path) == ({"a", "b"}, [])


def test_reading_leaves_no_thread_behind(tmp_path: Path) -> None:
    """One of Arrow's that still holds Python's bytes when Python ends aborts the process."""
    publish(tmp_path, "job", [row("a")], [])
    count = "len(os.listdir('/proc/self/task'))"
    script = (
        "import os, sys; from pathlib import Path; from mutransfer.results.store.store import read_rows\n"
        f"before = {count}; table, _ = read_rows(Path(sys.argv[1])); print(len(table), {count} - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "0"]


def test_many_files_are_read_as_one_piece(tmp_path: Path) -> None:
    """A chunk a file would make every operation on ten thousand programs' results minutes long."""
    for number in range(5):
        publish(tmp_path, f"job{number}", [row(f"{number}")], [])
    table, _ = read_rows(tmp_path)
    assert {table.column(name).num_chunks for name in table.column_names} <= {0, 1}


def test_the_first_attempt_wins(tmp_path: Path) -> None:
    assert publish(tmp_path, "job", [row("a", 1.0)], [])
    assert not publish(tmp_path, "job", [row("a", 9.0)], [])
    assert read_rows(tmp_path)[0].column("loss").to_pylist() == [1.0]


def test_nothing_is_left_beside(tmp_path: Path) -> None:
    publish(tmp_path, "job", [row("a")], [])
    publish(tmp_path, "job", [row("a")], [])
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["job.parquet"]


def test_curves_without_rows_do_not_count(tmp_path: Path) -> None:
    """Killed between the two: the job is not finished."""
    publish(tmp_path, "job", [row("a")], [point("a")])
    (tmp_path / "results" / "job.parquet").unlink()
    assert finished_trials(tmp_path) == (set(), [])
    assert read_curves(tmp_path)[0].num_rows == 0


@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage", "flipped"])
def test_a_broken_file_is_named_and_the_rest_read(tmp_path: Path, damage: str) -> None:
    publish(tmp_path, "good", [row("a")], [])
    publish(tmp_path, "bad", [row(str(index)) for index in range(500)], [])
    path = tmp_path / "results" / "bad.parquet"
    content = bytearray(path.read_bytes())
    match damage:
        case "empty":
            content = bytearray()
        case "truncated":
            content = content[: len(content) // 2]
        case "garbage":
            content = bytearray(b"not parquet at all")
        case "flipped":
            content[60] ^= 0xFF
    path.write_bytes(content)
    table, broken = read_rows(tmp_path)
    assert table.column("trial_id").to_pylist() == ["a"]
    assert [item.path for item in broken] == [str(path)]
    quarantine(broken)
    assert publish(tmp_path, "bad", [row("b")], [])
    assert finished_trials(tmp_path) == ({"a", "b"}, [])


def test_unfinished_files_are_ignored(tmp_path: Path) -> None:
    publish(tmp_path, "job", [row("a")], [])
    (tmp_path / "results" / ".job2.parquet.tmp").write_bytes(b"half")
    assert finished_trials(tmp_path) == ({"a"}, [])


def test_further_columns_are_kept(tmp_path: Path) -> None:
    publish(tmp_path, "job", [row("a")], [])
    table = pa.Table.from_pylist([row("b")], schema=ROWS).append_column("note", pa.array(["mine"]))
    publish_table(tmp_path, "imported", table)
    read, _ = read_rows(tmp_path)
    assert {r["trial_id"]: r["note"] for r in read.to_pylist()} == {"a": None, "b": "mine"}


def test_files_carry_the_schema_and_its_version(tmp_path: Path) -> None:
    publish(tmp_path, "job", [row("a")], [point("a")])
    schema = pq.read_schema(tmp_path / "results" / "job.parquet")
    assert schema.names == ROWS.names
    assert schema.metadata[b"mutransfer.schema"] == str(SCHEMA_VERSION).encode()
    assert pq.read_schema(tmp_path / "curves" / "job.parquet").names == CURVES.names


def test_an_empty_store_reads_as_no_rows(tmp_path: Path) -> None:
    table, broken = read_rows(tmp_path)
    assert (table.num_rows, broken) == (0, [])
    assert table.column_names == ROWS.names


def test_a_required_column_cannot_be_missing(tmp_path: Path) -> None:
    with pytest.raises((pa.ArrowException, ValueError)):
        publish(tmp_path, "job", [{"trial_id": None, "status": None}], [])
    assert finished_trials(tmp_path) == (set(), [])


def test_no_flipped_bit_changes_what_is_read(tmp_path: Path) -> None:
    """Headers and footer included, which page checksums leave out: named as broken, or harmless."""
    publish(tmp_path, "job", [row("a"), row("b", None)], [])
    path = tmp_path / "results" / "job.parquet"
    whole, (table, _) = path.read_bytes(), read_rows(tmp_path)
    broken_places = 0
    for place in range(0, len(whole), 53):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        read, broken = read_rows(tmp_path)
        broken_places += bool(broken)
        assert broken or read.equals(table), place
    assert broken_places > 0.95 * len(range(0, len(whole), 53))


def test_a_file_that_was_never_sealed_is_read(tmp_path: Path) -> None:
    """Of an earlier version, or written by others."""
    (tmp_path / "results").mkdir()
    pq.write_table(pa.Table.from_pylist([row("a")], schema=ROWS), tmp_path / "results" / "old.parquet")
    table, broken = read_rows(tmp_path)
    assert (table.num_rows, broken) == (1, [])


def test_a_table_of_something_else_is_named(tmp_path: Path) -> None:
    publish(tmp_path, "job", [row("a")], [])
    pq.write_table(pa.table({"x": [1]}), tmp_path / "results" / "foreign.parquet")
    table, (item,) = read_rows(tmp_path)
    assert table.num_rows == 1
    assert (Path(item.path).name, item.reason) == ("foreign.parquet", "has no column status, trial_id")


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_what_cannot_be_read_now_is_not_damaged(
    error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stale handle or somebody else's permissions say nothing of the file."""
    publish(tmp_path, "job", [row("a")], [])
    path = tmp_path / "results" / "job.parquet"
    before = path.read_bytes()

    def refused(self: Path) -> bytes:
        raise OSError(error, os.strerror(error), str(self))

    monkeypatch.setattr(Path, "read_bytes", refused)
    _, (broken,) = finished_trials(tmp_path)
    assert (broken.damaged, broken.reason) == (False, os.strerror(error))
    with pytest.raises(OSError, match=os.strerror(error)):
        diverged_trials(tmp_path, "job")
    monkeypatch.undo()
    assert path.read_bytes() == before and [entry.name for entry in path.parent.iterdir()] == ["job.parquet"]


def test_what_its_bytes_show_is_damaged(tmp_path: Path) -> None:
    publish(tmp_path, "job", [row("a")], [])
    path = tmp_path / "results" / "job.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    _, (broken,) = finished_trials(tmp_path)
    assert broken.damaged
    assert diverged_trials(tmp_path, "job") is None and not path.exists()
