"""Corpora and batches: identity by content, common batches for a seed, a fixed validation set."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mutransfer.models.data.batches import Batches, TokenFile
from mutransfer.models.data.corpus import CorpusError, materialise, python_stdlib, text_files, token_file


def test_batches_depend_on_seed_and_step_alone(batches: Batches) -> None:
    first = batches.training([0, 1, 0], 5, 4)
    assert first.shape == (3, 4, 17)
    assert (first[0] == first[2]).all()
    assert (first[0] != first[1]).any()
    assert (batches.training([0], 5, 4)[0] == first[0]).all()
    assert (batches.training([0], 6, 4)[0] != first[0]).any()


def test_training_never_sees_the_validation_part(tokens: TokenFile) -> None:
    """Tokens of the last tenth are marked; no training sequence holds a mark, every validation one does."""
    marked = np.zeros(20_000, dtype=np.uint8)
    marked[18_000:] = 1
    marked.tofile(tokens.path)
    batches = Batches(tokens, 16)
    assert all(not batches.training([0], step, 64).any() for step in range(20))
    assert batches.validation(64).all()


def test_validation_is_fixed(batches: Batches) -> None:
    assert (batches.validation(8) == batches.validation(8)).all()


def test_sequences_are_read_as_they_lie(tokens: TokenFile) -> None:
    np.arange(20_000, dtype=np.uint16).tofile(tokens.path)
    drawn = Batches(replace(tokens, dtype="uint16"), 16).training([3], 0, 5)
    assert (np.diff(drawn) == 1).all()


def test_a_changed_file_is_refused(tokens: TokenFile) -> None:
    os.truncate(tokens.path, 100)
    with pytest.raises(ValueError, match="its size changed since the sweep was planned"):
        Batches(tokens, 16)


def test_too_little_text_is_refused(tokens: TokenFile) -> None:
    with pytest.raises(
        ValueError, match="the validation part has 2,000 tokens, too few for a sequence of 3,000"
    ):
        Batches(tokens, 3000)


def test_the_default_corpus_is_real_text() -> None:
    corpus = python_stdlib(0.1)
    assert corpus.tokens > 1_000_000
    assert corpus.text is not None and b"import" in corpus.text
    assert corpus.digest == python_stdlib(0.1).digest != python_stdlib(0.2).digest


def test_text_files_are_sorted_and_joined(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "a.txt").write_text("one")
    corpus = text_files(str(tmp_path / "*.txt"), 0.1)
    assert corpus.text == b"onetwo"
    assert corpus.vocab_size == 256


def test_a_pattern_without_files_names_itself(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no file matches .*nothing"):
        text_files(str(tmp_path / "nothing*"), 0.1)


def test_materialising_twice_writes_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text")
    corpus = text_files(str(tmp_path / "a.txt"), 0.1)
    first = materialise(corpus, tmp_path / "data")
    stamp = os.stat(first.path).st_mtime_ns
    assert materialise(corpus, tmp_path / "data") == first
    assert os.stat(first.path).st_mtime_ns == stamp
    assert Path(first.path).read_bytes() == b"some text"
    assert [path.name for path in (tmp_path / "data").iterdir()] == [f"{corpus.digest}.bin"]


def test_token_files_stay_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    np.array([1, 2, 500], dtype=np.uint16).tofile(path)
    corpus = token_file(str(path), "uint16", 512, 0.1)
    assert (corpus.tokens, corpus.path) == (3, str(path))
    assert materialise(corpus, tmp_path / "data").path == str(path)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("content", "vocab_size", "message"),
    [
        (b"", 512, "0 bytes are not a whole number of uint16 tokens"),
        (b"abc", 512, "3 bytes are not a whole number of uint16 tokens; check dtype"),
        (b"\xff\xff", 512, "token 65535 is outside vocab_size 512; raise vocab_size"),
    ],
)
def test_a_wrong_token_file_is_refused(tmp_path: Path, content: bytes, vocab_size: int, message: str) -> None:
    path = tmp_path / "train.bin"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        token_file(str(path), "uint16", vocab_size, 0.1)


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"gone\.bin: cannot be read \(No such file or directory\)"):
        token_file(str(tmp_path / "gone.bin"), "uint16", 512, 0.1)
