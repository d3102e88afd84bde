"""Tables that others have written: CSV and its like, JSON, Parquet."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Command, rates
from measured import FILL, check, points

from mutransfer.results.sources.fault import ImportFault
from mutransfer.results.sources.importing import Reading, read_measurements, understand


def test_a_csv_with_other_names(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"d_model": w, "lr": r, "val/loss": y} for w, r, y in points()]
    rows.append({"d_model": 64, "lr": 1.0, "val/loss": None})
    pd.DataFrame(rows).to_csv(tmp_path / "mine.csv", index=False)
    columns = {"width": "d_model", "learning_rate": "lr", "loss": "val/loss"}
    check(tmp_path / "mine.csv", Reading(columns, FILL))
    with pytest.raises(ImportFault, match="has no column nope; it has d_model, lr, val/loss"):
        read_measurements(tmp_path / "mine.csv", Reading({"width": "nope"}, FILL))


@pytest.mark.parametrize(
    "comment", ["# of the cluster\n", "// one\n// and another\n\n", "/* a\n b */", f"# {'long' * 500}\n"]
)
def test_a_comment_above_json_is_named(comment: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(comment + '{"lr": 0.1, "loss": 3}\n{"lr": 0.2, "loss": 2}\n')
    with pytest.raises(ImportFault, match="begins with a comment, which JSON has not"):
        understand(tmp_path / "a.json")


RECORDS: list[dict[str, Any]] = [
    {"lr": 0.1, "loss": 3.0},
    {"lr": 0.2, "loss": "NaN"},
    {"lr": 0.4, "loss": 3.5},
]


@pytest.mark.parametrize(
    "held",
    [
        json.dumps(RECORDS),
        "\n".join(map(json.dumps, RECORDS)),
        json.dumps({"runs": RECORDS, "exported": "today"}),
        json.dumps(
            {"runs": [{"config": {"lr": row["lr"]}, "summary": {"loss": row["loss"]}} for row in RECORDS]}
        ),
        json.dumps({"a": RECORDS[0], "b": RECORDS[1], "c": RECORDS[2]}),
        json.dumps({"lr": [0.1, 0.2, 0.4], "loss": [3.0, None, 3.5]}),
        json.dumps({"lr": {"0": 0.1, "1": 0.2, "2": 0.4}, "loss": {"0": 3.0, "1": None, "2": 3.5}}),
        json.dumps([{"hparams": {"lr": row["lr"]}, "metrics": {"loss": row["loss"]}} for row in RECORDS]),
    ],
    ids=["list", "lines", "within", "runs within", "by name", "columns", "pandas", "nested"],
)
def test_rows_in_any_json(held: str, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text(held)
    rename = {"learning_rate": "hparams.lr"} if "hparams" in held else {}
    rows = read_measurements(tmp_path / "rows", Reading(rename)).to_pylist()
    assert {row["learning_rate"]: row["loss"] for row in rows} == {0.1: 3.0, 0.2: None, 0.4: 3.5}


def test_a_decimal_comma_among_commas_is_quoted(tmp_path: Path) -> None:
    """Where a cell below one shows that no thousands are meant; else it is refused, not guessed."""
    path = tmp_path / "losses.csv"
    path.write_text('lr,loss\n"0,01","3,25"\n"0,02","3,125"\n')
    rows = read_measurements(path).to_pylist()
    assert {row["learning_rate"]: row["loss"] for row in rows} == {0.01: 3.25, 0.02: 3.125}
    path.write_text('lr,loss\n"1,024",3.25\n')
    with pytest.raises(ImportFault, match="row 2: learning_rate '1,024' is not a number"):
        read_measurements(path)


def test_sizes_fractions_and_thousands_are_read_and_said(tmp_path: Path) -> None:
    """Where no decimals can be meant: `1,024` is a width and no learning rate."""
    path = tmp_path / "losses.csv"
    path.write_text(
        'width,params,note,wd,lr,loss\n"1,024",125M,125M,1/8,1/16,3.5\n'
        "2_048,.35B,small,2^-4,2^-7,3.25\n4096,1.3 B,2,0,.25,3.125\n"
    )
    found = understand(path)
    rows = found.table.to_pylist()
    assert [row["width"] for row in rows] == [1024, 2048, 4096]
    assert [row["params"] for row in rows] == ["125M", ".35B", "1.3 B"]  # names, until they are asked for
    assert [row["weight_decay"] for row in rows] == [0.125, 0.0625, 0.0]
    assert [row["learning_rate"] for row in rows] == [1 / 16, 2**-7, 0.25]
    assert found.notes == ("width: '1,024' is read as 1,024",)


def test_a_column_for_each_fraction(tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_text("width,1/64,1/32,1/16\n64,3,2,3\n")
    assert rates(tmp_path / "wide.csv") == [1 / 64, 1 / 32, 1 / 16]


@pytest.mark.parametrize("name", ["losses.csv", "runs.json"])
def test_text_in_another_encoding_is_named(name: str, tmp_path: Path) -> None:
    text = '[{"lr": 0.1,\n"note": "ä"}]' if name == "runs.json" else "lr,loss\n0.1,ä\n"
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ImportFault, match=f"{name}: line 2 is no text in UTF-8; save the file as that"):
        read_measurements(tmp_path / name)


def test_a_folder_and_a_column_that_disagree(tmp_path: Path) -> None:
    for width in (64, 128):
        (tmp_path / f"width={width}").mkdir()
        frame = pd.DataFrame({"width": [width] * 2, "lr": [0.1, 0.2], "loss": [3.0, 2.0]})
        frame.to_parquet(tmp_path / f"width={width}" / "part.parquet")
    assert sorted(understand(tmp_path).table.column("width").to_pylist()) == [64, 64, 128, 128]
    frame.assign(width=0).to_parquet(tmp_path / "width=128" / "part.parquet")
    with pytest.raises(ImportFault, match=r"the column width holds 0, its folder says 128"):
        understand(tmp_path)
    frame.assign(width=64).to_parquet(tmp_path / "width=128" / "part.parquet")
    with pytest.raises(
        ImportFault, match=r"part.parquet: the column width holds 64, its folder says 128; mend"
    ):
        understand(tmp_path)


@pytest.mark.parametrize("kind", ["nullable", "arrow"])
def test_columns_of_nullable_types(kind: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"width": [64, 64, 128], "learning_rate": [0.1, 0.2, 0.1], "loss": [3.0, None, 2.5],
                          "batch_size": [8, None, 8], "flag": [True, None, False]})  # fmt: skip
    backend = "pyarrow" if kind == "arrow" else "numpy_nullable"
    frame.convert_dtypes(dtype_backend=backend).set_index(["width", "learning_rate"]).to_parquet(
        tmp_path / "losses.parquet"
    )
    rows = read_measurements(tmp_path / "losses.parquet").to_pylist()
    assert [(row["width"], row["loss"], row["batch_size"], row["flag"]) for row in rows] == [
        (64, 3.0, 8, "True"), (64, None, None, None), (128, 2.5, 8, "False")
    ]  # fmt: skip


def test_columns_with_levels_are_named(tmp_path: Path) -> None:
    frame = pd.DataFrame([[1.0, 2.0]], columns=pd.MultiIndex.from_tuples([("lr", "a"), ("loss", "b")]))
    frame.to_parquet(tmp_path / "losses.parquet")
    with pytest.raises(ImportFault, match=r"columns have 2 levels \(lr and a\); join their names"):
        read_measurements(tmp_path / "losses.parquet")


def test_a_folder_of_parquet_files_is_one_table(tmp_path: Path) -> None:
    for index in range(2):
        (tmp_path / "parts" / f"{index}").mkdir(parents=True)
        part = pd.DataFrame({"lr": [0.1 * (index + 1)], "loss": [3.0]})
        part.to_parquet(tmp_path / "parts" / f"{index}" / "part.parquet")
    assert rates(tmp_path / "parts") == [0.1, 0.2]
    (tmp_path / "parts" / "sweep.yaml").write_text("name: x\n")
    with pytest.raises(ImportFault, match="is a sweep directory already; next: mutransfer report"):
        rates(tmp_path / "parts")


def test_two_spellings_of_a_name_are_one_family(tmp_path: Path, mutransfer: Command) -> None:
    (tmp_path / "losses.csv").write_text("optimizer,lr,loss\nAdamW,0.1,3\nadamw,0.2,2\nLion,0.1,3\n")
    told = mutransfer("import", "losses.csv", "--out", "taken")
    assert "optimizer: AdamW and adamw are one" in told.stdout
    rows = read_measurements(tmp_path / "losses.csv").column("optimizer").to_pylist()
    assert rows == ["adamw", "adamw", "Lion"]


def test_rows_of_separators_alone_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "losses.csv").write_text("lr,loss\n0.1,3\n,\n\n0.2,2\n,wide\n")
    with pytest.raises(ImportFault, match="row 6: loss 'wide' is not a number"):
        read_measurements(tmp_path / "losses.csv")


@pytest.mark.parametrize("name", ["empty.json", "broken.json", "empty.db", "nothing"])
def test_what_is_none_of_these_is_named(name: str, tmp_path: Path, mutransfer: Command) -> None:
    path = tmp_path / name
    if name == "nothing":
        path.mkdir()
    else:
        path.write_text({"empty.json": "[]", "broken.json": "{"}.get(name, ""))
    done = mutransfer("import", os.fspath(path), "--out", "x")
    assert done.returncode == 2
    assert name in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def test_what_no_loss_can_be_read_from_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text(json.dumps([{"config": "no object", "summary": {"loss": 1}}]))
    with pytest.raises(ImportFault, match=r"odd\.json: is no Weights & Biases export"):
        read_measurements(tmp_path / "odd.json")
    storage = f"sqlite:///{tmp_path}/up.db"
    study = optuna.create_study(study_name="up", storage=storage, direction="maximize")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(ImportFault, match="the study up does not minimise one loss"):
        read_measurements(storage)
    with pytest.raises(ImportFault, match="there is no"):
        read_measurements(f"sqlite:///{tmp_path}/gone.db")
    assert not (tmp_path / "gone.db").exists()


def test_the_options_are_checked(mutransfer: Command) -> None:
    wrong = mutransfer("import", "x.csv", "--out", "x", "--map", "width")
    assert wrong.returncode == 2 and "--map width: write FIELD=VALUE" in wrong.stderr


def test_a_header_behind_a_comment_sign(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("# made by hand\n# width,lr,loss\n64,0.001,3.0\n64,0.002,nan\n")
    rows = read_measurements(tmp_path / "a.csv").to_pylist()
    cells = [(row["width"], row["learning_rate"], row["loss"]) for row in rows]
    assert cells == [(64, 0.001, 3.0), (64, 0.002, None)]
    (tmp_path / "b.csv").write_text("# no header\n64,0.001,3.0\n64,0.002,3.1\n")
    with pytest.raises(ImportFault, match="all its columns are named by numbers"):
        read_measurements(tmp_path / "b.csv")


def test_wide_and_partitioned_parquet(tmp_path: Path) -> None:
    rows = [(64, 0.1, 3.0), (64, 0.2, 2.0), (64, 0.4, 3.0), (128, 0.1, 2.5)]
    frame = pd.DataFrame(rows, columns=["width", "lr", "loss"])
    frame[:3].pivot(index="width", columns="lr", values="loss").to_parquet(tmp_path / "wide.parquet")
    assert rates(tmp_path / "wide.parquet") == [0.1, 0.2, 0.4]
    frame.to_parquet(tmp_path / "hive", partition_cols=["width"])
    widths = read_measurements(tmp_path / "hive").column("width").to_pylist()
    assert sorted(widths) == [64, 64, 64, 128]


def test_what_was_taken_for_diverged_is_said(tmp_path: Path) -> None:
    """A table of suggestions whose losses were not filled in, say."""
    (tmp_path / "a.csv").write_text("width,depth,lr,loss\n64,,0.1,\n64,,0.2,3\n")
    found = understand(tmp_path / "a.csv")  # a column without any cell is none
    assert "1 without a finite final loss are taken for diverged" in found.notes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"lr": 0.1, "loss": 3}\n\n{"lr": 0.2, "loss":\n', "line 3: Expecting value"),
        ('[{"lr": 0.1, "loss": 3, "loss": 4}]', "an object has 'loss' twice"),
        ('{"lr": [0.1, 0.2, 0.3], "loss": [1, 2]}', "the column loss has another length than lr"),
        ('[{"lr": 0.1, "loss": 3}, 5]', "entry 2 of 2 is no object: 5"),
        ('[\n{"lr": 0.1,\n "loss": }]', "line 3 column 10"),
    ],
)
def test_what_is_wrong_in_json_is_named(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ImportFault, match=told):
        understand(tmp_path / "a.json")


def test_columns_of_no_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"lr": [True, False], "loss": [3.0, 2.0]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ImportFault, match="learning_rate holds true and false, no numbers"):
        understand(tmp_path / "a.parquet")
    pd.DataFrame({"lr": pd.to_timedelta([1, 2], unit="s"), "loss": [3.0, 2.0]}).to_parquet(
        tmp_path / "a.parquet"
    )
    with pytest.raises(ImportFault, match="learning_rate holds times, no numbers"):
        understand(tmp_path / "a.parquet")
    twice = pa.table([pa.array([1.0])] * 3, names=["lr", "loss", "loss"])
    pq.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(ImportFault, match="has several columns loss; keep one of each"):
        understand(tmp_path / "a.parquet")


def test_what_holds_no_table_says_what_does(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.csv").write_text("lr,loss\n0.1,3\n")
    with pytest.raises(ImportFault, match=r"import a file alone: a\.csv"):
        understand(tmp_path / "tables")
    with pytest.raises(ImportFault, match="is neither a file nor a folder"):
        understand("/dev/null")
    (tmp_path / "empty.db").touch()
    with pytest.raises(ImportFault, match=r"empty\.db: is empty"):
        understand(tmp_path / "empty.db")


def test_a_name_that_is_no_text(tmp_path: Path, mutransfer: Command) -> None:
    """Bytes of latin-1 as the name of a file, on a system whose names are UTF-8."""
    name = os.fsdecode(b"na\xefve")
    lines = [f"{width},{2.0**power},{3 + (power + 5) ** 2}" for width in (64, 128) for power in range(-8, -2)]
    (tmp_path / f"{name}.csv").write_text("\n".join(["width,lr,loss", *lines]))
    assert mutransfer("import", f"{name}.csv", "--out", name).returncode == 0
    for source in (name, f"{name}.csv"):
        done = mutransfer("report", source, "--out", "page")
        assert done.returncode == 0 and "na?ve" in (tmp_path / "page" / "report.html").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "width;0,001;0,002;0,004\n128;3,5;3,4;3,45\n256;3,3;3,2;diverged\n",
        "width;0,001;0,002;0,004;0,008\n128;3,5;3,4;3,45;-\n256;3,3;3,2;-;>10\n",
        "sep=;\nwidth;lr;loss\n128;0,001;3,5\n128;0,002;3,4\n128;0,004;3,45\n256;0,001;3,3\n256;0,002;3,2\n",
        'width,lr,loss,note\n128,0.001,3.5,"a\u2028b"\n128,0.002,3.4,\x0c\n128,0.004,3.45,\x85\n'
        "256,0.001,3.3,\n256,0.002,3.2,\n",
    ],
)
def test_separators_where_commas_are_in_numbers(text: str, tmp_path: Path) -> None:
    """In the header, too; and lines end where lines end."""
    (tmp_path / "losses.csv").write_text(text, encoding="utf-8")
    rows = read_measurements(tmp_path / "losses.csv").to_pylist()
    told = {(row["width"], row["learning_rate"]): row["loss"] for row in rows if row["loss"]}
    assert told == {
        (128, 0.001): 3.5, (128, 0.002): 3.4, (128, 0.004): 3.45, (256, 0.001): 3.3, (256, 0.002): 3.2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("r.csv", b'"lr","loss"\n"1",0.1,3\n"2",0.2,2\n', "begins with its number, .* as R writes it"),
        (
            "log.csv",
            b"learning_rate,loss\n-3,2\n-4,2.5\n",
            "row 2: learning_rate -3, and none is",
        ),
        ("sheet.xlsx", b"PK\x03\x04\x14\x00", "is a spreadsheet or a ZIP archive; save its table as CSV"),
        ("a.csv.xz", b"\xfd7zXZ\x00\x00", "is packed by xz; unpack it"),
        ("a.feather", b"ARROW1\x00\x00", "is an Arrow or Feather file; save it as Parquet"),
        ("cut.csv.gz", gzip.compress(b"lr,loss\n0.1,3\n" * 99)[:-9], "cut off or damaged, fetch it anew"),
        ("excel.csv", b"lr,loss\n0.1,#DIV/0!\n0.2,3\n", "write diverged where a run has no loss"),
        ("split.json", b'{"columns": ["lr"], "index": [0], "data": [[1]]}', "pandas writes rows with orient"),
        (
            "asked.csv",
            b"lr,loss\n0.1,waiting\n0.2,waiting\n",
            "measurements; 2 waiting for a loss left out",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # gzip writes the time
)
def test_a_remedy_is_named(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImportFault, match=told):
        understand(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("a.csv", "run,width,lr,loss\n1,64,0.001,3.2,\n2,64,0.002,3.0,\n", 2),
        ("a.json", '{"columns": [1, 2], "data": ["c4", "c4"], "lr": [0.1, 0.2], "loss": [3.0, 2.0]}', 2),
    ],
)
def test_what_only_looks_like_another_kind_is_read(name: str, text: str, count: int, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert understand(tmp_path / name).table.num_rows == count


def test_what_is_not_the_file_itself_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(ImportFault, match="is a pointer of Git LFS"):
        understand(tmp_path / "a.csv")
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(b'{"op_code": 0}\n'))
    with pytest.raises(ImportFault, match=r"is gzipped, .*; unpack it"):
        understand(tmp_path / "a.log.gz")
    with pytest.raises(ImportFault, match=r"://me:\*\*\*@nowhere/db"):
        understand("postgresql://me:secret@nowhere/db")
    for address, words in (
        ("postgres://me:secret@h/db", "write postgresql://"), ("mysql://me:se@cret@h/db", r"://me:\*\*\*@h"),
        ("https://me:secret@h/x", "is no database's address"), ("sqlite+pysqlite:///x.db", "the path alone"),
        ("postgresql://h/db?user=me&password=secret", r"password=\*\*\*"),
    ):  # fmt: skip
        with pytest.raises(ImportFault, match=words) as told:
            understand(address)
        assert "cret" not in str(told.value)
    entries = [{"lr": 0.1, "loss": 3.0, "tags": ["a"]}, {"lr": 0.2, "loss": 2.0, "tags": "b"}]
    (tmp_path / "rows.json").write_text(json.dumps(entries))
    assert understand(tmp_path / "rows.json").table.num_rows == 2
    entries = [{"lr": 0.1, "loss": 3.0}, {"lr": 0.2, "loss": [3.0, 2.9]}]
    (tmp_path / "rows.json").write_text(json.dumps(entries))
    with pytest.raises(ImportFault, match="entry 2: loss is a list, and one value in other entries"):
        understand(tmp_path / "rows.json")


def test_sizes_are_numbers_where_they_are_asked_for(tmp_path: Path, mutransfer: Command) -> None:
    """As scales, and as what is held; decimal commas in them, too."""
    rows = [f"{size};{rate};{3 + 0.1 * x * x}".replace(".", ",") for size in ("1.5B", "500M", "124,439,808")
            for x, rate in ((-1, 0.125), (0, 0.25), (1, 0.5))]  # fmt: skip
    (tmp_path / "a.csv").write_text("\n".join(["params;lr;loss", *rows]))
    assert understand(tmp_path / "a.csv").table.column("params").to_pylist()[0] == "1.5B"
    told = mutransfer("report", "a.csv", "--out", "x", "--axis", "params").stdout
    assert all(size in told for size in ("124.44M", "500M", "1.5B"))
    held = mutransfer("report", "a.csv", "--out", "x", "--axis", "params", "--hold", "params=500M").stdout
    assert "500M" in held and "1.5B" not in held


def test_words_for_nothing_in_other_sources(tmp_path: Path) -> None:
    """A tracker's None among numbers is nothing there; among words it is one."""
    rows = [{"lr": 0.1, "wd": "None", "drop": "None", "aug": "None", "loss": 3.0},
            {"lr": 0.2, "wd": 0.1, "drop": 0.5, "aug": "mixup", "loss": 2.0}]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(rows))
    found = understand(tmp_path / "a.json").table
    assert found.column("weight_decay").to_pylist() == [None, 0.1]
    assert found.column("drop").to_pylist() == [None, "0.5"]
    assert found.column("aug").to_pylist() == ["None", "mixup"]


def test_a_word_for_nothing_is_that_among_numbers_alone(tmp_path: Path, mutransfer: Command) -> None:
    rows = [f"{width},{2.0**x},{aug},NA,{'None' if width == 16 else 0.1},{3 + 0.1 * x * x + bonus}"
            for width in (16, 32, 64) for x in range(-2, 3)
            for aug, bonus in (("None", 0.0), ("mixup", 0.2))]  # fmt: skip
    (tmp_path / "a.csv").write_text("\n".join(["width,lr,aug,optimizer,wd,loss", *rows]))
    found = understand(tmp_path / "a.csv").table
    assert {*found.column("optimizer").to_pylist()} == {"NA"}
    assert {*found.column("weight_decay").to_pylist()} == {None, 0.1}
    told = mutransfer("report", "a.csv", "--out", "x", "--hold", "aug=None")
    assert told.returncode == 0 and "+0.00" in told.stdout and "mixup" not in told.stdout


def test_columns_that_are_mapped_may_be_logarithms(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("log2_width,log2_lr,log2_ppl\n6,-9,3\n7,-8,2\n")
    mapping = {"width": "log2_width", "learning_rate": "log2_lr", "loss": "log2_ppl"}
    found = understand(tmp_path / "a.csv", Reading(mapping))
    rows = found.table.to_pylist()
    assert [(row["width"], row["learning_rate"], row["loss"]) for row in rows] == [
        (64, 2**-9, 3), (128, 2**-8, 2)
    ]  # fmt: skip
    assert found.found["learning_rate"] == "2^log2_lr" and found.found["loss"] == "log2_ppl"
    (tmp_path / "a.csv").write_text("lr,log2_wd,log2opt,loss\n0.1,−9,adamw,3\n0.2,-8,lion,2\n")
    found = understand(tmp_path / "a.csv", Reading({"weight_decay": "log2_wd", "optimizer": "log2opt"}))
    assert found.table.column("weight_decay").to_pylist() == [2**-9, 2**-8]
    assert found.table.column("optimizer").to_pylist() == ["adamw", "lion"]
    (tmp_path / "a.csv").write_text("lr,log2_wd,loss\n0.1,bad,3\n0.2,-8,2\n")
    with pytest.raises(ImportFault, match="log2_wd 'bad' is not a number"):
        understand(tmp_path / "a.csv", Reading({"weight_decay": "log2_wd"}))


def test_a_fault_in_a_folder_names_its_file(tmp_path: Path) -> None:
    for part, loss in (("a", "3.0"), ("b", "bad")):
        frame = pd.DataFrame({"lr": [0.1, 0.2], "loss": ["2.5", loss]})
        frame.to_parquet(tmp_path / f"{part}.parquet")
    with pytest.raises(ImportFault, match=r"row 3 of b\.parquet: loss 'bad' is not a number"):
        understand(tmp_path)
