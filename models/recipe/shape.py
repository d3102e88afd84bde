"""The shape of one proxy: everything that fixes the sizes of its tensors, and nothing else."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from ..architectures.registry import ARCHITECTURES, architecture_of
from .field import COUNT, POSITIVE, SHARE, Bounds, Point, Setting, check_fields, declared_fields
from .fixed import constants
from .own_name import OWN_NAME
from .placement import parse

Norm = Literal["rmsnorm", "layernorm", "none"]

TWO_OR_MORE = Bounds(lambda value: value >= 2, "is too small; at least 2 is needed", ">= 2")
MLP_RATIO = Bounds(lambda value: not value > 1000, "is above 1000", "<= 1000")


def _unturned(point: Point) -> bool:
    return bool(point["positions"] != "rotary")


def _unbiased(point: Point) -> bool:
    """Where there is neither attention nor, for all of them, an MLP."""
    known = ARCHITECTURES.get(point["architecture"])
    if known is None or "attention" in known.module_names:
        return False
    return bool(point["biases"] == "qkv" or point["mlp"] == "none")


def without_experts(point: Point) -> bool:
    return bool(point["experts"] == 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a model of `depth` residual blocks. Trials of one group share all of them.

    Exactly one of `head_dim` and `heads` is given, and it says how the model is widened: a fixed `head_dim`
    widens by adding heads, a fixed number of `heads` widens by growing the head.
    Raises ValueError, naming the field, when the sizes do not fit together.
    """

    architecture: Annotated[
        str,
        Setting(
            "what mixes over time, or package.module:build (architectures.md)",
            choices=ARCHITECTURES,
            own=OWN_NAME,
        ),
    ]
    width: Annotated[int, Setting("coordinates of the residual stream", COUNT, scale=True)]
    depth: Annotated[int, Setting("residual blocks", COUNT, scale=True)]
    sequence_length: Annotated[int, Setting("tokens", COUNT, scale=True)]
    vocab_size: Annotated[
        int, Setting("kinds of token, or numbers of an input vector", TWO_OR_MORE, decided_by="data")
    ]
    head_dim: Annotated[
        int | None,
        Setting("coordinates of a head; widening adds heads. One of head_dim and heads is required"),
    ] = None
    heads: Annotated[int | None, Setting("heads; widening grows them")] = None
    head_ratio: Annotated[
        float, Setting("coordinates of all query heads, or state heads, over width", POSITIVE, before=1.0)
    ] = 1.0
    state_head_dim: Annotated[
        int | None,
        Setting(
            "head_dim of GDN and Mamba2, beside attention's; none given: head_dim",
            COUNT,
            before=None,
            idle=lambda point: point["state_head_dim"] == point["head_dim"],
        ),
    ] = None
    state_head_ratio: Annotated[
        float | None,
        Setting(
            "head_ratio of GDN and Mamba2, beside attention's; none given: head_ratio",
            POSITIVE,
            before=None,
            idle=lambda point: point["state_head_ratio"] == point["head_ratio"],
        ),
    ] = None
    mlp: Annotated[
        Literal["gelu", "swiglu", "geglu", "none"],
        Setting("activation of the MLP; swiglu and geglu have a gate; none: blocks of a mixer alone"),
    ] = "gelu"
    gelu: Annotated[
        Literal["exact", "tanh"],
        Setting(
            "itself, or its approximation (GPT-2)",
            before="exact",
            idle=lambda point: point["mlp"] not in ("gelu", "geglu"),
        ),
    ] = "exact"
    mlp_ratio: Annotated[
        float,
        Setting(
            "units of the MLP, or of an expert that no granularity cuts, over width",
            MLP_RATIO,
            idle=lambda point: point["mlp"] == "none",
        ),
    ] = 4.0
    experts: Annotated[
        int,
        Setting(
            "MLPs of a block, of which a router picks experts_per_token (architectures.md); 1: no router",
            COUNT,
            scale=True,
            before=1,
        ),
    ] = 1
    experts_per_token: Annotated[
        int, Setting("whose outputs are averaged by their scores", COUNT, before=2, idle=without_experts)
    ] = 2
    granularity: Annotated[
        int,
        Setting(
            "parts that every expert is cut into; a token has as many times the experts (arXiv:2402.07871)",
            COUNT,
            scale=True,
            before=1,
            idle=without_experts,
        ),
    ] = 1
    norm: Annotated[Norm, Setting("inside the blocks")] = "rmsnorm"
    final_norm: Annotated[
        Norm | None,
        Setting(
            "before the readout; none given: as norm",
            before=None,
            idle=lambda point: point["final_norm"] == point["norm"],
        ),
    ] = None
    norm_place: Annotated[
        Literal["pre", "post", "sandwich", "sum"],
        Setting(
            "before each branch; post: after it, before it is added (OLMo 2); sandwich: both (Gemma 2); "
            "sum: after it is added (GPT-1, BERT)",
            before="pre",
            idle=lambda point: point["norm"] == "none",
        ),
    ] = "pre"
    norm_eps: Annotated[float, Setting("of all norms, beside the mean square", POSITIVE, before=1e-6)] = 1e-6
    parallel_residual: Annotated[
        bool,
        Setting(
            "mixer and MLP side by side on what the block is given (GPT-NeoX); false: one after the other",
            before=False,
            idle=lambda point: point["mlp"] == "none",
        ),
    ] = False
    positions: Annotated[Literal["rotary", "learned", "none"], Setting("how attention knows them")] = "rotary"
    rotary_base: Annotated[
        float,
        Setting("of the angles", POSITIVE, before=10_000.0, idle=_unturned),
    ] = 10_000.0
    rotary_share: Annotated[
        float,
        Setting("of a head's coordinates that are turned", SHARE, before=1.0, idle=_unturned),
    ] = 1.0
    attention_gate: Annotated[
        bool,
        Setting("attention's output times the sigmoid of a further projection (Qwen3-Next)", before=False),
    ] = False
    biases: Annotated[
        Literal["none", "qkv", "all"],
        Setting(
            "of linear layers of attention and MLP; qkv: of attention's queries, keys and values",
            before="none",
            idle=_unbiased,
        ),
    ] = "none"
    tied: Annotated[bool, Setting("whether embedding and readout are one matrix")] = False
    kv_heads: Annotated[
        int | None,
        Setting("key/value heads whatever the width; none given: as many as query heads", before=None),
    ] = None
    queries_per_kv: Annotated[
        int | None,
        Setting(
            "query heads for each key/value head",
            before=None,
            idle=lambda point: point["queries_per_kv"] == 1,
        ),
    ] = None
    expand_v: Annotated[int, Setting("size of a value head over that of a key head", COUNT)] = 1
    conv_size: Annotated[int, Setting("taps of the short convolutions", COUNT)] = 4
    conv_bias: Annotated[bool, Setting("biases of the short convolutions", before=False)] = False
    a_start: Annotated[
        Literal["drawn", "counted"],
        Setting(
            "decay rates A: drawn below 16; counted: 1, 2, ... by head (transformers' Mamba2)", before="drawn"
        ),
    ] = "drawn"
    dt_start: Annotated[
        Literal["drawn", "ones"],
        Setting("dt_bias: from time steps of 1e-3 to 1e-1, or ones (Qwen3-Next, Falcon-H1)", before="drawn"),
    ] = "drawn"
    attention_every: Annotated[int, Setting("attention in every n-th block", COUNT, before=4)] = 4
    qk_norm: Annotated[bool, Setting("norm of queries and keys, per head", before=False)] = False
    window: Annotated[
        int | None,
        Setting(
            "positions that attention sees, its own included; none given: all",
            COUNT,
            before=None,
            idle=lambda point: (point["window"] or 0) >= point["sequence_length"],
        ),
    ] = None
    causal: Annotated[bool, Setting("left to right; false reads both ways", before=True)] = True
    values_per_key: Annotated[
        int, Setting("value heads that share a query and key head", COUNT, before=1)
    ] = 1
    negative_eigenvalues: Annotated[
        bool, Setting("doubles beta, so that a state can be reflected (arXiv:2411.12537)", before=False)
    ] = False
    output_gate: Annotated[bool, Setting("the SiLU gate on the output", before=True)] = True
    state_size: Annotated[
        int,
        Setting(
            "rows of a head's state", COUNT, before=16, idle=lambda point: point["state_ratio"] is not None
        ),
    ] = 16
    state_ratio: Annotated[
        float | None, Setting("rows of a state over width, in place of state_size", before=None)
    ] = None
    state_groups: Annotated[int, Setting("groups of heads that share B and C", COUNT, before=1)] = 1
    state_norm: Annotated[
        bool, Setting("norm of what is read from the state, behind its gate or before it", before=True)
    ] = True
    norm_before_gate: Annotated[
        bool,
        Setting(
            "the state's norm, then its gate (Falcon-H1); false: the gate first (Mamba2)",
            before=False,
            idle=lambda point: not point["state_norm"],
        ),
    ] = False
    fixed_multipliers: Annotated[
        str,
        Setting(
            "constants on the outputs of modules, such as 'mlp.gate=0.9, attention.key=0.5' (Falcon-H1)",
            before="none",
        ),
    ] = "none"
    learnable_multipliers: Annotated[
        str, Setting("which matrices have them (multipliers.md)", before="none")
    ] = "none"
    outputs: Annotated[
        int | None, Setting("kinds of output; none given: as of input", COUNT, before=None, decided_by="data")
    ] = None
    vectors: Annotated[
        bool,
        Setting("inputs are vectors of numbers, the output is a number", before=False, decided_by="data"),
    ] = False

    code: Annotated[
        str | None,
        Setting("digest of the code of an architecture of your own", before=None, decided_by="model"),
    ] = None

    def __post_init__(self) -> None:
        check_fields(self, SHAPE_FIELDS.values())
        if self.tied and (self.vectors or self.output_count != self.vocab_size):
            raise ValueError(
                f"tied: the data have {self.vocab_size} kinds of input and {self.output_count} of output; "
                "a tied readout needs them to be the same"
            )
        parse(self.learnable_multipliers)
        constants(self.fixed_multipliers)
        if self.mlp != "none" and self.mlp_ratio * self.width < 1:
            raise ValueError(f"mlp_ratio: {self.mlp_ratio} leaves no MLP units at width {self.width}")
        if self.norm_place == "sum" and self.parallel_residual and self.mlp != "none":
            raise ValueError(
                "norm_place: sum norms the stream between mixer and MLP; give parallel_residual: false"
            )
        self._check_heads()
        if self.experts > 1:
            self._check_experts()
        architecture = architecture_of(self)
        architecture.check(self)
        if not self.causal and not architecture.sees_ahead:
            raise ValueError(f"causal: {self.architecture} reads from left to right; give true")

    def _check_experts(self) -> None:
        if self.mlp == "none":
            raise ValueError("experts: there is no MLP to be one; give one, or 1 expert")
        if self.biases == "all":
            raise ValueError("biases: experts have none; give none or qkv")
        if self.experts_per_token > self.experts:
            raise ValueError(
                f"experts_per_token: {self.experts_per_token} are more than {self.experts} experts"
            )
        if self.chosen_experts == 1:
            told = (
                "a single one weighs 1 whatever its score, so that its router learns nothing; give 2 or more"
            )
            raise ValueError(f"experts_per_token: {told}")
        if self.mlp_width % self.granularity:
            raise ValueError(
                f"granularity: {self.granularity} does not divide the {self.mlp_width} units of an expert"
            )

    def _check_heads(self) -> None:
        if (self.head_dim is None) == (self.heads is None):
            raise ValueError(
                "head_dim: give exactly one of head_dim (widening adds heads) "
                "and heads (widening grows head_dim)"
            )
        name, unit = ("head_dim", self.head_dim) if self.head_dim is not None else ("heads", self.heads)
        assert unit is not None
        if unit < 1:
            raise ValueError(f"{name}: {unit} is not a positive integer")
        self._must_divide(name, unit, "head_ratio", self.head_ratio)
        if self.heads is not None and (self.state_head_dim or self.state_head_ratio) is not None:
            name = "state_head_dim" if self.state_head_dim is not None else "state_head_ratio"
            raise ValueError(f"{name}: needs heads of a fixed size; give head_dim in place of heads")
        if self.head_dim is not None:
            name = "head_dim" if self.state_head_dim is None else "state_head_dim"
            ratio_name = "head_ratio" if self.state_head_ratio is None else "state_head_ratio"
            self._must_divide(name, self.state_head_size, ratio_name, self._state_ratio)

    def _must_divide(self, name: str, unit: int, ratio_name: str, ratio: float) -> None:
        """Raises ValueError where `ratio` times the width is no whole number of heads."""
        heads = ratio * self.width / unit
        if round(heads) >= 1 and math.isclose(heads, round(heads), rel_tol=1e-9):
            return
        if ratio != 1:
            raise ValueError(
                f"{ratio_name}: {ratio:g} x width {self.width} is no positive multiple of {name} {unit}"
            )
        low = self.width // unit * unit
        nearest = ", ".join(str(w) for w in (low, low + unit) if w)
        raise ValueError(f"width: {self.width} is not a multiple of {name} {unit}; nearest widths: {nearest}")

    @property
    def output_count(self) -> int:
        """Logits of a position, or 1 where it is a number."""
        return 1 if self.vectors else self.outputs or self.vocab_size

    @property
    def head_count(self) -> int:
        return self.heads if self.heads is not None else round(self.head_ratio * self.width / self.head_size)

    @property
    def head_size(self) -> int:
        return self.head_dim if self.head_dim is not None else self._grown_head

    @property
    def state_head_count(self) -> int:
        """Heads of a GDN or Mamba2 mixer."""
        if self.heads is not None:
            return self.heads
        return round(self._state_ratio * self.width / self.state_head_size)

    @property
    def state_key_head_count(self) -> int:
        """Of GDN's queries and keys."""
        return self.state_head_count // self.values_per_key

    @property
    def state_head_size(self) -> int:
        """Of its keys: its values are `expand_v` times as large."""
        if self.head_dim is None:
            return self._grown_head
        return self.head_dim if self.state_head_dim is None else self.state_head_dim

    @property
    def _grown_head(self) -> int:
        return round(self.head_ratio * self.width / (self.heads or 1))

    @property
    def _state_ratio(self) -> float:
        return self.head_ratio if self.state_head_ratio is None else self.state_head_ratio

    @property
    def last_norm(self) -> Norm:
        """The norm before the readout."""
        return self.norm if self.final_norm is None else self.final_norm

    @property
    def grows_head(self) -> bool:
        """Whether widening grows the head (fixed number of heads) instead of adding heads."""
        return self.heads is not None

    @property
    def value_width(self) -> int:
        """Coordinates of all value heads of GDN or Mamba2 together."""
        return self.state_head_count * self.state_head_size * self.expand_v

    @property
    def gated(self) -> bool:
        """Whether the MLP has a gate."""
        return self.mlp in ("swiglu", "geglu")

    @property
    def mlp_width(self) -> int:
        """Units of the MLP, or of an expert that no granularity cuts."""
        return 0 if self.mlp == "none" else round(self.mlp_ratio * self.width)

    @property
    def expert_count(self) -> int:
        """Of a block, cut as they are; 1 is the MLP itself."""
        return self.experts * self.granularity if self.experts > 1 else 1

    @property
    def chosen_experts(self) -> int:
        """Of a token."""
        return self.experts_per_token * self.granularity if self.experts > 1 else 1

    @property
    def expert_width(self) -> int:
        """Units of one."""
        return self.mlp_width // self.granularity if self.experts > 1 else self.mlp_width


SHAPE_FIELDS = declared_fields(Shape)
