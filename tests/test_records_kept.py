"""What a sweep directory holds: written over by no command, and missed by none that says how it stands."""

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Command

from mutransfer.models.recipe.fault import Fault
from mutransfer.orchestrator.record.directory import DirectoryError, SweepDirectory
from mutransfer.orchestrator.record.output import write_output
from mutransfer.orchestrator.upkeep.status import sweep_status
from mutransfer.results.store.store import finished_trials, published_jobs

STORED = Path(__file__).parent / "stored" / "schema-1"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """One of three widths, as an older version left it."""
    return Path(shutil.copytree(STORED, tmp_path / "sweep"))


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("place", ["plan.json", "results/{job}.parquet", "results/new.csv", "sweep.yaml"])
@pytest.mark.parametrize("command", ["trials", "export", "suggest"])
def test_no_output_lands_on_a_record(command: str, place: str, sweep: Path, mutransfer: Command) -> None:
    before = content(sweep)
    job = sorted(path.stem for path in (sweep / "results").glob("*.parquet"))[0]
    out = str(sweep / place.format(job=job))
    with pytest.raises(Fault, match="is among the records of the sweep sweep; give another place"):
        write_output(Path(out), b"", [])
    if command == "trials":
        done = mutransfer("trials", "sweep", "--out", out)
        assert done.returncode == 2 and out in done.stderr
    elif command == "export":
        done = mutransfer("export", "sweep", "--width", "64", "--depth", "2", "--out", out)
        assert done.returncode == 2
    else:
        mutransfer("report", "sweep", "--suggest", out, "--out", "page")
    assert content(sweep) == before


def test_no_output_lands_on_what_is_read(tmp_path: Path, mutransfer: Command) -> None:
    table = tmp_path / "losses.csv"
    table.write_text("width,lr,loss\n64,0.1,3\n64,0.2,2\n64,0.4,3\n")
    before = table.read_bytes()
    (tmp_path / "link.csv").symlink_to(table)
    for out in ("losses.csv", "./losses.csv", "link.csv"):
        done = mutransfer("trials", "losses.csv", "--out", out)
        assert (done.returncode, done.stderr) == (
            2,
            f"{out.removeprefix('./')}: is what is read; give another name\n",
        )
    assert table.read_bytes() == before


def test_an_output_is_written_into_what_is_no_file(tmp_path: Path) -> None:
    write_output(Path("/dev/null"), b"text", [])
    assert not Path("/dev/null").is_file()
    with pytest.raises(Fault, match="is a folder; give the name of a file"):
        write_output(tmp_path, b"text", [])
    (tmp_path / "place").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "place")
    write_output(tmp_path / "link", b"new", [])
    assert (tmp_path / "place").read_text() == "new" and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("words", [("--out",), ("--out", "page", "--suggest")])
def test_a_place_that_cannot_be_written_to_is_said_first(
    words: tuple[str, ...], sweep: Path, tmp_path: Path, mutransfer: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is computed, or printed."""
    (tmp_path / "file").touch()
    done = mutransfer("report", "sweep", *words, "file/more.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    file = tmp_path / "file"
    assert done.stderr == f"file/more.yaml: cannot be written ({file} is no folder); give another place\n"
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    done = mutransfer("report", "sweep", *words, "new/more.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"no permission to write to {tmp_path}" in done.stderr


def test_what_is_to_be_edited_is_never_written_over(tmp_path: Path, mutransfer: Command) -> None:
    """A table of suggestions whose losses were filled in, say."""
    lines = [f"{width},{rate},{3 + 100 * rate}" for width in (64, 128) for rate in (0.001, 0.002, 0.004)]
    (tmp_path / "open.csv").write_text("\n".join(["width,lr,loss", *lines]))
    words = ("report", "open.csv", "--out", "page", "--suggest", "more.csv")
    for _ in range(2):  # the same again is no other
        assert mutransfer(*words).returncode == 0
    (tmp_path / "more.csv").write_text("width,lr,loss\n64,0.008,2.71\n")
    done = mutransfer(*words)
    assert done.returncode == 2 and done.stderr.endswith("more.csv: exists already; give another name\n")
    assert "2.71" in (tmp_path / "more.csv").read_text()
    done = mutransfer(*words[:-1], "more.yaml")
    assert done.returncode == 2 and "--suggest FILE.csv writes a table" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("report", "sweep"),
        ("weights", "sweep", "0"),
        ("coordcheck", "quickstart"),
        ("probe", "norm-scale", "norm-scale"),
    ],
    ids=lambda words: words[0],
)
def test_no_page_lands_among_the_records(words: tuple[str, ...], sweep: Path, mutransfer: Command) -> None:
    before = content(sweep)
    done = mutransfer(*words, "--out", "sweep/results")
    assert done.returncode == 2 and "is among the records of the sweep sweep" in done.stderr
    assert content(sweep) == before


def test_trials_names_the_files_that_it_cannot_read(sweep: Path, mutransfer: Command) -> None:
    broken = min((sweep / "results").glob("*.parquet"))
    broken.write_bytes(broken.read_bytes()[:100])
    done = mutransfer("trials", "sweep", "--out", "t.csv")
    assert done.returncode == 0 and f"{broken.name}: unreadable, left out" in done.stderr


def test_status_and_report_agree_on_damage(sweep: Path, mutransfer: Command) -> None:
    whole = sweep_status(SweepDirectory(sweep))
    assert (whole.state, whole.problems) == ("done", ())
    broken = min((sweep / "results").glob("*.parquet"))
    broken.write_bytes(broken.read_bytes()[:-40])
    found = sweep_status(SweepDirectory(sweep))
    readable = len(finished_trials(sweep)[0])
    assert (found.state, found.counts.finished) == (
        "incomplete",
        readable,
    ) and readable < whole.counts.finished
    assert broken.name in found.problems[0]
    done = mutransfer("status", "sweep")
    assert f"{readable} of {whole.counts.wanted} trials done" in done.stdout and broken.name in done.stdout


def test_status_names_every_file_that_report_leaves_out(sweep: Path) -> None:
    newer = min((sweep / "results").glob("*.parquet"))
    table = pq.read_table(newer)
    newer.unlink()
    pq.write_table(table.replace_schema_metadata({b"mutransfer.schema": b"99"}), newer)
    pq.write_table(pa.table({"width": [1], "loss": [2.0]}), sweep / "results" / "foreign.parquet")
    found = sweep_status(SweepDirectory(sweep))
    assert found.state == "incomplete" and found.counts.finished == len(finished_trials(sweep)[0])
    assert [Path(told.partition(":")[0]).name for told in found.problems] == [newer.name, "foreign.parquet"]


def test_what_is_lost_is_named_with_its_remedy(sweep: Path, mutransfer: Command) -> None:
    (sweep / "plan.json").write_text("")
    done = mutransfer("status", "sweep")
    assert done.returncode == 2 and "restore it, or take it away and run the sweep again" in done.stderr
    (sweep / "plan.json").write_text("{}")
    (sweep / "sweep.json").unlink()
    for command in ("status", "report"):
        done = mutransfer(command, "sweep")
        assert done.returncode == 2 and "sweep: has lost its sweep.json; put it back, as" in done.stderr


def test_a_sweep_without_a_plan_is_not_done(sweep: Path, mutransfer: Command) -> None:
    (sweep / "plan.json").unlink()
    found = sweep_status(SweepDirectory(sweep))
    assert found.state == "incomplete" and "has no plan; run the sweep again" in found.problems[0]
    told = json.loads(mutransfer("status", "sweep", "-f", "json").stdout)
    assert told["problems"] == ["sweep: has no plan; run the sweep again"]
    assert "sweep: has no plan; run the sweep again" in mutransfer("report", "sweep").stderr


def test_imported_measurements_are_done(tmp_path: Path, mutransfer: Command) -> None:
    (tmp_path / "a.csv").write_text("width,lr,loss\n64,0.1,3\n")
    assert mutransfer("import", "a.csv", "--out", "taken").returncode == 0
    found = sweep_status(SweepDirectory(tmp_path / "taken"))
    assert (found.state, found.problems) == ("done", ())


def test_a_folder_of_results_that_cannot_be_read_is_not_empty(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, mutransfer: Command
) -> None:
    listed = os.listdir

    def refused(path: str | Path = ".") -> list[str]:
        if Path(path).name == "results":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "listdir", refused)
    with pytest.raises(PermissionError):
        published_jobs(sweep)
    for command in ("status", "report", "compare"):
        done = mutransfer(command, "sweep")
        assert (done.returncode, "results: Permission denied" in done.stderr) == (2, True)


def test_results_that_are_a_file_are_named(tmp_path: Path, sweep_file: Path, mutransfer: Command) -> None:
    (tmp_path / "file").touch()
    done = mutransfer("run", str(sweep_file), "--out", "file")
    assert (done.returncode, done.stderr) == (2, "file: is a file; give another directory\n")
    SweepDirectory(tmp_path / "named").write_sweep("sweep", "name: sweep\n")
    (tmp_path / "named" / "results").touch()
    done = mutransfer("status", "named")
    assert (done.returncode, "named/results: Not a directory" in done.stderr) == (2, True)


@pytest.mark.parametrize("name", ["plan.json", "sweep.json", "options.json"])
def test_records_of_a_newer_version_are_left_alone(name: str, sweep: Path) -> None:
    path = sweep / name
    record = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**record, "format": 9}))
    directory = SweepDirectory(sweep)
    read = {
        "plan.json": directory.planned,
        "sweep.json": directory.sweep_name,
        "options.json": directory.read_options,
    }
    with pytest.raises(
        DirectoryError, match=f"{name}: is of format 9, of a newer mutransfer; upgrade to read it"
    ):
        read[name]()
