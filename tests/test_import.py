"""Measurements from elsewhere: the same report, every fault named with its row."""

import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mutransfer.results.questions.comparison import compare
from mutransfer.results.sources.fault import ImportFault
from mutransfer.results.sources.importing import Reading, read_measurements, understand
from mutransfer.results.store.schema import ROWS

HEADER = "optimizer,parametrization,width,depth,learning_rate,loss\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "losses.csv"
    path.write_text(text)
    return path


def test_an_empty_loss_is_a_diverged_trial(tmp_path: Path) -> None:
    table = read_measurements(write(tmp_path, HEADER + "adamw,sp,16,2,0.1,\nadamw,sp,16,2,0.2,inf\n"))
    assert table.column("status").to_pylist() == ["diverged", "diverged"]
    assert table.column("loss").to_pylist() == [None, None]


def test_other_columns_are_kept(tmp_path: Path) -> None:
    header = HEADER.replace("loss", "loss,note,seed")
    table = read_measurements(write(tmp_path, header + "adamw,sp,16,2,0.1,3.5,mine,4\n"))
    assert table.column("note").to_pylist() == ["mine"]
    assert table.column("seed").to_pylist() == [4]


def test_text_columns_may_hold_numbers(tmp_path: Path) -> None:
    header = HEADER.replace("loss", "loss,source,note")
    table = read_measurements(write(tmp_path, header + "1,2,16,2,0.1,3.5,15,7\n"))
    assert (table.column("optimizer")[0].as_py(), table.column("source")[0].as_py()) == ("1", "15")
    assert table.column("note").to_pylist() == ["7"]


def test_parquet_reads_like_csv(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "adamw,sp,16,2,0.1,3.5\n")
    parquet = tmp_path / "losses.parquet"
    pd.read_csv(path).to_parquet(parquet)
    assert read_measurements(parquet).to_pylist() == read_measurements(path).to_pylist()


def test_the_same_row_is_the_same_measurement(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "adamw,sp,16,2,0.1,3.5\nadamw,sp,16,2,0.1,3.5\n")
    assert read_measurements(path).num_rows == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "width,loss\n1,2\n",
            "the columns learning_rate are missing; it has width, loss; name theirs: mutransfer import",
        ),
        ("width,a1,a2,a3\n1,2,3,4\n", "where a1, a2, ... hold losses, call them lr=RATE if they are rates;"),
        (HEADER, "holds no measurements"),
        (HEADER + "adamw,sp,wide,2,0.1,3\n", "row 2: width 'wide' is not a number"),
        (HEADER + "adamw,sp,16,2,0.1,3\nadamw,sp,16,2,-1,3\n", "row 3: learning_rate must be positive"),
        (HEADER + "adamw,sp,16,2,,3\n", "row 2: learning_rate is empty"),
        (HEADER + "adamw,sp,16,2,inf,3\n", "row 2: learning_rate is not finite or too large; mend it"),
        (HEADER.replace("loss", "loss,tied") + "adamw,sp,16,2,0.1,3,maybe\n", "column tied:"),
        (HEADER + ",sp,16,2,0.1,3\nadamw,sp,16,2,0.2,3\n", "row 2: optimizer is empty"),
        (HEADER + "adamw,sp,16.5,2,0.1,3\n", "row 2: width must be an integer"),
        (HEADER + 'adamw,sp,16,2,0.1,3\n"adamw', "is neither CSV nor Parquet that can be read"),
        ("width,0.1,0.2,0.3\n32,3,2,1\n64,3,oops,1\n", "row 3: loss 'oops' is not a number"),
        ("width,log2_lr,loss\n32,abc,2\n", "log2_lr 'abc' is not a number"),
        (
            "lr,loss\n0.1,mse\n0.2,mse\n",
            "row 2: loss 'mse' is not a number, and nothing else of its column is; write plain numbers, or "
            "name another column with --map loss=COLUMN",
        ),
        ("lr,lr,loss\n0.1,0.2,3\n", "has several columns lr; keep one of each"),
        ("lr,loss\n0.1,1e200\n", "row 2: loss is too large"),
        (HEADER + "adamw,sp,16,2,0.1,3,4\n", "line 2 has 7 cells under 6 columns; quote what holds a ','"),
        ("# from a paper\n\n" + HEADER + "\nadamw,sp,wide,2,0.1,3\n", "row 5: width 'wide' is not a number"),
        ("lr,learning rate,loss\n1,2,3\n", "both lr and learning rate may be learning_rate; say which with"),
        ("", "is empty"),
        ("lr,weight_decay,loss\n0.1,-0.1,3\n", "row 2: weight_decay must not be negative"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ImportFault) as error:
        read_measurements(path)
    assert message in str(error.value)
    assert all(line.startswith(str(path)) for line in str(error.value).splitlines())


@pytest.mark.parametrize("order", ["le", "be"])
def test_text_of_two_bytes_without_their_mark(order: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("lr,loss\n0.1,3\n0.2,2\n".encode(f"utf-16-{order}"))
    with pytest.raises(ImportFault, match=r"a\.csv: is UTF-16 without its mark, or no text; save the file"):
        understand(path)


def test_binary_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ImportFault, match=r"losses\.csv: is neither CSV nor Parquet"):
        read_measurements(path)
    with pytest.raises(ImportFault, match=r"gone\.csv: cannot be read"):
        read_measurements(tmp_path / "gone.csv")


def test_many_faults_are_cut_short(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "adamw,sp,wide,2,0.1,3\n" * 30 + "adamw,sp,16,2,0.1,3\n")
    with pytest.raises(ImportFault, match="and 20 more"):
        read_measurements(path)


def found(
    tmp_path: Path, text: str | bytes, name: str = "losses.csv"
) -> tuple[list[dict[str, object]], dict[str, str]]:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    read = understand(path)
    columns = ["width", "depth", "learning_rate", "loss"]
    return read.table.select(columns).to_pylist(), dict(read.found)


PLAIN = [{"width": 64, "depth": 2, "learning_rate": 0.25, "loss": 3.5}]


@pytest.mark.parametrize(
    "text",
    [
        "n_embd,n_layer,lr,val_loss\n64,2,0.25,3.5\n",
        "d_model;layers;Max LR;Valid-Loss\n64;2;0,25;3,5\n",
        "hidden_size\tnum_layers\tlog2 lr\tloss\n64\t2\t-2\t3.5\n",
        "\ufeff# a comment\nwidth,depth,lr,loss,\n64,2,0.25,3.5,\n",
        gzip.compress(b"width,depth,lr,loss\n64,2,0.25,3.5\n", mtime=0),
        "width,depth,lr,loss\n64,2,0.25,3.5\n".encode("utf-16"),
    ],
)
def test_what_people_have_is_understood(tmp_path: Path, text: str | bytes) -> None:
    assert found(tmp_path, text)[0] == PLAIN


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lr;width;loss\n0,01;1.000;3,5\n", "line 2: '1.000' beside '0,01': thousands, or decimals"),
        ("lr;width;loss\n0.01;1,024;3.5\n", "line 2: '1,024' beside '0.01': thousands, or decimals"),
        ('lr,width,loss\n"0,01",1.000,"3,5"\n', "line 2: '1.000' beside '0,01'"),
        ("lr,width,loss\n0.01,64,3.5\n0.02,64\n", "line 3 has 2 cells under 3 columns; is the file cut off"),
        ("adamw,64,0.01,3.2\nadamw,64,0.02,3.1\n", "called adamw, 64, 0.01, 3.2, like a row; is its header"),
        ("tokens\tlr\tloss\n1,000\t1e-4\t4\n", "line 2: '1,000': thousands, or decimals"),
        ("eta_max,64,128,256\n0.1,3,2,1\n", "the columns 64, 128, 256 are called by whole numbers"),
        (
            "width learning_rate loss\n64 0.1 3\n",
            "one column 'width learning_rate loss'; part columns with a comma",
        ),
        ("a,0.0001,0.01,3.2\nb,0.0001,0.02,3.1\n", "like a row; is its header missing"),
    ],
)
def test_what_reads_in_two_ways_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ImportFault, match=re.escape(told)):
        found(tmp_path, text)


def test_a_whole_number_among_learning_rates_is_one(tmp_path: Path) -> None:
    rows, _ = found(tmp_path, "width,depth,0.5,1,2\n64,2,4,3,5\n")
    assert [row["learning_rate"] for row in rows] == [0.5, 1, 2]
    rows, _ = found(tmp_path, "width,depth,lr=1,lr=2,lr=4\n64,2,4,3,5\n")
    assert [row["learning_rate"] for row in rows] == [1, 2, 4]


def test_usual_names_are_passed_over_by_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("width,learning_rate,loss\n64,0.1,3\n")
    assert understand(tmp_path / "a.csv").notes == ()


def test_lines_among_the_rows_that_begin_with_a_comment_sign_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("# mine\nrun,lr,loss\n#0,0.1,3\nr1,0.2,2\n")
    assert understand(tmp_path / "a.csv").notes == ("1 lines that begin with # passed over, from line 3 on",)
    (tmp_path / "a.csv").write_text("#,lr,loss\n0,0.1,3\n1,0.2,2\n")
    assert understand(tmp_path / "a.csv").table.num_rows == 2


def test_three_decimals_alone_are_decimals(tmp_path: Path) -> None:
    (row,), _ = found(tmp_path, "width;depth;lr;loss\n64;2;0,25;3,125\n")
    assert row["loss"] == 3.125


def test_what_may_be_meant_instead_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("width,lr,accuracy,val_loss,loss\n64,0.1,0.5,3,2\n")
    assert understand(path).notes == (
        "loss: val_loss is there, too, and left alone; --map loss=val_loss takes it",
    )
    taken = understand(path, Reading({"loss": "val_loss"}))
    assert taken.table.column("loss").to_pylist() == [3.0] and taken.notes == ()
    taken = understand(path, Reading({"loss": "accuracy"}))
    assert "loss: accuracy is called like a score; where more is better, give its negative" in taken.notes


def test_a_column_that_is_empty_throughout_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("width,lr,loss\n,0.1,3\n,0.2,2\n")
    assert "width: empty in every row, left out" in understand(tmp_path / "a.csv").notes


def test_what_a_column_was_taken_for_is_said(tmp_path: Path) -> None:
    _, names = found(tmp_path, "n_embd,depth,log2_lr,val_loss\n64,2,-2,3.5\n")
    assert names == {"learning_rate": "2^log2_lr", "loss": "val_loss", "width": "n_embd"}


def test_a_column_for_each_learning_rate(tmp_path: Path) -> None:
    rows, names = found(tmp_path, "width,depth,2^-3,2^-2,0.5\n64,2,3.6,3.5,diverged\n128,2,3.2,3.1,>10\n")
    assert [row["learning_rate"] for row in rows if row["width"] == 64] == [0.125, 0.25, 0.5]
    assert [row["loss"] for row in rows if row["width"] == 128] == [3.2, 3.1, None]
    assert names["learning_rate"] == "the names of 3 columns: 2^-3, 2^-2, 0.5"


@pytest.mark.parametrize("name", ["lr 0.1", "lr_0.1", "LR = 1e-1", "η=0.1", "loss@0.1", "learning rate: 0.1"])
def test_rates_are_named_in_many_ways(tmp_path: Path, name: str) -> None:
    names = [name, name.replace("1", "2", 1), name.replace("1", "3", 1)]
    rows, _ = found(tmp_path, f"width,{','.join(names)}\n64,3.6,3.5,3.4\n")
    assert [row["learning_rate"] for row in rows] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("name", ["loss@500", "lr 1", "lr@2", "eta_3", "lr1"])
def test_whole_numbers_behind_a_word_are_steps_or_layers(tmp_path: Path, name: str) -> None:
    names = [name, f"{name}0", f"{name}00"]
    path = write(tmp_path, f"width,{','.join(names)}\n64,3.6,3.5,nan\n")
    with pytest.raises(ImportFault, match="call them lr=RATE if they are rates; else give each loss a row"):
        understand(path)
    path = write(tmp_path, f"width,lr,loss,{','.join(names)}\n64,0.1,3,3.6,3.5,nan\n")
    assert [float(cell) for cell in understand(path).table.column(name).to_pylist()] == [3.6]


@pytest.mark.parametrize("word", ["diverged", "-", "—", "×", "div.", "NaN", ">10", "≥ 12.5", ">1e3", "inf"])
def test_words_for_divergence(tmp_path: Path, word: str) -> None:
    rows, _ = found(tmp_path, f"width,depth,lr,loss\n64,2,0.25,{word}\n64,2,0.5,3\n")
    assert [row["loss"] for row in rows] == [None, 3.0]


def test_a_cell_with_nothing_in_it_was_not_run(tmp_path: Path) -> None:
    """Of a table with a column for each rate; what is written diverged did."""
    path = tmp_path / "wide.csv"
    path.write_text("width,2^-8,2^-7,2^-6,2^-5\n16,3.0,2.9,2.8,2.9\n32,2.9,2.8,nan,\n64,2.8,diverged,,\n")
    found = understand(path)
    assert found.table.num_rows == 9 and found.table.column("loss").null_count == 2
    assert "3 empty cells were not run; write diverged into those that were" in found.notes
    assert "2 without a finite final loss are taken for diverged" in found.notes
    path.write_text("width,state,2^-3,2^-2,2^-1\n16,failed,3.0,,1\n32,finished,,2,3\n64,finished,3,2,\n")
    assert understand(path).table.column("loss").to_pylist() == [3.0, 2.0, 2.0, 3.0]
    path.write_text("width;0,5;0,25;0,125\n16;3,0;2,9;2,8\n32;;2,8;\n")
    assert understand(path).table.column("loss").to_pylist() == [3.0, 2.9, 2.8, 2.8]
    path.write_text("width,lr,loss\n16,0.1,3.0\n16,0.2,\n16,0.4,oom\n16,0.8,OOM\n")
    found = understand(path)
    assert found.table.column("status").to_pylist() == ["finished", "diverged"]
    assert "2 out of memory, which is no divergence, left out" in found.notes


def test_markdown_and_powers_in_cells(tmp_path: Path) -> None:
    path = tmp_path / "table.md"
    path.write_text("| width | lr | loss |\n|:-|--:|------|\n| 16 | 2^-10 | 3.0 |\n| 16 | 10**−2 | 2.9 |\n")
    assert understand(path).table.column("learning_rate").to_pylist() == [2**-10, 0.01]
    path.write_text(
        "| width | lr=0.1 | lr=0.2 | lr=0.4 |\n|---|---|---|---|\n| 16 | 3.0 | **2.9** | `3.1` |\n"
    )
    assert understand(path).table.column("loss").to_pylist() == [3.0, 2.9, 3.1]


@pytest.mark.parametrize("name", ["top1", "val_top-1", "valAcc", "episode_return", "mAP", "test/f1"])
def test_a_score_by_its_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(f"width,lr,{name}\n16,0.1,3.0\n16,0.2,4\n")
    notes = understand(path, Reading({"loss": name})).notes
    assert f"loss: {name} is called like a score; where more is better, give its negative" in notes


def test_a_perplexity_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("width,lr,val_ppl\n16,0.1,30.0\n16,0.2,40\n")
    (note,) = understand(path, Reading({"loss": "val_ppl"})).notes
    assert note.startswith("loss: val_ppl is called like a perplexity; give its logarithm for losses in nats")


@pytest.mark.parametrize("name", ["reward_model_loss", "returns_mse", "map_error"])
def test_a_loss_is_no_score(name: str, tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    path.write_text(f"width,lr,{name}\n16,0.1,3.0\n16,0.2,4\n")
    assert not any("score" in note for note in understand(path, Reading({"loss": name})).notes)


@pytest.mark.parametrize("content", [gzip.compress(b"lr,loss\n0.1,3\n", mtime=0)[:20], b"\x1f\x8bgarbage"])
def test_a_broken_archive_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "losses.csv").write_bytes(content)
    with pytest.raises(ImportFault, match="is neither CSV nor Parquet"):
        read_measurements(tmp_path / "losses.csv")


def test_mapped_and_filled_is_a_fault(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "adamw,sp,16,2,0.1,3\n")
    with pytest.raises(ImportFault, match="width is both mapped and filled in"):
        read_measurements(path, Reading({"width": "width"}, {"width": "7"}))


def test_spellings_of_a_name_are_one(tmp_path: Path) -> None:
    """Capitals, spaces and dashes; and the two signs for micro, which look alike."""
    names = ["AdamW", "Adam W", "adam-w", "adamw", "lion"]
    rows = [f"{name},{rule},0.1,3,{2**62}" for name in names for rule in ("\u00b5P", "\u03bcP")]
    (tmp_path / "a.csv").write_text("\n".join(["optimizer,parametrization,lr,loss,seed", *rows]))
    found = understand(tmp_path / "a.csv")
    assert {*found.table.column("optimizer").to_pylist()} == {"adamw", "lion"}
    assert len({*found.table.column("parametrization").to_pylist()}) == 1
    assert any("AdamW and Adam W and adam-w and adamw are one" in note for note in found.notes)


def test_numbers_in_a_name_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("architecture,lr,loss\nv1_1,0.1,3\nv11,0.1,2\nGPT-2,0.1,3\ngpt2,0.1,2\n")
    found = understand(tmp_path / "a.csv")
    assert {*found.table.column("architecture").to_pylist()} == {"v1_1", "v11", "gpt2"}
    (tmp_path / "b.csv").write_text(f"lr,loss,seed\n0.1,3,{2**62 - 1}\n0.1,2,\n")
    with pytest.raises(
        ImportFault, match="seed is not finite or too large; mend it, or leave the column out"
    ):
        understand(tmp_path / "b.csv")


def test_runs_that_repeat_without_a_seed_are_runs(tmp_path: Path) -> None:
    """Three of five that diverged are most of them, whether or not seeds tell them apart."""
    noise = np.random.default_rng(0)
    rows = [
        (width, 2.0**x, seed, 3.2 - width / 5120 + 0.02 * (x + 9) ** 2 + 0.003 * noise.normal())
        for width in (64, 128, 256, 512)
        for x in range(-13, -5)
        for seed in range(5)
    ]
    frame = pd.DataFrame(rows, columns=["width", "learning_rate", "seed", "loss"])
    lost = (frame["width"] == 512) & (frame["learning_rate"] >= 2.0**-10) & (frame["seed"] < 3)
    frame["loss"] = frame["loss"].where(~lost)
    for name, table in (("seeds", frame), ("none", frame.drop(columns="seed"))):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        found = understand(tmp_path / f"{name}.csv")
        assert found.table.num_rows == 160
        (compared,) = compare(found.table.to_pandas(), ROWS.names)
        assert compared.drift.verdict == "drifts"
        assert compared.drift.optima[-1].log2_optimum == -11
    twice = pd.concat([frame, frame]).drop(columns="seed")
    twice.to_csv(tmp_path / "twice.csv", index=False)
    assert understand(tmp_path / "twice.csv").table.num_rows == 160


def test_values_that_differ_by_rounding_are_one(tmp_path: Path) -> None:
    """In single precision; those of a grid of their own, as of beta2, stay apart."""
    rows = [
        (width, 1.1 * 2.0**x, seed, 3 + 0.01 * (x + 9) ** 2 + 0.1 * seed)
        for width in (64, 128, 256)
        for x in range(-13, -5)
        for seed in (0, 1)
    ]
    frame = pd.DataFrame(rows, columns=["width", "learning_rate", "seed", "loss"])
    single = frame["learning_rate"].astype("float32").astype(float)
    frame["learning_rate"] = frame["learning_rate"].where(frame["seed"] == 0, single)
    frame.to_csv(tmp_path / "a.csv", index=False)
    (compared,) = compare(understand(tmp_path / "a.csv").table.to_pandas(), ROWS.names)
    assert [len(curve.x) for curve in compared.drift.curves] == [8, 8, 8]
    betas = [0.99, 0.993, 0.995, 0.998, 0.999, 0.9995, 0.9999]
    cells = [(width, beta, 0.1, 3 + beta) for width in (64, 128, 256) for beta in betas]
    pd.DataFrame(cells, columns=["width", "beta2", "lr", "loss"]).to_csv(tmp_path / "b.csv", index=False)
    table = understand(tmp_path / "b.csv").table.to_pandas()
    (compared,) = compare(table, ROWS.names, tuned="beta2")
    assert [len(curve.x) for curve in compared.drift.curves] == [7, 7, 7]


def test_a_suggestion_that_still_waits_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("width,learning_rate,loss\n64,0.1,3.0\n64,0.2,waiting\n")
    found = understand(tmp_path / "more.csv")
    assert found.table.num_rows == 1 and found.notes == ("1 waiting for a loss left out",)


def test_folders_are_read_as_their_writers_mean_them(tmp_path: Path) -> None:
    """What begins with _ or . is not committed; values are escaped as Hive does."""
    frame = pd.DataFrame({"width": [64, 128], "learning_rate": [0.1, 0.1], "loss": [3.0, 2.0]})
    frame.assign(note=["a b/c", None]).to_parquet(tmp_path / "all", partition_cols=["note"])
    for name in ("_temporary/part-0.parquet", "._part.parquet"):
        (tmp_path / "all" / name).parent.mkdir(exist_ok=True)
        frame.to_parquet(tmp_path / "all" / name)
    frame.assign(width=256).to_parquet(tmp_path / "all" / "more.pq")
    found = understand(tmp_path / "all")
    assert sorted(found.table.column("width").to_pylist()) == [64, 128, 256, 256]
    assert {*found.table.column("note").to_pylist()} == {"a b/c", None}
    assert "2 tables passed over, ._part.parquet first" in found.notes


def test_runs_that_only_their_tracker_reads_are_refused(tmp_path: Path) -> None:
    (tmp_path / "offline-run-1").mkdir()
    (tmp_path / "offline-run-1" / "run-a.wandb").write_bytes(b":W&B")
    with pytest.raises(ImportFault, match="holds runs of Weights & Biases that only wandb reads; wandb sync"):
        understand(tmp_path)
