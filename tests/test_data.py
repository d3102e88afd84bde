"""Corpora and batches: identity by content, common batches for a seed, a fixed validation set."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mutransfer.models.data.batches import Batches
from mutransfer.models.data.corpus import Corpus, Reading, corpus_of, materialise, token_file
from mutransfer.models.data.documents import CorpusError, python_stdlib, text_files
from mutransfer.models.data.token_file import TokenFile
from mutransfer.models.data.tokenizer import BYTES


def text_of(pattern: Path) -> Corpus:
    return corpus_of(lambda: text_files(str(pattern)), BYTES, Reading())


def token_file_of(corpus: Corpus) -> TokenFile:
    assert isinstance(corpus.source, TokenFile)
    return corpus.source


def test_batches_depend_on_seed_and_step_alone(batches: Batches) -> None:
    first = batches.training([0, 1, 0], 5, 4).inputs
    assert first.shape == (3, 4, 16)
    assert (first[0] == first[2]).all()
    assert (first[0] != first[1]).any()
    assert (batches.training([0], 5, 4).inputs[0] == first[0]).all()
    assert (batches.training([0], 6, 4).inputs[0] != first[0]).any()


def test_training_never_sees_the_validation_part(tokens: TokenFile) -> None:
    """Tokens of the last tenth are marked; no training sequence holds a mark, every validation one does."""
    marked = np.zeros(20_000, dtype=np.uint8)
    marked[18_000:] = 1
    marked.tofile(tokens.paths[0])
    batches = tokens.batches(16)
    assert all(not batches.training([0], step, 64).labels.any() for step in range(20))
    assert batches.validation(64).inputs.all() and batches.validation(64).labels.all()


def test_validation_is_fixed(batches: Batches) -> None:
    assert (batches.validation(8).inputs == batches.validation(8).inputs).all()


def test_sequences_are_read_as_they_lie(tokens: TokenFile) -> None:
    np.arange(20_000, dtype=np.uint16).tofile(tokens.paths[0])
    drawn = replace(tokens, dtype="uint16").batches(16).training([3], 0, 5)
    assert (np.diff(drawn.inputs) == 1).all() and (drawn.labels == drawn.inputs + 1).all()


def test_a_changed_file_is_refused(tokens: TokenFile) -> None:
    os.truncate(tokens.paths[0], 100)
    with pytest.raises(ValueError, match="size changed since the sweep was planned"):
        tokens.batches(16)


def test_too_little_text_is_refused(tokens: TokenFile) -> None:
    with pytest.raises(
        ValueError, match="the validation part has 2,000 tokens, too few for a sequence of 3,000"
    ):
        tokens.batches(3000)


def test_the_default_corpus_is_real_text() -> None:
    corpus, again = (corpus_of(python_stdlib, BYTES, Reading()) for _ in range(2))
    other = corpus_of(python_stdlib, BYTES, Reading(validation_fraction=0.2))
    assert token_file_of(corpus).tokens > 1_000_000
    assert corpus.text is not None and b"import" in corpus.text
    assert corpus.source.digest == again.source.digest != other.source.digest


def test_text_files_are_sorted_and_joined(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "a.txt").write_text("one")
    corpus = text_of(tmp_path / "*.txt")
    assert corpus.text == b"onetwo"
    assert corpus.fields["vocab_size"] == 256


def test_a_pattern_without_files_names_itself(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no file matches .*nothing"):
        text_of(tmp_path / "nothing*")


def test_materialising_twice_writes_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text")
    corpus = text_of(tmp_path / "a.txt")
    first = materialise(corpus, tmp_path / "data")
    assert isinstance(first, TokenFile)
    (path,) = map(Path, first.paths)
    stamp = path.stat().st_mtime_ns
    assert materialise(corpus, tmp_path / "data") == first
    assert path.stat().st_mtime_ns == stamp
    assert path.read_bytes() == b"some text"
    assert [*(tmp_path / "data").iterdir()] == [tmp_path / "data" / f"{first.digest}.bin"]


def test_token_files_stay_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    np.array([1, 2, 500], dtype=np.uint16).tofile(path)
    corpus = token_file(str(path), "uint16", 512, Reading())
    assert (token_file_of(corpus).tokens, token_file_of(corpus).paths) == (3, (str(path),))
    assert materialise(corpus, tmp_path / "data") == corpus.source
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("content", "vocab_size", "message"),
    [
        (b"", 512, "is empty; give a file of uint16 tokens"),
        (b"abc", 512, "3 bytes are not a whole number of uint16 tokens; check dtype"),
        (b"\xff\xff", 512, "token 65535 is outside vocab_size 512; raise vocab_size"),
    ],
)
def test_a_wrong_token_file_is_refused(tmp_path: Path, content: bytes, vocab_size: int, message: str) -> None:
    path = tmp_path / "train.bin"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        token_file(str(path), "uint16", vocab_size, Reading())


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"gone\.bin: cannot be read \(No such file or directory\)"):
        token_file(str(tmp_path / "gone.bin"), "uint16", 512, Reading())


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"\x93NUMPY\x01\x00", r"a NumPy file; write its array with array.tofile"),
        (np.int32(20240520).tobytes(), "a file of llm.c with a header of 1,024 bytes"),
        (b"MMIDIDX\x00\x00", r"an index of Megatron; give the \.bin beside it"),
        (b"PAR1", "Parquet; name it as parquet:"),
        (b"\x1f\x8b\x08\x00", "compressed; unpack it first"),
    ],
)
def test_files_with_headers_are_no_flat_tokens(start: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "tokens.bin").write_bytes(start + bytes(2000 - len(start)))
    with pytest.raises(CorpusError, match=f"tokens.bin: is {told}"):
        token_file(str(tmp_path / "tokens.bin"), "uint16", 50304, Reading())
