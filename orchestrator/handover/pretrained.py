"""A trained proxy as a checkpoint of transformers: its weights in the model that it is like.

B batch, T time, V outputs.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.handover.values import handover_at
from ...models.recipe.fault import Fault
from ...models.recipe.recipe import Recipe
from ...sweeps.data import SOURCES, DataSpec
from ..record.directory import SweepDirectory
from ..upkeep.found import Found
from ..upkeep.weights import trained_model
from .fault import ExportError
from .formats.huggingface import configuration_class, described
from .formats.shared import CONVENTIONS, unlike

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from ...models.training.trained import Trained

GAP = 1e-4
"""Logits of the two in float32, as a share of the largest."""


def write_pretrained(directory: SweepDirectory, found: Found, out: Path) -> str:
    """Writes the trial's model to a folder that `from_pretrained` reads, with a tokenizer where its data were
    bytes of text; returns what was written, in words.

    Raises Fault where no weights were kept or the folder is there, ExportError for a model that transformers
    does not have.
    """
    if out.exists():
        raise Fault(f"--out {out}: is there already; give another folder")
    if importlib.util.find_spec("transformers") is None:
        raise Fault("weights: needs the package transformers; install it beside mutransfer")
    model = as_pretrained(trained_model(directory, found))
    model.save_pretrained(out)
    told = f"{type(model).__name__} to {out}"
    if not _of_bytes(found.sweep.spec.data):
        return f"{told}; its tokenizer is the data's, put it there, too"
    _byte_tokenizer().save_pretrained(out)
    return f"{told}, with a tokenizer of bytes"


def as_pretrained(ours: "Trained") -> "PreTrainedModel":
    """The model of transformers that computes what a trained proxy does. Raises ExportError."""
    import torch
    import transformers

    from ...models.handover.assignment import assigned
    from ...models.handover.folded import folded
    from ...models.handover.maps.registry import MAPS

    try:
        weights, recipe = folded({name: x.detach() for name, x in ours.named_parameters()}, ours.recipe)
    except ValueError as error:
        raise ExportError(f"transformers has no place for it: {error}") from None
    handed = _handed(recipe)
    map_, name, configuration = described(handed)
    if lost := unlike(handed, CONVENTIONS):
        raise ExportError(f"transformers' {name} has no {', no '.join(lost)}")
    config = getattr(transformers, configuration_class(name))(**configuration)
    model: PreTrainedModel = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for each in assigned(model, handed, MAPS[map_].roles):
            each.tensor.copy_(each.stored_as([weights[part] for _, part in each.parts], recipe.shape))
        _must_agree(ours, model)
    return model


def _handed(recipe: Recipe) -> dict[str, Any]:
    """What is said of the model: its multipliers are in its weights; how it was trained does not matter."""
    handed = handover_at(recipe)
    target = {**handed["target"], "sequence_length": recipe.shape.sequence_length}
    return {
        **handed,
        "target": target,
        "multipliers": {},
        "hyperparameters": {"init": "fan-in", "balance_loss": 0.0},
    }


def _must_agree(ours: "Trained", model: "PreTrainedModel") -> None:
    """Raises ExportError where the two compute different logits, which would be a fault of ours."""
    import torch

    shape = ours.recipe.shape
    drawn = torch.Generator().manual_seed(0)
    tokens_BT = torch.randint(shape.vocab_size, (2, shape.sequence_length), generator=drawn)
    expected_BTV: Tensor = ours(tokens_BT)
    found_BTV: Tensor = model(tokens_BT).logits
    gap = float((found_BTV - expected_BTV).abs().max() / expected_BTV.abs().max())
    if not gap < GAP:
        raise ExportError(
            f"the logits of {type(model).__name__} are {gap:.1e} off, so nothing is written: a fault of "
            "mutransfer"
        )


def _of_bytes(data: DataSpec) -> bool:
    """Whether tokens are bytes of text, each its own number."""
    of_text = any(getattr(data, name) is not None for name in SOURCES if name != "tokens")
    return of_text and data.tokenizer is None and data.task == "next-token"


def _byte_tokenizer() -> "PreTrainedTokenizerFast":
    """Bytes of UTF-8 as they are, by GPT-2's characters for them; nothing is put before or behind a text."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    tokenizer = Tokenizer(BPE({letter: byte for byte, letter in bytes_to_unicode().items()}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = Decoder()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)
