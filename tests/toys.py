"""A mixer, an optimizer, a parametrization and a program of no use, each as its own file would declare it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mutransfer.models.architectures.stack import Stack
from mutransfer.models.layers.forward_multiplier import Factor, scaled
from mutransfer.models.layers.linear import projection
from mutransfer.models.layers.trace import Trace
from mutransfer.models.mixers.mixer import Forward, Mixer
from mutransfer.models.mixers.parts import matrix
from mutransfer.models.optimizers.optimizer import Hyperparameters, Optimizer, State, zeros
from mutransfer.models.parametrization import mup
from mutransfer.models.parametrization.parametrization import Parametrization
from mutransfer.models.parametrization.power import ONE
from mutransfer.models.recipe.role import Parameter, Site
from mutransfer.models.recipe.shape import Shape
from mutransfer.models.training.outcome import CurvePoint, Outcome, Progress
from mutransfer.sweeps.card import Card
from mutransfer.sweeps.program import Cost, ProgramKind, Setup

# --- a mixer: every position sees the mean of those before it, itself included ---


def _parameters(name: str, shape: Shape) -> Iterator[Parameter]:
    yield matrix(f"{name}.value", shape.width, shape.width)
    yield matrix(f"{name}.output", shape.width, shape.width, ends_branch=True)


def running_mean(
    x_KBTD: Tensor,
    parameters: Mapping[str, Tensor],
    name: str,
    shape: Shape,
    state: Factor,
    trace: Trace,
) -> Tensor:
    v_KBTD = projection(x_KBTD, parameters, f"{name}.value", trace)
    count_T = v_KBTD.new_ones(v_KBTD.shape[2]).cumsum(0)
    return projection(scaled(v_KBTD.cumsum(2) / count_T[:, None], state), parameters, f"{name}.output", trace)


def _forward() -> Forward:
    return running_mean


MEAN = Mixer(
    reads=frozenset(),
    parameters=_parameters,
    site=lambda shape: Site.STATE,
    forward=_forward,
    flops=lambda shape: 2.0 * shape.width,
    cpu_seconds=1e-8,
    gpu_launches=20,
    kept=1,
    multiplied={"output": ("row",)},
)
MEAN_NET = Stack(("mean",))

# --- an optimizer: the sign of the gradient ---


def _init(weight_KP: Tensor, h: Hyperparameters) -> State:
    return {"unused_KP": zeros(weight_KP)}


def sign(
    state: State, gradient_KP: Tensor, weight_KP: Tensor, h: Hyperparameters, step: int | Tensor
) -> Tensor:
    return gradient_KP.sign()


SIGN = Optimizer(reads=frozenset(), init=_init, update=sign, convention="sign(g)")
SIGN_TABLE = mup.LION

# --- a parametrization: muP without its readout's multiplier ---

LOUD = Parametrization(
    init=mup.INIT,
    multiplier={**mup.MULTIPLIER, Site.READOUT: ONE},
    update=mup.UPDATE.__getitem__,
    gradients=mup.ADAMW,
)


# --- a program: no model of ours, with coordinates that no proxy has ---


@dataclass(frozen=True)
class Bowl:
    """A loss of (tilt - best)^2 whose best value falls with the size."""

    tilt: float
    size: int
    shape: str = "round"

    @property
    def kind(self) -> str:
        return "bowl"

    def point(self) -> dict[str, Any]:
        return {"tilt": self.tilt, "size": self.size, "shape": self.shape}

    @property
    def definition(self) -> Mapping[str, Any]:
        return {}

    def at(self, changes: Mapping[str, Any]) -> "Bowl":
        return Bowl(**{**self.point(), **changes})

    def identity(self) -> Mapping[str, Any]:
        return {"program": "bowl", **self.point()}

    def group_key(self) -> int:
        return self.size

    @property
    def steps(self) -> int:
        return 3

    @property
    def most_parts(self) -> int:
        return 1

    @property
    def gpus(self) -> None:
        return None

    def cost(self) -> Cost:
        return Cost(self.size, 10 * self.size, 60.0 * self.size)

    def seconds(self, device: str, together: int, card: Card | None = None) -> float:
        return 0.1

    def bound(self, together: int, card: Card) -> str | None:
        return None

    def memory_bytes(self, together: int = 1, counted: bool = False, parts: int = 1) -> int:
        return 1000 * together


def roll(programs: Sequence[Bowl], setup: Setup) -> tuple[list[Outcome], str]:
    for step in range(3):
        setup.report(Progress(step + 1, 0))
    return [_rolled(program) for program in programs], "none"


def _rolled(program: Bowl) -> Outcome:
    loss = 1.0 + 0.1 * (math.log2(program.tilt) + math.log2(program.size)) ** 2
    point = CurvePoint(
        step=2, tokens=30, train_loss=loss, eval_loss=loss, learning_rate=program.tilt, gradient_norm=1.0
    )
    return Outcome(
        diverged=False, diverged_step=None, initial_loss=9.0, loss=loss, accuracy=None, train_loss=loss,
        seconds=0.1, curve=(point,),
    )  # fmt: skip


BOWL = ProgramKind(lambda point, definition: Bowl(**point), roll)
