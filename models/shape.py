"""The shape of one proxy: everything that fixes the sizes of its tensors, and nothing else."""

from dataclasses import dataclass
from typing import Literal

Architecture = Literal["transformer", "gdn"]
Norm = Literal["rmsnorm", "layernorm", "none"]
MAX_MLP_RATIO = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a decoder of `depth` residual blocks, each a mixer followed by an MLP.

    Exactly one of `head_dim` and `heads` is given, and it says how the model is widened: a fixed
    `head_dim` widens by adding heads, a fixed number of `heads` widens by growing the head.

    Grouped-query attention (arXiv:2305.13245): `kv_heads` is the number of key/value heads whatever the
    width; `queries_per_kv` makes it grow with the heads. `final_norm` None is the same kind as `norm`.
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

    def __post_init__(self) -> None:
        for name in ("width", "depth", "sequence_length", "expand_v", "conv_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not a positive integer")
        if self.vocab_size < 2:
            raise ValueError(f"vocab_size: {self.vocab_size} is too small; at least 2 is needed")
        if self.mlp_ratio > MAX_MLP_RATIO:
            raise ValueError(f"mlp_ratio: {self.mlp_ratio} is above {MAX_MLP_RATIO}")
        if self.mlp_ratio * self.width < 1:
            raise ValueError(f"mlp_ratio: {self.mlp_ratio} leaves no MLP units at width {self.width}")
        self._check_heads()
        if self.architecture == "transformer":
            self._check_kv_heads()

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
        uses_rotary = self.architecture == "transformer" and self.positions == "rotary"
        if uses_rotary and self.head_size % 2:
            raise ValueError(f"head_dim: rotary positions need an even head, not {self.head_size}")

    def _check_kv_heads(self) -> None:
        if self.kv_heads is not None and self.queries_per_kv is not None:
            raise ValueError("kv_heads: give kv_heads (a fixed number) or queries_per_kv, not both")
        for name in ("kv_heads", "queries_per_kv"):
            count = getattr(self, name)
            if count is not None and (count < 1 or self.head_count % count):
                raise ValueError(f"{name}: {self.head_count} heads are not a multiple of {count}")

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
