"""A handover, read and made sure of: what `mutransfer export -f json` writes, and what a trial is given.

handover = read("handover.json")
handover.model["width"], handover.learning_rate, handover.multipliers["readout"]
param_groups(model, handover)                   # the loader takes it as it takes the plain JSON
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from ..recipe.role import Role, Site

SCHEMA = 3
READABLE = (2, 3)
"""Schema 2 has no architecture, and its warnings no severity."""

Severity = Literal["note", "warning", "danger"]
"""What may be worth a look; what makes the values less sure; what says that they do not hold."""

WHERE: Mapping[str, str] = {
    Site.EMBEDDING: "on the sum of token and position embeddings",
    Site.BRANCH: "on what each branch adds to the residual stream",
    Site.ATTENTION: "on queries times keys: all of the scale, 1 / sqrt(head_dim) included",
    Site.GROWING_ATTENTION: "on queries times keys: all of the scale, 1 / sqrt(head_dim) included",
    Site.STATE: "on what queries read from the state, before its norm",
    Site.GROWING_STATE: "on what queries read from the state, before its norm",
    Site.SCORES: "on C times B",
    Site.GROWING_SCORES: "on C times B",
    Site.READOUT: "on the logits",
}

OF_ROLES = ("optimizer", "learning_rate", "weight_decay", "epsilon", "init", "init_gain")
OF_PARAMETERS = (
    "role",
    "shape",
    "start",
    "init_std",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "epsilon",
)


class HandoverError(ValueError):
    """The message names the place, what was found and what to do."""


@dataclass(frozen=True, slots=True)
class Caution:
    """What is to be minded of a handover."""

    severity: Severity
    text: str


class Handover(Mapping[str, Any]):
    """The values of a handover, which it is a mapping of, and the parts of them by name."""

    def __init__(self, values: Mapping[str, Any], name: str = "the handover") -> None:
        """Raises HandoverError for values that the loader could not be sure of."""
        _check(values, name)
        self._values = dict(values)

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - as it is written
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def target(self) -> Mapping[str, Any]:
        """The size of the large run: width, depth, batch, sequences, steps, tokens, as far as it is known."""
        return self._values.get("target") or {}

    @property
    def model(self) -> Mapping[str, Any]:
        """The architecture in full; empty for a program's own model."""
        return self._values.get("model") or {}

    @property
    def learning_rate(self) -> float:
        """The base value."""
        return float(self["hyperparameters"]["learning_rate"])

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """Of the base learning rate, 95 %; None for an end that is open, or not known."""
        low, high = self["hyperparameters"].get("learning_rate_interval", (None, None))
        return low, high

    @property
    def multipliers(self) -> Mapping[str, float]:
        """Of the forward pass, by site."""
        return {site: float(value) for site, value in self["multipliers"].items()}

    @property
    def places(self) -> Mapping[str, str]:
        """Where each multiplier applies."""
        return {site: WHERE.get(site, site) for site in self["multipliers"]}

    @property
    def evidence(self) -> Mapping[str, Any]:
        """The comparison that it rests on; empty for a trial's."""
        return self._values.get("evidence") or {}

    @property
    def cautions(self) -> list[Caution]:
        """What is to be minded, the worst first."""
        told = [
            Caution("warning", one) if isinstance(one, str) else Caution(one["severity"], one["text"])
            for one in self._values.get("warnings", ())
        ]
        return sorted(told, key=lambda one: ("danger", "warning", "note").index(one.severity))

    def json(self) -> str:
        """As a file holds it."""
        return json.dumps(self._values, indent=1, allow_nan=False) + "\n"


def read(path: str | PathLike[str]) -> Handover:
    """Raises HandoverError for a file that is no handover, and OSError."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise HandoverError(f"{path}: is no JSON ({error}); export it with -f json") from None
    if not isinstance(values, dict):
        raise HandoverError(f"{path}: is no handover; export one with mutransfer export -f json")
    return Handover(values, str(path))


def _check(values: Mapping[str, Any], name: str) -> None:
    schema = values.get("schema", SCHEMA)
    if schema not in READABLE:
        raise HandoverError(
            f"{name}: schema {schema!r} is not one of {', '.join(map(str, READABLE))}; read it with the "
            "version that wrote it, or export again"
        )
    needed = ("hyperparameters", "multipliers", "roles", "parameters", "weight_decay_convention")
    if lost := [key for key in needed if key not in values]:
        what = "hands over a value alone" if "hyperparameters" in values else "is no handover"
        raise HandoverError(f"{name}: has no {', '.join(lost)}: it {what}; export with --width and --depth")
    for kind, keys in (("roles", OF_ROLES), ("parameters", OF_PARAMETERS)):
        for entry, told in values[kind].items():
            if lost := [key for key in keys if key not in told]:
                raise HandoverError(f"{name}: {kind}.{entry} has no {', '.join(lost)}; export again")
    known = {role.value for role in Role}
    named = {**{role: role for role in values["roles"]},
             **{entry: told["role"] for entry, told in values["parameters"].items()}}  # fmt: skip
    if unknown := [entry for entry, role in named.items() if role not in known]:
        raise HandoverError(f"{name}: {unknown[0]} is of no role that is known ({', '.join(sorted(known))})")
