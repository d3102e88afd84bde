"""Tasks beyond the next token: what their batches hold, and that proxies learn them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mutransfer.models.data.batches import UNLABELLED, Source
from mutransfer.models.data.corpus import Reading, corpus_of, materialise, recall, regression
from mutransfer.models.data.documents import CorpusError, python_stdlib
from mutransfer.models.data.token_file import TokenFile
from mutransfer.models.data.tokenizer import BYTES
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.loop import train
from mutransfer.models.training.loss import accuracy, loss

CPU = torch.device("cpu")


def test_recall_answers_each_key_with_its_value() -> None:
    batch = recall(pairs=5, vocab_size=32).source.batches(24).training([0, 1], 3, 8)
    assert batch.inputs.shape == batch.labels.shape == (2, 8, 24)
    for inputs, labels in zip(batch.inputs.reshape(-1, 24), batch.labels.reshape(-1, 24), strict=True):
        values = dict(zip(inputs[0:10:2].tolist(), inputs[1:10:2].tolist(), strict=True))
        assert len(values) == 5 and max(values) < 16 <= min(values.values())
        asked = np.flatnonzero(labels != UNLABELLED)
        assert len(asked) == 5 and asked.min() >= 10
        assert {int(inputs[t]): int(labels[t]) for t in asked} == values
        assert set(inputs[10:].tolist()) <= {0, *values}


def test_queries_come_soon_rather_than_late() -> None:
    labels = recall(pairs=2, vocab_size=32).source.batches(64).validation(512).labels
    asked = np.nonzero(labels != UNLABELLED)[1] - 4
    assert np.median(asked) < 15 and asked.max() > 50


def test_regression_is_noiseless_and_of_unit_variance() -> None:
    batch = regression(dimension=4).source.batches(12).validation(2000)
    assert batch.inputs.shape == (2000, 12, 5) and batch.labels.shape == (2000, 12)
    assert batch.labels.std() == pytest.approx(1, rel=0.05)
    assert (batch.inputs[:, 1:, 4] == batch.labels[:, :-1]).all() and (batch.inputs[:, 0, 4] == 0).all()
    x, y = batch.inputs[0, :, :4], batch.labels[0]
    assert np.linalg.lstsq(x, y, rcond=None)[1] == pytest.approx(0, abs=1e-9)


def test_masked_positions_are_told_from_the_others(tokens: TokenFile) -> None:
    source = replace(tokens, task="masked", mask_fraction=0.25)
    batch, text = source.batches(16).validation(400), tokens.batches(15).validation(400)
    hidden = batch.labels != UNLABELLED
    assert (hidden.sum(axis=1) == 4).all()
    whole = np.where(hidden, batch.labels, batch.inputs)
    assert (np.diff(whole) % 64).max() <= 7  # the corpus's own steps: nothing else was changed
    shown = batch.inputs[hidden]
    assert (shown == 64).mean() == pytest.approx(0.8, abs=0.05)
    assert (shown == batch.labels[hidden]).mean() == pytest.approx(0.1, abs=0.04)
    assert source.fields == {"vocab_size": 65, "outputs": 64}
    assert text.inputs.max() < 64


def test_a_class_is_the_file_that_a_passage_is_from(tmp_path: Path) -> None:
    documents = [("b", b"b" * 300), ("a", b"a" * 500), ("b", b"B" * 300), ("c", b"c" * 50)]
    reading = Reading(task="classification", classes=2, validation_fraction=0.5)
    corpus = corpus_of(lambda: documents, BYTES, reading)
    source = materialise(corpus, tmp_path)
    assert isinstance(source, TokenFile) and source.classes == (600, 500)  # the largest first, c left out
    assert corpus.fields["outputs"] == 2
    batches = source.batches(20)
    for batch in (batches.training([0], 0, 64), batches.validation(64)):
        inputs, labels = batch.inputs.reshape(-1, 20), batch.labels.reshape(-1, 20)
        assert (labels[:, :-1] == UNLABELLED).all()
        assert set(labels[:, -1].tolist()) == {0, 1}
        for passage, label in zip(inputs, labels[:, -1], strict=True):
            assert {chr(token).lower() for token in passage} == {"ba"[label]}
    assert (batches.training([0], 0, 64).inputs == ord("b")).any()
    assert not (batches.validation(64).inputs == ord("b")).any()  # the other half is held out
    cut = [("a", b"b" * 300), ("b", b"b" * 300 + b"B" * 0), ("c", b"a" * 500)]
    other = corpus_of(lambda: cut, BYTES, replace(reading, classes=3))
    wider = corpus_of(lambda: documents[:3], BYTES, replace(reading, classes=9))
    assert len({corpus.source.digest, other.source.digest}) == 2
    assert wider.source.digest == corpus.source.digest  # two classes, however many were asked for
    with pytest.raises(CorpusError, match="at least two classes"):
        corpus_of(lambda: documents[:1], BYTES, reading)


def test_loss_and_accuracy_count_labelled_positions_alone() -> None:
    out = torch.randn(2, 3, 4, 7)
    labels = torch.randint(7, (2, 3, 4))
    labels[:, :, 1:] = UNLABELLED
    torch.testing.assert_close(loss(out, labels), loss(out[:, :, :1], labels[:, :, :1]))
    torch.testing.assert_close(
        accuracy(out, labels), (out[:, :, 0].argmax(-1) == labels[:, :, 0]).float().mean(1)
    )
    numbers = torch.randn(2, 3, 4)
    torch.testing.assert_close(
        loss(out[..., :1], numbers), (out[..., 0] - numbers).square().flatten(1).mean(1) / 2
    )
    assert accuracy(out[..., :1], numbers).isnan().all()


PASSAGES = [
    ("prose", b"the quick brown fox jumps over the lazy dog and runs. " * 60),
    ("code", b"def fox(dog): return [lazy(dog) for quick in range(9)]\n" * 60),
]
LEARNED: dict[str, tuple[Callable[[Path], Source], dict[str, Any], float]] = {
    "mqar": (lambda _: recall(2, 16).source, {"sequence_length": 8, "steps": 300, "batch_size": 64}, 0.9),
    "regression": (
        lambda _: regression(2).source,
        {"sequence_length": 12, "steps": 300, "batch_size": 64},
        0.6,
    ),
    "masked": (
        lambda folder: materialise(corpus_of(python_stdlib, BYTES, Reading(task="masked")), folder),
        {"causal": False, "sequence_length": 24, "batch_size": 16, "steps": 150},
        0.2,
    ),
    "classification": (
        lambda folder: materialise(
            corpus_of(lambda: PASSAGES, BYTES, Reading(task="classification", classes=2)), folder
        ),
        {"sequence_length": 16, "batch_size": 32, "steps": 100},
        0.9,
    ),
}  # fmt: skip


@pytest.mark.parametrize("task", LEARNED)
def test_a_proxy_learns_it(task: str, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """By accuracy, or for the regression by the share of the variance that is left."""
    make, settings, wanted = LEARNED[task]
    source = make(tmp_path)
    one = recipe(
        **{
            "width": 32,
            "base_width": 32,
            "eval_sequences": 128,
            "learning_rate": 0.01,
            **settings,
            **source.fields,
        }
    )
    (outcome,) = train([one], source.batches(one.shape.sequence_length), CPU)
    assert outcome.loss is not None and outcome.loss < outcome.initial_loss
    if task == "regression":
        assert outcome.accuracy is None
        assert outcome.loss < 0.5 * wanted
    else:
        assert outcome.accuracy is not None and outcome.accuracy > wanted


@pytest.mark.parametrize(("optimizer", "rate"), [("sophia", 0.001), ("muon", 0.003)])
def test_other_optimizers_take_vectors_and_gaps(
    optimizer: str, rate: float, recipe: Callable[..., Recipe]
) -> None:
    """Sophia draws labels of its own, for numbers and where positions have none."""
    for source in (regression(3).source, recall(2, 16).source):
        one = recipe(
            optimizer=optimizer, adamw_lr_ratio=0.5, learning_rate=rate, sequence_length=8, matrices="all",
            steps=100, batch_size=16, **source.fields,
        )  # fmt: skip
        (outcome,) = train([one], source.batches(8), CPU)
        assert len(outcome.curve) == 100
        # Regression takes longer to begin than a test may.
        assert one.shape.vectors or (outcome.loss is not None and outcome.loss < outcome.initial_loss)


def test_lengths_that_do_not_fit_are_told() -> None:
    assert recall(pairs=5, vocab_size=32).source.misfit(14) is not None
    with pytest.raises(ValueError, match="5 pairs and their queries take 15 positions"):
        recall(pairs=5, vocab_size=32).source.batches(14)
    with pytest.raises(ValueError, match="a vocab_size of 8 has fewer than 5 keys"):
        recall(pairs=5, vocab_size=8).source.batches(16)
