"""What a model of others calls its parameters and modules, for a handover."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...recipe.role import plain_site
from ..assignment import Roles, Stored
from ..sites import Place, Sites
from ..values import Handed


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where a model is not as the proxy that is nearest to it, and what to set so that it is."""

    what: str
    ours: str
    theirs: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMap:
    """`of` is the class that it was tried on; `proxy` the fields of a sweep whose proxies are like it."""

    of: str
    proxy: Mapping[str, object]
    roles: Roles
    sites: Sites
    differences: tuple[Difference, ...] = ()

    def sites_in(self, handover: Handed) -> Sites:
        """Those that the handover has a multiplier on."""
        there = {plain_site(site) for site in handover["multipliers"]}
        return {site: places for site, places in self.sites.items() if site in there}


def hidden(like: str | None = None, *beside: str, grouped: str | None = None) -> Stored:
    """A matrix inside a block."""
    return Stored("hidden", like=like, beside=beside, grouped=grouped)


def gain(like: str | None = None, *beside: str, optional: bool = False, grouped: str | None = None) -> Stored:
    """A gain or a bias inside a block."""
    return Stored("hidden vector", like=like, beside=beside, optional=optional, grouped=grouped)


def linear(name: str, *ours: str, grouped: str | None = None) -> dict[str, Stored]:
    """A linear layer inside a block with its bias, if it has one; several of ours are fused in it."""
    return {
        f"{name}.weight": hidden(*(f"{one}.weight" for one in ours), grouped=grouped),
        f"{name}.bias": gain(*(f"{one}.bias" for one in ours), optional=True, grouped=grouped),
    }


def head_gain(like: str) -> Stored:
    """A gain that all heads share."""
    return Stored("hidden scalar", like=like)


def drawn(like: str) -> Stored:
    """A decay or time step: its start is the handover's where it has one, else the model's own."""
    return Stored("hidden vector", like=like, kept=True)


def outside(embedding: str, norm: str) -> dict[str, Stored]:
    """Embedding, last norm and readout, by the names of the first two; the readout may be tied."""
    return {
        embedding: Stored("input", like="embedding.weight"),
        norm: Stored("vector", like="final_norm.gain"),
        "lm_head.weight": Stored("output", like="readout.weight"),
    }


def norm_epsilon(field: str) -> Difference:
    """Of a model whose configuration has another by default."""
    return Difference(
        what="epsilon of the norms", ours="norm_eps: 1e-6 by default", theirs="1e-5 by default",
        remedy=f"norm_eps: 1e-5 in the sweep, or {field}=1e-6",
    )  # fmt: skip


OWN_SCALE = Place("*.self_attn", attribute="scaling")
"""Where transformers' attention keeps its 1 / sqrt(head_dim)."""
