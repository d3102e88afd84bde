"""What a program of yours is given when it runs as a trial of a sweep, and what it gives back.

One file, with the standard library alone, that may be copied beside your script:

    trial = mutransfer.trial(learning_rate=0.01, width=256, seed=0)
    model = build(width=trial.width)
    for step in range(1000):
        ...
        trial.report(step, train_loss=loss)
        if trial.should_stop:
            save(trial.checkpoints / "last.pt")
            raise SystemExit(1)  # another attempt goes on from there
    trial.finish(loss=evaluate(model))

In a sweep the values are the trial's. Outside of one they are those of the keywords, or of the command line
(--learning_rate 0.02), so that the same script runs by hand.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

if TYPE_CHECKING:
    from torch.nn import Module

VARIABLE = "MUTRANSFER_TRIAL"
RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "MUTRANSFER_RANK")
"""Where launchers say which process this is: torchrun, mpirun, a backend of ours."""
Value = str | int | float | bool | None


class Trial:
    """One trial. Its fields are attributes and items: `trial.width`, `trial["width"]`. A sweep file has no
    field that is called like something else here.

    `files` and `checkpoints` are folders of its own; a later attempt finds what an earlier one left there.
    `attempt` counts from 1. `base` is the base shape of the sweep, `id` is None outside of one.
    """

    def __init__(self, told: Mapping[str, Any], on_report: Callable[[int], None] | None = None) -> None:
        self.id: str | None = told.get("id")
        self.point: dict[str, Any] = dict(told["point"])
        self.base: Mapping[str, int] | None = told.get("base")
        self.files, self.checkpoints = Path(told["files"]), Path(told["checkpoints"])
        self.attempt = int(told.get("attempt", 1))
        self._told, self._on_report = told, on_report
        self._metrics = told.get("metrics")
        # Of several processes of one trial, the first speaks; what others finish with counts where it says
        # nothing.
        self._rank = next((os.environ[name] for name in RANKS if name in os.environ), "0")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the sweep file says
        point: dict[str, Any] = self.__dict__.get("point", {})
        if name in point:
            return point[name]
        raise AttributeError(f"this trial has no {name}; it has {', '.join(point)}")

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - likewise
        return self.point[name]

    def get(self, name: str, default: object = None) -> Any:  # noqa: ANN401 - likewise
        return self.point.get(name, default)

    @property
    def should_stop(self) -> bool:
        """Whether the place is wanted: save a checkpoint and end."""
        stop = self._told.get("stop")
        return stop is not None and os.path.exists(stop)

    @property
    def handover(self) -> "TrialHandover":
        """Values for every role of parameters at this trial's width and depth. Raises ValueError where its
        fields do not say them."""
        held = self._told.get("handover")
        if held is None:
            raise ValueError(
                f"there is no handover: {self._told.get('no_handover', 'this is no trial of a sweep')}"
            )
        return TrialHandover(held)

    def report(self, step: int, **values: SupportsFloat | None) -> None:
        """One line of metrics: train_loss, eval_loss, tokens, learning_rate and gradient_norm become the
        trial's curve, what else you like stands in its metrics.jsonl. A sign of life, too."""
        self._write({"step": int(step), **{name: _number(value) for name, value in values.items()}})
        if self._on_report is not None:
            self._on_report(int(step))

    def finish(self, loss: SupportsFloat) -> None:
        """The result of the trial: NaN or infinite where it diverged. Of several processes the first one's
        counts, or that of whichever has one. Raises ValueError for None."""
        if loss is None:
            raise ValueError("trial.finish(loss=None): give a number, or float('nan') where it diverged")
        rank = {} if self._rank == "0" else {"rank": self._rank}
        self._write({"final": True, "loss": _number(loss), **rank})

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._rank != "0" and "final" not in line:
            return
        text = json.dumps(line)
        if self._metrics is None:
            print(text, flush=True)
            return
        with open(self._metrics, "a") as file:
            file.write(text + "\n")


class TrialHandover:
    """`values` is the JSON that `mutransfer export` writes, for this trial; the rest needs torch."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def param_groups(self, model: "Module", roles: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Groups for a torch optimizer; `roles` maps name patterns of your model to roles."""
        from mutransfer.models.handover.transfer import param_groups

        return param_groups(model, self.values, roles)

    def initialize_(self, model: "Module", roles: Mapping[str, str] | None = None, seed: int = 0) -> None:
        """Gives every parameter its first values, in place."""
        from mutransfer.models.handover.transfer import initialize_

        initialize_(model, self.values, seed, roles)

    @property
    def multipliers(self) -> dict[str, float]:
        """What the forward pass multiplies by, by site: "readout", "embedding", ..."""
        return {site: float(value) for site, value in self.values["multipliers"].items()}


def trial(**defaults: Value) -> Trial:
    """The trial that this process runs; `defaults` are the fields outside of a sweep, and those that a
    sweep does not give."""
    path = os.environ.get(VARIABLE)
    if path is not None:
        told = json.loads(Path(path).read_text())
        return Trial({**told, "point": {**defaults, **told["point"]}})
    point = {**defaults, **_from_words(sys.argv[1:], defaults)}
    return Trial(
        {"point": point, "files": os.getcwd(), "checkpoints": os.path.join(os.getcwd(), "checkpoints")}
    )


def _from_words(words: Iterable[str], defaults: Mapping[str, Value]) -> dict[str, Value]:
    """--name value and --name=value of the fields; other words are the script's own business."""
    found, words = {}, list(words)
    for word, following in zip(words, [*words[1:], "--"], strict=False):
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if word.startswith("--") and name in defaults:
            alone = not equals and following.startswith("--")
            text = value if equals else "true" if alone and isinstance(defaults[name], bool) else following
            found[name] = _typed(text, defaults[name])
            if isinstance(defaults[name], int | float) and isinstance(found[name], str):
                raise SystemExit(f"{word}: needs a number" if alone else f"--{name} {text}: is no number")
    return found


def _typed(text: str, like: Value) -> Value:
    if isinstance(like, bool):
        return text.lower() in ("1", "true", "yes")
    for kind in (int, float) if isinstance(like, int) else (float,) if isinstance(like, float) else ():
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _number(value: SupportsFloat | None) -> float | int | None:
    """Tensors and numpy's numbers, too."""
    plain = getattr(value, "item", lambda: value)()
    return plain if plain is None or isinstance(plain, int) else float(plain)
