"""What a parameter is to the scaling rules: which of its dimensions grow with the model."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Role(StrEnum):
    """The class of a parameter. Every parameter is born with one; nothing is guessed from names."""

    INPUT = "input"  # token or position embedding: fan_in fixed, fan_out ~ n
    HIDDEN = "hidden"  # both dimensions ~ n, inside a residual branch
    OUTPUT = "output"  # readout: fan_in ~ n, fan_out fixed
    VECTOR = "vector"  # one dimension ~ n, outside the branches: the final norm
    HIDDEN_VECTOR = "hidden vector"  # one dimension ~ n, inside a branch: gains, biases, conv kernels
    HIDDEN_SCALAR = "hidden scalar"  # no dimension grows: a gain shared by a growing number of heads
    NARROW = "narrow"  # n -> fixed, inside a branch: gates of growing heads, shared keys and values
    ROUTER = "router"  # n -> one score an expert: narrow, and learns from the tokens of its experts alone
    EXPERT_IN = "expert in"  # into the units of experts, each a hidden matrix of its own
    EXPERT_OUT = "expert out"  # out of them
    NARROW_VECTOR = "narrow vector"  # A_log, dt_bias of a fixed number of growing heads
    MULTIPLIER = "learnable multiplier"  # a scalar, row or column multiplier of a matrix


EXPERT_ROLES = (Role.EXPERT_IN, Role.EXPERT_OUT)


class Site(StrEnum):
    """What scales in the forward pass without being a parameter."""

    EMBEDDING = "embedding"  # on the sum of token and position embeddings
    BRANCH = "residual branch"  # on each branch before it joins the stream
    ATTENTION = "attention logits"  # heads are added at fixed head_dim
    GROWING_ATTENTION = "attention logits, growing head"
    STATE = "state readout"  # GDN's o = S q before its norm, fixed head_dim
    GROWING_STATE = "state readout, growing head"
    SCORES = "state scores"  # Mamba2's C . B, state of a fixed size
    GROWING_SCORES = "state scores, growing state"
    READOUT = "readout"  # on the logits


def plain_site(site: str) -> str:
    """Without what grows: "attention logits" of "attention logits, growing head"."""
    return site.partition(", ")[0]


Start = Literal["normal", "ones", "zeros", "a_log", "a_log_from_1", "a_log_counted", "dt_bias", "kept"]
"""`kept`: a value that the builder of a model gives it."""


def pattern_of(name: str) -> str:
    """The name with the block's index, the first that there is, replaced by `*`: the same for all blocks and
    depths."""
    parts = name.split(".")
    at = next((place for place, part in enumerate(parts) if part.isdigit()), None)
    return name if at is None else ".".join([*parts[:at], "*", *parts[at + 1 :]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a proxy, without the trial axis. Matrices are [fan_out, fan_in], but for lookup
    tables (role input), whose rows are their inputs. `matrices` of one size may stand one below the other."""

    name: str
    shape: tuple[int, ...]
    role: Role
    start: Start = "normal"
    fan_in: int = 1
    matrices: int = 1
    decayed: bool = True
    ends_branch: bool = False

    @property
    def pattern(self) -> str:
        return pattern_of(self.name)

    @property
    def size(self) -> int:
        size = 1
        for extent in self.shape:
            size *= extent
        return size
