"""Data of the user's own: tokenizers, Parquet, Hugging Face, shards, and the cache of tokens."""

import multiprocessing
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mutransfer.models.data.cache import cache_folder, tokenised
from mutransfer.models.data.corpus import (
    Corpus,
    Reading,
    corpus_of,
    materialise,
    token_file,
)
from mutransfer.models.data.documents import CorpusError, huggingface, parquet_column, text_files
from mutransfer.models.data.record import source_from_object, source_object
from mutransfer.models.data.token_file import TokenFile
from mutransfer.models.data.tokenizer import BYTES, tokenizer_of

TEXTS = ["the quick brown fox", "jumps over the lazy dog", "and runs away"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUTRANSFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    """A word-level tokenizer that knows every word of TEXTS."""
    import tokenizers

    words = sorted({word for text in TEXTS for word in text.split()})
    vocabulary = {word: index for index, word in enumerate(["<unk>", "<|endoftext|>", *words])}
    model = tokenizers.models.WordLevel(vocabulary, unk_token="<unk>")
    held = tokenizers.Tokenizer(model)
    held.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    path = tmp_path / "tokenizer.json"
    held.save(str(path))
    return path


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """Two files; one row without text."""
    table = pa.table({"text": [TEXTS[0], None, TEXTS[1]], "label": ["a", "b", "a"], "n": [1, 2, 3]})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [TEXTS[2]], "label": ["b"], "n": [4]}), tmp_path / "b.parquet")
    return tmp_path / "*.parquet"


def tokens_of(corpus: Corpus, folder: Path) -> list[int]:
    source = materialise(corpus, folder)
    assert isinstance(source, TokenFile)
    return [int(t) for path in source.paths for t in np.fromfile(path, source.dtype)]


def test_a_tokenizer_file_makes_the_tokens(tokenizer_file: Path, tmp_path: Path) -> None:
    """Each document ends in the tokenizer's own end of text."""
    tokenizer = tokenizer_of(str(tokenizer_file))
    corpus = corpus_of(lambda: [("", text.encode()) for text in TEXTS], tokenizer, Reading())
    found = tokens_of(corpus, tmp_path / "data")
    words = sorted({word for text in TEXTS for word in text.split()})
    expected = [t for text in TEXTS for t in [*(words.index(word) + 2 for word in text.split()), 1]]
    assert found == expected
    assert corpus.fields["vocab_size"] == len(words) + 2
    changed = tokenizer_file.read_text().replace('"the"', '"The"')
    tokenizer_file.write_text(changed)
    other = corpus_of(lambda: [("", t.encode()) for t in TEXTS], tokenizer_of(str(tokenizer_file)), Reading())
    assert other.source.digest != corpus.source.digest


def test_a_vocabulary_may_have_holes(tmp_path: Path) -> None:
    import tokenizers

    held = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "u": 1, "b": 500}, unk_token="u"))
    held.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    held.save(str(tmp_path / "holes.json"))
    corpus = corpus_of(lambda: [("", b"a b c")], tokenizer_of(str(tmp_path / "holes.json")), Reading())
    assert corpus.fields["vocab_size"] == 501
    assert tokens_of(corpus, tmp_path / "data") == [0, 500, 1]


def test_tiktoken_makes_the_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoding that is registered as tiktoken's own are, without any download."""
    import tiktoken
    import tiktoken.registry

    plugin = types.ModuleType("tiktoken_ext.testing")
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"th": 256, b"the": 257}
    plugin.ENCODING_CONSTRUCTORS = {  # type: ignore[attr-defined]
        "testing": lambda: {
            "name": "testing", "pat_str": r"\S+|\s+", "mergeable_ranks": ranks,
            "special_tokens": {"<|endoftext|>": 258},
        }
    }  # fmt: skip
    monkeypatch.setitem(sys.modules, "tiktoken_ext.testing", plugin)
    monkeypatch.setattr(tiktoken.registry, "_available_plugin_modules", lambda: ["tiktoken_ext.testing"])
    monkeypatch.setattr(tiktoken.registry, "ENCODING_CONSTRUCTORS", None)
    corpus = corpus_of(lambda: [("", b"the end")], tokenizer_of("tiktoken:testing"), Reading())
    assert tokens_of(corpus, tmp_path / "data") == [257, *b" end", 258]
    assert corpus.fields["vocab_size"] == 259
    with pytest.raises(CorpusError, match="tokenizer tiktoken:nothing: cannot be loaded"):
        tokenizer_of("tiktoken:nothing")


def test_parquet_columns_in_their_order(parquet: Path) -> None:
    assert list(parquet_column(str(parquet), "text", "label")) == [
        ("a", TEXTS[0].encode()), ("a", TEXTS[1].encode()), ("b", TEXTS[2].encode())
    ]  # fmt: skip
    with pytest.raises(CorpusError, match=r"a\.parquet: has no column body; its columns: text, label, n"):
        list(parquet_column(str(parquet), "body", None))
    with pytest.raises(CorpusError, match="column n holds int, not text"):
        list(parquet_column(str(parquet), "n", None))
    pq.write_table(pa.table({"text": ["x"], "label": [None]}), parquet.parent / "c.parquet")
    with pytest.raises(CorpusError, match=r"c\.parquet: a row of column label is empty"):
        list(parquet_column(str(parquet), "text", "label"))
    (parquet.parent / "c.parquet").write_text("no parquet")
    with pytest.raises(CorpusError, match=r"c\.parquet: cannot be read as Parquet"):
        list(parquet_column(str(parquet), "text", None))


def test_a_saved_dataset_of_hugging_face(tmp_path: Path) -> None:
    import datasets

    held = datasets.Dataset.from_dict({"text": TEXTS, "label": [0, 1, 0]})
    held.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": held, "test": held.select([1])}).save_to_disk(str(tmp_path / "two"))
    assert list(huggingface(str(tmp_path / "one"), None, "text", "label")) == [
        ("0", TEXTS[0].encode()), ("1", TEXTS[1].encode()), ("0", TEXTS[2].encode())
    ]  # fmt: skip
    assert list(huggingface(str(tmp_path / "two"), "test", "text", None)) == [("", TEXTS[1].encode())]
    with pytest.raises(CorpusError, match="has no split gone; its splits: train, test"):
        list(huggingface(str(tmp_path / "two"), "gone", "text", None))
    with pytest.raises(CorpusError, match="has no column body"):
        list(huggingface(str(tmp_path / "one"), None, "body", None))
    with pytest.raises(CorpusError, match="is one dataset and has no splits; remove split"):
        list(huggingface(str(tmp_path / "one"), "train", "text", None))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tokenizer_file: Path) -> None:
    for package, call in (
        ("datasets", lambda: list(huggingface("x", "train", "text", None))),
        ("tokenizers", lambda: tokenizer_of(str(tokenizer_file))),
        ("tiktoken", lambda: tokenizer_of("tiktoken:gpt2")),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(CorpusError, match=r"needs a package; pip install 'mutransfer\["):
            call()


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), ("{}", "is no tokenizer")])
def test_a_wrong_tokenizer_is_named(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CorpusError, match=rf"wrong\.json: {message}"):
        tokenizer_of(str(path))


def shards(tmp_path: Path, sizes: list[int]) -> Path:
    begin = 0
    for index, size in enumerate(sizes):
        np.arange(begin, begin + size, dtype=np.uint16).tofile(tmp_path / f"shard-{index}.bin")
        begin += size
    return tmp_path / "shard-*.bin"


def test_shards_are_one_text(tmp_path: Path) -> None:
    """A window may reach from one shard into the next, whatever their sizes."""
    corpus = token_file(str(shards(tmp_path, [40, 3, 1, 60])), "uint16", 200, Reading())
    assert isinstance(corpus.source, TokenFile) and corpus.source.tokens == 104
    batches = corpus.source.batches(9)
    drawn = np.concatenate([batches.training([0], step, 16).inputs[0] for step in range(20)])
    assert (np.diff(drawn) == 1).all()
    assert drawn.min() == 0 and ((drawn[:, 0] < 40) & (drawn[:, -1] > 44)).any()
    with pytest.raises(CorpusError, match=r"shard-1\.bin: token 42 is outside vocab_size 41"):
        token_file(str(tmp_path / "shard-*.bin"), "uint16", 41, Reading())


def test_in_order_every_seed_reads_all_from_its_own_place(tmp_path: Path) -> None:
    """Two seeds begin elsewhere; each reads every sequence once before any again; any step can be the
    first to be asked for."""
    reading = Reading(order="shards")
    corpus = token_file(str(shards(tmp_path, [500, 500])), "uint16", 1000, reading)
    batches = corpus.source.batches(10)
    steps = [batches.training([0, 1], step, 4) for step in range(25)]
    for lane in (0, 1):
        first = np.concatenate([step.inputs[lane][:, 0] for step in steps])[:89]
        assert sorted(first.tolist()) == list(range(0, 890, 10))
        assert set(np.diff(first).tolist()) == {10, -880}
    assert steps[0].inputs[0][0, 0] != steps[0].inputs[1][0, 0]
    again = corpus.source.batches(10).training([1], 7, 4)
    assert (again.inputs[0] == steps[7].inputs[1]).all() and (again.labels == again.inputs + 1).all()
    other = token_file(str(tmp_path / "shard-*.bin"), "uint16", 1000, Reading())
    assert other.source.digest != corpus.source.digest


def test_a_source_comes_back_from_its_record(tmp_path: Path, tokenizer_file: Path) -> None:
    corpora = [
        token_file(str(shards(tmp_path, [50, 50])), "uint16", 100, Reading(task="masked")),
        corpus_of(
            lambda: [("a", b"a" * 90), ("b", b"b" * 90)], BYTES, Reading(task="classification", classes=2)
        ),
    ]
    for corpus in corpora:
        source = materialise(corpus, tmp_path / "data")
        assert source_from_object(source_object(source), Path("/")) == source
    older = {"path": "data/x.bin", "dtype": "uint8", "tokens": 5, "vocab_size": 256, "digest": "x",
             "validation_fraction": 0.1}  # fmt: skip
    found = source_from_object(older, tmp_path)
    assert isinstance(found, TokenFile) and found.paths == (str(tmp_path / "data/x.bin"),)


def slow_documents(log: str) -> Iterator[list[int]]:
    with open(log, "a") as file:
        file.write("begun\n")
    for index in range(200):
        yield [index % 7] * 50


def tokenise(log: str) -> int:
    path = tokenised("text.tokens", lambda: slow_documents(log), "uint8")
    return path.stat().st_size


def test_eight_processes_make_the_cache_once(tmp_path: Path, cache: Path) -> None:
    log = str(tmp_path / "log")
    with multiprocessing.get_context("fork").Pool(8) as pool:
        sizes = pool.map(tokenise, [log] * 8)
    assert sizes == [10_000] * 8
    assert Path(log).read_text() == "begun\n"
    assert cache_folder() == cache
    assert sorted(os.listdir(cache)) == ["text.tokens", "text.tokens.lock"]


def test_an_interrupted_tokenisation_leaves_nothing(cache: Path) -> None:
    def failing() -> Iterator[list[int]]:
        yield [1, 2, 3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenised("text.tokens", failing, "uint8")
    assert os.listdir(cache) == ["text.tokens.lock"]
    assert tokenised("text.tokens", lambda: [[4, 5]], "uint8").read_bytes() == b"\x04\x05"


def test_text_files_with_a_tokenizer_are_read_from_the_cache(
    tokenizer_file: Path, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "a.txt").write_text(TEXTS[0])
    tokenizer = tokenizer_of(str(tokenizer_file))

    def corpus() -> Corpus:
        return corpus_of(lambda: text_files(str(tmp_path / "*.txt")), tokenizer, Reading())

    first = corpus()
    stamps = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert corpus() == first
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == stamps
    placed = materialise(first, tmp_path / "data")
    assert isinstance(placed, TokenFile)
    assert placed.paths == (str(tmp_path / "data" / f"{placed.digest}.bin"),)
