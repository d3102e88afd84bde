"""The shape of one proxy: everything that fixes the sizes of its tensors, and nothing else."""

from dataclasses import dataclass
from typing import Literal

Architecture = Literal["transformer", "gdn"]
MAX_MLP_RATIO = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a decoder of `depth` residual blocks, each a mixer followed by an MLP.

    Exactly one of `head_dim` and `heads` is given, and it says how the model is widened: a fixed
    `head_dim` widens by adding heads, a fixed number of `heads` widens by growing the head.
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
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    positions: Literal["rotary", "learned", "none"] = "rotary"
    tied: bool = False
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

    @property
    def head_count(self) -> int:
        return self.heads if self.heads is not None else self.width // (self.head_dim or 1)

    @property
    def head_size(self) -> int:
        return self.head_dim if self.head_dim is not None else self.width // (self.heads or 1)

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
