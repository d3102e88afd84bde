"""Text to tokens: bytes as they are, a `tokenizers` file, or a tiktoken encoding."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .documents import CorpusError
from .token_file import TokenType

TIKTOKEN = "tiktoken:"
END_OF_TEXT = ("<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>", "[SEP]")
"""What tokenizers call the token that ends a document; the first that one knows is put after each."""


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """`identity` is equal exactly when two tokenizers make the same tokens."""

    identity: str
    vocab_size: int
    encode: Callable[[bytes], Sequence[int]]

    @property
    def dtype(self) -> TokenType:
        return "uint8" if self.vocab_size <= 1 << 8 else "uint16" if self.vocab_size <= 1 << 16 else "uint32"


BYTES = Tokenizer("bytes", 256, list)


def tokenizer_of(name: str | None) -> Tokenizer:
    """None: bytes; `tiktoken:NAME`; or the path of a tokenizer.json. Raises CorpusError."""
    if name is None:
        return BYTES
    return _tiktoken(name.removeprefix(TIKTOKEN)) if name.startswith(TIKTOKEN) else _from_file(name)


def _from_file(path: str) -> Tokenizer:
    try:
        import tokenizers
    except ImportError:
        raise CorpusError("tokenizer: needs a package; pip install 'mutransfer[tokenizers]'") from None
    try:
        content = Path(path).read_bytes()
        held = tokenizers.Tokenizer.from_str(content.decode())
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror}); give a tokenizer.json") from None
    except Exception as error:  # the package raises Exception itself
        reason = str(error).splitlines()[0]
        raise CorpusError(f"{path}: is no tokenizer of the tokenizers package ({reason})") from None
    held.no_truncation()
    ends = [token for name in END_OF_TEXT if (token := held.token_to_id(name)) is not None][:1]

    def encode(text: bytes) -> list[int]:
        ids: list[int] = held.encode(text.decode(errors="replace"), add_special_tokens=False).ids
        return ids + ends

    # The ids of a vocabulary may have holes.
    size = 1 + max(held.get_vocab(with_added_tokens=True).values(), default=-1)
    if size < 2:
        raise CorpusError(f"{path}: knows no tokens; give another tokenizer.json")
    return Tokenizer(f"tokenizers {hashlib.sha256(content).hexdigest()}", size, encode)


def _tiktoken(name: str) -> Tokenizer:
    try:
        import tiktoken
    except ImportError:
        raise CorpusError("tokenizer: needs a package; pip install 'mutransfer[tokenizers]'") from None
    try:
        held = tiktoken.get_encoding(name)
    except Exception as error:  # unknown name, or a download that failed
        reason = str(error).splitlines()[0]
        raise CorpusError(f"tokenizer {TIKTOKEN}{name}: cannot be loaded ({reason})") from None
    ends = [held.eot_token] if "<|endoftext|>" in held.special_tokens_set else []

    def encode(text: bytes) -> list[int]:
        return [*held.encode_ordinary(text.decode(errors="replace")), *ends]

    probe = ",".join(map(str, held.encode_ordinary("The quick brown fox, 1984: naïve façade.")))
    return Tokenizer(f"tiktoken {name} {held.n_vocab} {probe}", held.n_vocab, encode)
