"""Measurements from elsewhere: the same report, every fault named with its row."""

from pathlib import Path

import pandas as pd
import pytest

from mutransfer.results.sources.fault import ImportFault
from mutransfer.results.sources.importing import read_measurements

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
        ("width,loss\n1,2\n", "the columns optimizer, parametrization, depth, learning_rate are missing"),
        (HEADER, "holds no measurements"),
        (HEADER + "adamw,sp,wide,2,0.1,3\n", "row 2: width 'wide' is not a number"),
        (HEADER + "adamw,sp,16,2,0.1,3\nadamw,sp,16,2,-1,3\n", "row 3: learning_rate must be positive"),
        (HEADER + "adamw,sp,16,2,,3\n", "row 2: learning_rate is empty"),
        (HEADER + "adamw,sp,16,2,inf,3\n", "row 2: learning_rate is not finite or too large"),
        (HEADER.replace("loss", "loss,tied") + "adamw,sp,16,2,0.1,3,maybe\n", "column tied:"),
        (HEADER + ",sp,16,2,0.1,3\n", "row 2: optimizer is empty"),
        (HEADER + "adamw,sp,16.5,2,0.1,3\n", "row 2: width must be an integer"),
        (HEADER + 'adamw,sp,16,2,0.1,3\n"adamw', "is neither CSV nor Parquet that can be read"),
        ("", "is neither CSV nor Parquet that can be read"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ImportFault) as error:
        read_measurements(path)
    assert message in str(error.value)
    assert all(line.startswith(str(path)) for line in str(error.value).splitlines())


def test_binary_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ImportFault, match=r"losses\.csv: is neither CSV nor Parquet"):
        read_measurements(path)
    with pytest.raises(ImportFault, match=r"gone\.csv: cannot be read"):
        read_measurements(tmp_path / "gone.csv")


def test_many_faults_are_cut_short(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "adamw,sp,wide,2,0.1,3\n" * 30)
    with pytest.raises(ImportFault, match="and 20 more"):
        read_measurements(path)
