"""Documents of the user's, each with a label, from wherever they lie."""

import glob
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Document = tuple[str, bytes]
"""A label (the file, or what a label column says) and the text, UTF-8 or any bytes."""


SPLIT = "train"


class CorpusError(ValueError):
    """The data cannot be used; the message names the file or pattern and the remedy."""


def python_stdlib() -> Iterator[Document]:
    """The top-level modules of the running Python's standard library, sorted.

    Real text that every machine has. Its identity is its content, so trials measured under another
    Python version are other trials.
    """
    return _files(sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")))


def text_files(pattern: str) -> Iterator[Document]:
    """The files that match a glob (`**` descends), sorted."""
    return _files(_matching(pattern, "give a glob of text files, such as 'texts/**/*.txt'"))


def parquet_column(pattern: str, column: str, label: str | None) -> Iterator[Document]:
    """A column of text of the Parquet files that match a glob, sorted; rows in their order."""
    wanted = [column] if label is None else [column, label]
    for path in _matching(pattern, "give a glob of Parquet files, such as 'docs/*.parquet'"):
        try:
            file = pq.ParquetFile(path)
            _check_columns(str(path), wanted, file.schema_arrow.names)
            for batch in file.iter_batches(columns=wanted):
                yield from _rows(str(path), batch.to_pydict(), column, label)
        except (OSError, pa.ArrowException) as error:
            raise CorpusError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None


def huggingface(name: str, split: str | None, column: str, label: str | None) -> Iterator[Document]:
    """A column of a Hugging Face dataset: a folder of `save_to_disk`, or a name for `load_dataset`."""
    try:
        import datasets
    except ImportError:
        raise CorpusError("dataset: needs a package; pip install 'mutransfer[datasets]'") from None
    held: Any = _saved(name, split)
    if held is None:
        try:
            held = datasets.load_dataset(name, split=split or SPLIT)
        except Exception as error:  # of its many kinds: the user's name, split or network
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CorpusError(
                f"dataset {name!r}, split {split or SPLIT!r}: cannot be loaded ({reason})"
            ) from None
    wanted = [column] if label is None else [column, label]
    _check_columns(name, wanted, held.column_names)
    for batch in held.select_columns(wanted).iter(1000):
        yield from _rows(name, batch, column, label)


def _saved(name: str, split: str | None) -> object:
    """What `save_to_disk` wrote into the folder of this name, or None."""
    import datasets

    if os.path.isfile(os.path.join(name, "state.json")):
        if split is not None:
            raise CorpusError(f"{name}: is one dataset and has no splits; remove split")
        return datasets.load_from_disk(name)
    if not os.path.isfile(os.path.join(name, "dataset_dict.json")):
        return None
    held = datasets.load_from_disk(name)
    if (split or SPLIT) not in held:
        raise CorpusError(f"{name}: has no split {split or SPLIT}; its splits: {', '.join(held)}")
    return held[split or SPLIT]


def _rows(path: str, columns: dict[str, list[Any]], column: str, label: str | None) -> Iterator[Document]:
    labels = columns[label] if label else [""] * len(columns[column])
    for text, said in zip(columns[column], labels, strict=True):
        if text is None:
            continue
        if not isinstance(text, str):
            raise CorpusError(f"{path}: column {column} holds {type(text).__name__}, not text; name another")
        if said is None:
            raise CorpusError(f"{path}: a row of column {label} is empty; give every row with text a label")
        yield str(said), text.encode()


def _check_columns(path: str, wanted: list[str], there: list[str]) -> None:
    if lost := [name for name in wanted if name not in there]:
        raise CorpusError(f"{path}: has no column {', '.join(lost)}; its columns: {', '.join(there)}")


def _matching(pattern: str, remedy: str) -> list[Path]:
    found = [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
    paths = [Path(path) for path in sorted(found) if os.path.isfile(path)]
    if not paths:
        raise CorpusError(f"no file matches {pattern!r}; {remedy}")
    return paths


def _files(paths: list[Path]) -> Iterator[Document]:
    for path in paths:
        try:
            yield path.name, path.read_bytes()
        except OSError as error:
            raise CorpusError(f"{error.filename}: cannot be read ({error.strerror})") from None
