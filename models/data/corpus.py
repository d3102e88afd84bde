"""Where the tokens come from: the default corpus, the user's text, or a file of tokens. No torch."""

import glob
import hashlib
import os
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .batches import TokenFile, TokenType

READ_BYTES = 1 << 24


class CorpusError(ValueError):
    """The data cannot be used; the message names the file or pattern and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Identified data, not yet anywhere in particular: `text` in memory, or the token file at `path`."""

    digest: str
    tokens: int
    dtype: TokenType
    vocab_size: int
    validation_fraction: float
    text: bytes | None = None
    path: str | None = None


def python_stdlib(validation_fraction: float) -> Corpus:
    """The top-level modules of the running Python's standard library, sorted, as bytes.

    Real text that every machine has. Its identity is its content, so trials measured under another
    Python version are other trials.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    return _bytes_of(sorted(folder.glob("*.py")), validation_fraction)


def text_files(pattern: str, validation_fraction: float) -> Corpus:
    """The files that match a glob (`**` descends), sorted, as bytes."""
    paths = [Path(path) for path in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(path)]
    if not paths:
        raise CorpusError(f"no file matches {pattern!r}; give a glob of text files, such as 'texts/**/*.txt'")
    return _bytes_of(paths, validation_fraction)


def token_file(path: str, dtype: TokenType, vocab_size: int, validation_fraction: float) -> Corpus:
    """A flat file of unsigned little-endian tokens, as nanoGPT writes it; read where it lies."""
    width = np.dtype(dtype).itemsize
    try:
        size = os.path.getsize(path)
        if size == 0 or size % width:
            raise CorpusError(f"{path}: {size} bytes are not a whole number of {dtype} tokens; check dtype")
        highest = _highest_token(path, dtype)
        digest = _file_digest(path)
    except OSError as error:
        raise CorpusError(
            f"{path}: cannot be read ({error.strerror}); give a file of {dtype} tokens"
        ) from None
    if highest >= vocab_size:
        raise CorpusError(f"{path}: token {highest} is outside vocab_size {vocab_size}; raise vocab_size")
    return Corpus(
        digest=_identity(digest, dtype, validation_fraction),
        tokens=size // width,
        dtype=dtype,
        vocab_size=vocab_size,
        validation_fraction=validation_fraction,
        path=os.path.abspath(path),
    )


def materialise(corpus: Corpus, folder: Path) -> TokenFile:
    """The corpus as a file that workers can map; text is written once, under its digest."""
    path = corpus.path or str((folder / f"{corpus.digest}.bin").resolve())
    if corpus.text is not None and not os.path.exists(path):
        folder.mkdir(parents=True, exist_ok=True)
        scratch = f"{path}.{os.getpid()}.tmp"
        with open(scratch, "wb") as file:
            file.write(corpus.text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    return TokenFile(
        path=path,
        dtype=corpus.dtype,
        tokens=corpus.tokens,
        vocab_size=corpus.vocab_size,
        validation_fraction=corpus.validation_fraction,
        digest=corpus.digest,
    )


def _bytes_of(paths: Sequence[Path], validation_fraction: float) -> Corpus:
    try:
        text = b"".join(path.read_bytes() for path in paths)
    except OSError as error:
        raise CorpusError(f"{error.filename}: cannot be read ({error.strerror})") from None
    return Corpus(
        digest=_identity(hashlib.sha256(text).hexdigest(), "uint8", validation_fraction),
        tokens=len(text),
        dtype="uint8",
        vocab_size=256,
        validation_fraction=validation_fraction,
        text=text,
    )


def _identity(content: str, dtype: str, validation_fraction: float) -> str:
    return hashlib.sha256(f"{content} {dtype} {validation_fraction!r}".encode()).hexdigest()[:16]


def _file_digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _highest_token(path: str, dtype: TokenType) -> int:
    tokens = np.memmap(path, dtype=dtype, mode="r")
    return max(int(tokens[start : start + READ_BYTES].max()) for start in range(0, len(tokens), READ_BYTES))
