"""The ready map of Megatron-Core's GPT, on the real package, on a CPU.

Megatron asks a GPU for its number and for its random states, which nothing here needs: both are stood in for.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from test_maps import DEPTH, HEAD, OPTIONS, TIME, VOCABULARY, Case, by_heads, trains_as_the_proxy
from test_transfer import plan_of
from torch import Tensor, nn

from mutransfer.models.data.batches import Batches
from mutransfer.models.handover.assignment import UnknownParameterError
from mutransfer.models.handover.maps.registry import MAPS
from mutransfer.models.handover.sites import apply_multipliers_
from mutransfer.models.handover.transfer import initialize_
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.handover.export import Target

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that neither Transformer Engine nor Apex is here
    from megatron.core import parallel_state
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.tensor_parallel.random import CudaRNGStatesTracker
    from megatron.core.transformer.transformer_config import TransformerConfig


pytestmark = [  # Megatron's, of its own defaults
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def one_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(CudaRNGStatesTracker, "fork", lambda self, name=None: nullcontext())
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    parallel_state.initialize_model_parallel(1, 1)
    yield
    parallel_state.destroy_model_parallel()
    dist.destroy_process_group()


def gpt(width: int, shared: bool = False, **changes: object) -> nn.Module:
    config = TransformerConfig(**{
        "num_layers": DEPTH, "hidden_size": width, "num_attention_heads": width // HEAD,
        "ffn_hidden_size": 4 * width, "use_cpu_initialization": True, "normalization": "RMSNorm",
        "layernorm_epsilon": 1e-6, "gated_linear_unit": True, "activation_func": nn.functional.silu,
        "add_bias_linear": False, "hidden_dropout": 0.0, "attention_dropout": 0.0,
        "bias_activation_fusion": False, "bias_dropout_fusion": False, "masked_softmax_fusion": False,
        "apply_rope_fusion": False, "gradient_accumulation_fusion": False, "persist_layer_norm": False,
        **changes,
    })  # fmt: skip
    layers = get_gpt_layer_local_spec(normalization="RMSNorm", qk_layernorm=bool(changes.get("qk_layernorm")))
    model: Any = GPTModel(
        config,
        layers,
        VOCABULARY,
        TIME,
        position_embedding_type="rope",
        share_embeddings_and_output_weights=shared,
    )
    whole = model.forward

    def of_tokens(tokens_BT: Tensor) -> Tensor:
        positions_BT = torch.arange(tokens_BT.shape[1])[None].expand_as(tokens_BT)
        ahead_TS = torch.ones(tokens_BT.shape[1], tokens_BT.shape[1], dtype=torch.bool).triu(1)
        logits_BTV: Tensor = whole(tokens_BT, positions_BT, ahead_TS[None, None])
        return logits_BTV

    model.forward = of_tokens
    gpt_model: nn.Module = model
    return gpt_model


@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("normed", [False, True])
def test_it_is_handed_over_and_trains_as_the_proxy(
    normed: bool, width: int, recipe: Callable[..., Recipe], batches: Batches
) -> None:
    """Nothing is left out: `verify` has every start, group and multiplier."""

    def build(width: int) -> nn.Module:
        return gpt(width, qk_layernorm=normed)

    case = Case(build, proxy={"qk_norm": normed}, made_like_ours=by_heads)
    trains_as_the_proxy("megatron", case, width, recipe, batches)


@pytest.mark.parametrize(
    ("model", "proxy", "told"),
    [
        (
            {"add_bias_linear": True},
            {},
            r"does not know decoder\.layers\.0\..*linear_proj\.bias",
        ),
        ({"shared": True}, {}, r"has readout\.weight, and the model nothing like it"),
        ({}, {"qk_norm": True}, r"query_norm\.gain, .*and the model nothing like it"),
        ({}, {"mlp": "gelu"}, r"has blocks\.\*\.mlp\.up\.weight, and the model nothing like it"),
    ],
)
def test_another_model_is_refused(
    model: dict[str, Any], proxy: dict[str, Any], told: str, recipe: Callable[..., Recipe]
) -> None:
    ready = MAPS["megatron"]
    handover = plan_of(recipe, Target(32, DEPTH), **{**OPTIONS, **ready.proxy, **proxy})
    with pytest.raises(UnknownParameterError, match=told):
        initialize_(gpt(32, **model), handover, 0, ready.roles)


def test_an_output_with_a_bias_beside_it_takes_no_multiplier(recipe: Callable[..., Recipe]) -> None:
    """It would be on one of the two alone."""
    ready = MAPS["megatron"]
    changes = {**OPTIONS, **ready.proxy, "residual_multiplier": 2.0}
    handover = plan_of(recipe, Target(32, DEPTH), **changes)
    model = gpt(32, add_bias_linear=True)
    apply_multipliers_(model, handover, ready.sites_in(handover))
    with pytest.raises(UnknownParameterError, match="RowParallelLinear: gives a tuple, no tensor"):
        model(torch.zeros(1, TIME, dtype=torch.long))
