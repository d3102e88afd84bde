"""`data:` of a sweep file: where the text comes from, how it is read, and what is predicted of it."""

import glob
import os
from collections.abc import Iterable
from functools import partial
from typing import Literal

from pydantic import Field

from ..models.data.corpus import Corpus, Reading, corpus_of, recall, regression, token_file
from ..models.data.documents import Document, huggingface, parquet_column, python_stdlib, text_files
from ..models.data.token_file import Order, TokenType
from ..models.data.tokenizer import TIKTOKEN, tokenizer_of
from .problem import Problem
from .section import Section

SOURCES = ("corpus", "text", "parquet", "dataset", "tokens")
MADE_UP = ("mqar", "regression")


class DataSpec(Section):
    """Text (exactly one of SOURCES) and what is predicted of it, or a task that makes up its data.

    `tokenizer`: a tokenizer.json or tiktoken:NAME; without one, text is read as bytes. `column`, `label` and
    `split` are those of `parquet` and `dataset`; `dtype` and `vocab_size` those of `tokens`.
    """

    corpus: Literal["python-stdlib"] | None = None
    text: str | None = None
    parquet: str | None = None
    dataset: str | None = None
    tokens: str | None = None
    column: str = "text"
    label: str | None = None
    split: str | None = None
    tokenizer: str | None = None
    dtype: TokenType = "uint16"
    vocab_size: int | None = Field(default=None, ge=2, le=2**31)
    order: Order = "random"
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    task: Literal["next-token", "masked", "classification", "mqar", "regression"] = "next-token"
    mask_fraction: float = Field(default=0.15, gt=0, lt=1)
    classes: int = Field(default=16, ge=2, le=10_000)
    pairs: int = Field(default=4, ge=1, le=10_000)
    dimension: int = Field(default=8, ge=1, le=10_000)


# What each field needs beside it; elsewhere it would be read by nobody.
_BELONGS = {
    "column": ("parquet", "dataset"),
    "label": ("parquet", "dataset"),
    "split": ("dataset",),
    "tokenizer": ("corpus", "text", "parquet", "dataset"),
    "dtype": ("tokens",),
    "order": SOURCES,
    "validation_fraction": SOURCES,
}
_OF_TASK = {
    "mask_fraction": "masked",
    "classes": "classification",
    "pairs": "mqar",
    "dimension": "regression",
}


def data_problems(data: DataSpec) -> list[Problem]:
    """What is wrong with the section, beyond its fields."""
    paths = [getattr(data, name) for name in (*SOURCES, "tokenizer")]
    if any("\0" in path for path in paths if path is not None):
        return [Problem(("data",), "a path cannot hold a null character")]
    given = [name for name in SOURCES if getattr(data, name) is not None]
    if data.task in MADE_UP and given:
        return [
            Problem(("data", given[0]), f"{data.task} makes up its data; remove it, or give another task")
        ]
    if data.task not in MADE_UP and len(given) != 1:
        found = " and ".join(given) or "none"
        return [Problem(("data",), f"give exactly one of {', '.join(SOURCES)}, not {found}")]
    return [*_strays(data, given), *_vocabulary(data), *_classes(data)]


def resolved_data(data: DataSpec, folder: str) -> DataSpec:
    """Paths are relative to the sweep file; resolved, they hold wherever they are read."""
    whole: dict[str, str] = {}
    for name in ("text", "parquet", "tokens"):
        if (path := getattr(data, name)) is not None:
            is_file = os.path.exists(os.path.join(folder, path))
            whole[name] = os.path.join(folder if is_file else glob.escape(folder), path)
    if data.dataset is not None and os.path.exists(os.path.join(folder, data.dataset)):
        whole["dataset"] = os.path.join(folder, data.dataset)
    if data.tokenizer is not None and not data.tokenizer.startswith(TIKTOKEN):
        whole["tokenizer"] = os.path.join(folder, data.tokenizer)
    return data.model_copy(update=whole)


def load_corpus(data: DataSpec) -> Corpus:
    """Reads and identifies the data. Raises CorpusError."""
    if data.task == "mqar":
        assert data.vocab_size is not None  # checked with the spec
        return recall(data.pairs, data.vocab_size)
    if data.task == "regression":
        return regression(data.dimension)
    reading = Reading(
        validation_fraction=data.validation_fraction,
        order=data.order,
        task=data.task,
        mask_fraction=data.mask_fraction,
        classes=data.classes,
    )
    if data.tokens is not None:
        assert data.vocab_size is not None
        return token_file(data.tokens, data.dtype, data.vocab_size, reading)
    return corpus_of(partial(_documents, data), tokenizer_of(data.tokenizer), reading)


def _documents(data: DataSpec) -> Iterable[Document]:
    if data.text is not None:
        return text_files(data.text)
    if data.parquet is not None:
        return parquet_column(data.parquet, data.column, data.label)
    if data.dataset is not None:
        return huggingface(data.dataset, data.split, data.column, data.label)
    return python_stdlib()


def _strays(data: DataSpec, given: list[str]) -> list[Problem]:
    """Fields that were written and that nothing would read."""
    strays = [
        Problem(("data", name), f"belongs to {', '.join(owners)}; remove it")
        for name, owners in _BELONGS.items()
        if name in data.model_fields_set and not {*owners} & {*given}
    ]
    return strays + [
        Problem(("data", name), f"belongs to task {task}; remove it")
        for name, task in _OF_TASK.items()
        if name in data.model_fields_set and data.task != task
    ]


def _vocabulary(data: DataSpec) -> list[Problem]:
    where = ("data", "vocab_size")
    if data.tokens is not None and data.vocab_size is None:
        return [Problem(where, "is missing; a token file does not say how many tokens exist")]
    if data.task == "mqar" and data.vocab_size is None:
        return [Problem(where, "is missing; mqar draws its keys and values from it, such as 64")]
    if data.tokens is None and data.task != "mqar" and data.vocab_size is not None:
        return [
            Problem(where, "belongs to tokens and mqar; text has that of its tokenizer, or 256 byte values")
        ]
    return []


def _classes(data: DataSpec) -> list[Problem]:
    if data.task != "classification":
        return []
    if data.tokens is not None:
        return [Problem(("data", "tokens"), "have no classes; give text, or documents with a label column")]
    if data.order != "random":
        return [Problem(("data", "order"), "classes are drawn at random; remove it")]
    if (data.parquet or data.dataset) and data.label is None:
        return [Problem(("data", "label"), "is missing; name the column that holds the class")]
    return []
