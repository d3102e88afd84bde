"""The shape of one proxy: everything that fixes the sizes of its tensors, and nothing else."""

from dataclasses import dataclass
from typing import Literal

from .placement import parse

Architecture = Literal["transformer", "gdn", "mamba2", "gdn-hybrid", "mamba2-hybrid", "parallel-hybrid"]
Mixer = Literal["attention", "gdn", "mamba2"]
Norm = Literal["rmsnorm", "layernorm", "none"]
MAX_MLP_RATIO = 1000

MIXERS: dict[str, tuple[Mixer, ...]] = {
    "transformer": ("attention",),
    "gdn": ("gdn",),
    "mamba2": ("mamba2",),
    "gdn-hybrid": ("gdn", "attention"),
    "mamba2-hybrid": ("mamba2", "attention"),
    "parallel-hybrid": ("attention", "mamba2"),
}
"""What mixes information over time. The first two hybrids have attention in every n-th block, the last
has both in each block, side by side (Falcon-H1, arXiv:2507.22448)."""
INTERLEAVED = frozenset({"gdn-hybrid", "mamba2-hybrid"})
POSITIVE = (
    "width", "depth", "sequence_length", "expand_v", "conv_size", "attention_every", "window",
    "values_per_key", "state_size", "state_groups", "outputs",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a model of `depth` residual blocks, each a mixer (or two) followed by an MLP.

    Exactly one of `head_dim` and `heads` is given, and it says how the model is widened: a fixed
    `head_dim` widens by adding heads, a fixed number of `heads` widens by growing the head.

    Grouped-query attention (arXiv:2305.13245): `kv_heads` is the number of key/value heads whatever the
    width; `queries_per_kv` makes it grow with the heads. `qk_norm` normalises queries and keys per head;
    `window` is how many positions attention sees, its own included; not `causal`, it sees both ways.
    `final_norm` None is the same kind as `norm`.
    GDN: `values_per_key` value heads share one query and key head; `negative_eigenvalues` doubles beta, so
    that a state can be reflected (arXiv:2411.12537); `output_gate` is the SiLU gate on its output.
    Mamba2: the state has `state_size` rows for each of `state_groups` groups of heads, or `state_ratio`
    times the width. `expand_v` is the value width over the width in both.
    `learnable_multipliers` says which matrices have them (`learnable`). `outputs` None are as many as
    `vocab_size`; with `vectors` the inputs are vectors of `vocab_size` numbers and the output is one number.
    Raises ValueError, naming the field, when the sizes do not fit together.
    """

    architecture: Architecture
    width: int
    depth: int
    sequence_length: int
    vocab_size: int
    head_dim: int | None = None
    heads: int | None = None
    mlp: Literal["gelu", "swiglu"] = "gelu"
    mlp_ratio: float = 4.0
    norm: Norm = "rmsnorm"
    final_norm: Norm | None = None
    positions: Literal["rotary", "learned", "none"] = "rotary"
    tied: bool = False
    kv_heads: int | None = None
    queries_per_kv: int | None = None
    expand_v: int = 1
    conv_size: int = 4
    attention_every: int = 4
    qk_norm: bool = False
    window: int | None = None
    causal: bool = True
    values_per_key: int = 1
    negative_eigenvalues: bool = False
    output_gate: bool = True
    state_size: int = 16
    state_ratio: float | None = None
    state_groups: int = 1
    learnable_multipliers: str = "none"
    outputs: int | None = None
    vectors: bool = False

    def __post_init__(self) -> None:
        for name in POSITIVE:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: {value} is not a positive integer")
        if self.vocab_size < 2:
            raise ValueError(f"vocab_size: {self.vocab_size} is too small; at least 2 is needed")
        if self.tied and (self.vectors or self.output_count != self.vocab_size):
            raise ValueError(
                f"tied: the data have {self.vocab_size} kinds of input and {self.output_count} of output; "
                "a tied readout needs them to be the same"
            )
        parse(self.learnable_multipliers)
        if self.mlp_ratio > MAX_MLP_RATIO:
            raise ValueError(f"mlp_ratio: {self.mlp_ratio} is above {MAX_MLP_RATIO}")
        if self.mlp_ratio * self.width < 1:
            raise ValueError(f"mlp_ratio: {self.mlp_ratio} leaves no MLP units at width {self.width}")
        self._check_heads()
        if "attention" in self.mixers:
            self._check_kv_heads()
        if "gdn" in self.mixers and self.head_count % self.values_per_key:
            raise ValueError(
                f"values_per_key: {self.head_count} heads are not a multiple of {self.values_per_key}"
            )
        if "mamba2" in self.mixers:
            self._check_state()
        if self.architecture in INTERLEAVED and self.depth % self.attention_every:
            raise ValueError(
                f"attention_every: depth {self.depth} is not a multiple of {self.attention_every}, so the "
                "share of attention would change with depth; give a depth that is"
            )
        if not self.causal and self.mixers != ("attention",):
            raise ValueError(f"causal: {self.architecture} reads from left to right; give true")

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
        if self.width % unit:
            low = self.width // unit * unit
            nearest = ", ".join(str(w) for w in (low, low + unit) if w)
            raise ValueError(
                f"width: {self.width} is not a multiple of {name} {unit}; nearest widths: {nearest}"
            )
        uses_rotary = "attention" in self.mixers and self.positions == "rotary"
        if uses_rotary and self.head_size % 2:
            raise ValueError(f"head_dim: rotary positions need an even head, not {self.head_size}")

    def _check_kv_heads(self) -> None:
        if self.kv_heads is not None and self.queries_per_kv is not None:
            raise ValueError("kv_heads: give kv_heads (a fixed number) or queries_per_kv, not both")
        for name in ("kv_heads", "queries_per_kv"):
            count = getattr(self, name)
            if count is not None and (count < 1 or self.head_count % count):
                raise ValueError(f"{name}: {self.head_count} heads are not a multiple of {count}")

    def _check_state(self) -> None:
        if self.head_count % self.state_groups:
            raise ValueError(
                f"state_groups: {self.head_count} heads are not a multiple of {self.state_groups}"
            )
        if self.state_ratio is not None and self.state_rows < 1:
            raise ValueError(f"state_ratio: {self.state_ratio} leaves no state at width {self.width}")

    @property
    def mixers(self) -> tuple[Mixer, ...]:
        """The kinds of mixers that the model has."""
        return MIXERS[self.architecture]

    def mixers_of(self, block: int) -> tuple[Mixer, ...]:
        """Those of one block: in an interleaved hybrid every n-th has attention, the others have none."""
        if self.architecture not in INTERLEAVED:
            return self.mixers
        return ("attention",) if (block + 1) % self.attention_every == 0 else self.mixers[:1]

    def mixer_name(self, mixer: Mixer) -> str:
        """What a mixer's parameters are called inside their block; named by its kind where there are two."""
        return "mixer" if len(self.mixers) == 1 else mixer

    @property
    def output_count(self) -> int:
        """Logits of a position, or 1 where it is a number."""
        return 1 if self.vectors else self.outputs or self.vocab_size

    @property
    def key_width(self) -> int:
        """Coordinates of all of GDN's key heads together."""
        return self.width // self.values_per_key

    @property
    def state_rows(self) -> int:
        """Rows of a Mamba2 head's state."""
        return self.state_size if self.state_ratio is None else round(self.state_ratio * self.width)

    @property
    def head_count(self) -> int:
        return self.heads if self.heads is not None else self.width // (self.head_dim or 1)

    @property
    def head_size(self) -> int:
        return self.head_dim if self.head_dim is not None else self.width // (self.heads or 1)

    @property
    def kv_head_count(self) -> int:
        return self.kv_heads or self.head_count // (self.queries_per_kv or 1)

    @property
    def kv_width(self) -> int:
        """Coordinates of all key heads together, as many as of all value heads."""
        return self.kv_head_count * self.head_size

    @property
    def pools_queries(self) -> bool:
        """Whether a fixed number of key/value coordinates serves a growing number of query heads."""
        return self.kv_heads is not None and not self.grows_head

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
        """Coordinates of all value heads together, [heads * head_size * expand_v]."""
        return self.width * self.expand_v

    @property
    def mlp_width(self) -> int:
        return round(self.mlp_ratio * self.width)
