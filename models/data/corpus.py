"""Identified data, not yet anywhere in particular: text, tokens or a made-up task. No torch."""

import glob
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .batches import Source
from .cache import put_in_place, tokenised
from .documents import CorpusError, Document
from .recall import Recall
from .regression import Regression
from .token_file import Order, Task, TokenFile, TokenType
from .tokenizer import BYTES, Tokenizer

READ_BYTES = 1 << 24
LLM_C = "a file of llm.c with a header of 1,024 bytes; write what follows it to a file"
HEADERS = {
    b"\x93NUMPY": "a NumPy file; write its array with array.tofile(PATH)",
    np.int32(20240520).tobytes(): LLM_C,
    np.int32(20240801).tobytes(): LLM_C,
    b"MMIDIDX": "an index of Megatron; give the .bin beside it",
    b"PAR1": "Parquet; name it as parquet:",
    b"\x1f\x8b\x08": "compressed; unpack it first",
    b"PK\x03\x04": "compressed; unpack it first",
    b"(\xb5/\xfd": "compressed; unpack it first",
}
"""How files begin that are no flat tokens."""
CACHED = ".tokens"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Data as a sweep reads them; `text` are tokens (bytes) that no file holds yet."""

    source: Source
    text: bytes | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a trial that the data decide."""
        return {"data": self.source.digest, "outputs": None, "vectors": False, **self.source.fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How tokens are read: the held-out share, the order, and what is predicted of them."""

    validation_fraction: float = 0.1
    order: Order = "random"
    task: Task = "next-token"
    mask_fraction: float = 0.15
    classes: int = 16

    def identity(self, content: str, dtype: str, classes: tuple[int, ...] = ()) -> str:
        """The digest of these tokens read like this. Next tokens drawn at random have the oldest form."""
        told = f"{content} {dtype} {self.validation_fraction!r}"
        if self.order != "random":
            told += f" {self.order}"
        if self.task == "masked":
            told += f" masked {self.mask_fraction!r}"
        if self.task == "classification":
            told += f" classification {classes}"
        return _short(told)


def corpus_of(documents: Callable[[], Iterable[Document]], tokenizer: Tokenizer, reading: Reading) -> Corpus:
    """The documents as tokens. Bytes are kept in memory; what a tokenizer makes is cached on disk."""
    if reading.task == "classification":
        return _classified(documents, tokenizer, reading)
    return _tokens_of(lambda: (text for _, text in documents()), tokenizer, reading)


def token_file(pattern: str, dtype: TokenType, vocab_size: int, reading: Reading) -> Corpus:
    """Flat files of unsigned little-endian tokens, as nanoGPT writes them, read where they lie; several are
    shards, in the order of their names."""
    paths = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern, recursive=True))
    width, digests, size = np.dtype(dtype).itemsize, [], 0
    for path in paths or [pattern]:
        try:
            _refuse_headers(path)
            held = os.path.getsize(path)
            if held == 0:
                raise CorpusError(f"{path}: is empty; give a file of {dtype} tokens")
            if held % width:
                raise CorpusError(
                    f"{path}: {held} bytes are not a whole number of {dtype} tokens; check dtype"
                )
            highest = _highest_token(path, dtype)
            digests.append(_file_digest(path))
        except OSError as error:
            raise CorpusError(
                f"{path}: cannot be read ({error.strerror}); give a file of {dtype} tokens"
            ) from None
        if highest >= vocab_size:
            raise CorpusError(f"{path}: token {highest} is outside vocab_size {vocab_size}; raise vocab_size")
        size += held
    whole = tuple(os.path.abspath(path) for path in paths)
    content = digests[0] if len(digests) == 1 else _short(" ".join(digests))
    return Corpus(_described(whole, dtype, size // width, vocab_size, content, reading))


def _refuse_headers(path: str) -> None:
    with open(path, "rb") as file:
        start = file.read(max(map(len, HEADERS)))
    for header, told in HEADERS.items():
        if start.startswith(header):
            raise CorpusError(f"{path}: is {told}")


def recall(pairs: int, vocab_size: int) -> Corpus:
    return Corpus(Recall(pairs=pairs, vocab_size=vocab_size, digest=_short(f"mqar 1 {pairs} {vocab_size}")))


def regression(dimension: int) -> Corpus:
    return Corpus(Regression(dimension=dimension, digest=_short(f"regression 1 {dimension}")))


def materialise(corpus: Corpus, folder: Path) -> Source:
    """The corpus where workers can read it; text and what was tokenised are put into the folder, once."""
    source = corpus.source
    if not isinstance(source, TokenFile):
        return source
    if corpus.text is not None:
        path = folder / f"{source.digest}.bin"
        put_in_place(path, lambda scratch: scratch.write_bytes(corpus.text or b""))
        return replace(source, paths=(str(path.resolve()),))
    if source.paths[0].endswith(CACHED):
        path = folder / f"{source.digest}.bin"
        put_in_place(path, lambda scratch: _linked(Path(source.paths[0]), scratch))
        return replace(source, paths=(str(path.resolve()),))
    return source


def _classified(
    documents: Callable[[], Iterable[Document]], tokenizer: Tokenizer, reading: Reading
) -> Corpus:
    """The documents by label, the classes with the most text first, ties by name."""
    by_label: dict[str, list[bytes]] = {}
    for label, text in documents():
        by_label.setdefault(label, []).append(text)
    largest = sorted(by_label, key=lambda label: (-sum(map(len, by_label[label])), label))[: reading.classes]
    if len(largest) < 2:
        raise CorpusError("classification needs at least two classes; give a label, or more files")
    parts = [_encoded(iter(by_label[label]), tokenizer) for label in largest]
    tokens = np.concatenate(parts)
    content = hashlib.sha256(tokens.tobytes()).hexdigest()
    sizes = tuple(len(part) for part in parts)
    described = _described((), tokenizer.dtype, len(tokens), tokenizer.vocab_size, content, reading, sizes)
    return Corpus(described, tokens.tobytes())


def _tokens_of(texts: Callable[[], Iterable[bytes]], tokenizer: Tokenizer, reading: Reading) -> Corpus:
    if tokenizer is BYTES:
        text = b"".join(texts())
        content = hashlib.sha256(text).hexdigest()
        return Corpus(_described((), "uint8", len(text), 256, content, reading), text)
    digest = hashlib.sha256(tokenizer.identity.encode())
    for text in texts():
        digest.update(len(text).to_bytes(8, "little") + text)
    content = digest.hexdigest()[:32]
    dtype = tokenizer.dtype
    path = tokenised(f"{content}{CACHED}", lambda: (tokenizer.encode(text) for text in texts()), dtype)
    size = os.path.getsize(path) // np.dtype(dtype).itemsize
    return Corpus(_described((str(path),), dtype, size, tokenizer.vocab_size, content, reading))


def _described(
    paths: tuple[str, ...],
    dtype: TokenType,
    tokens: int,
    vocab_size: int,
    content: str,
    reading: Reading,
    classes: tuple[int, ...] = (),
) -> TokenFile:
    return TokenFile(
        paths=paths,
        dtype=dtype,
        tokens=tokens,
        vocab_size=vocab_size,
        validation_fraction=reading.validation_fraction,
        digest=reading.identity(content, dtype, classes),
        order=reading.order,
        task=reading.task,
        mask_fraction=reading.mask_fraction,
        classes=classes,
    )


def _encoded(texts: Iterable[bytes], tokenizer: Tokenizer) -> np.ndarray:
    return np.concatenate([np.asarray(tokenizer.encode(text), tokenizer.dtype) for text in texts])


def _linked(held: Path, scratch: Path) -> None:
    try:
        os.link(held, scratch)
    except OSError:  # another file system
        shutil.copyfile(held, scratch)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _file_digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _highest_token(path: str, dtype: TokenType) -> int:
    tokens = np.memmap(path, dtype=dtype, mode="r")
    return max(int(tokens[start : start + READ_BYTES].max()) for start in range(0, len(tokens), READ_BYTES))
