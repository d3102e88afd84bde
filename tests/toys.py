"""A mixer, an optimizer and a parametrization of no use, each as its own file would declare it."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from mutransfer.models.architectures.stack import Stack
from mutransfer.models.layers.linear import projection
from mutransfer.models.layers.multiplier import Multiplier, scaled
from mutransfer.models.layers.trace import Trace
from mutransfer.models.mixers.mixer import Forward, Mixer
from mutransfer.models.mixers.parts import matrix
from mutransfer.models.optimizers.optimizer import Hyperparameters, Optimizer, State, zeros
from mutransfer.models.parametrization import mup
from mutransfer.models.parametrization.parametrization import Parametrization
from mutransfer.models.parametrization.power import ONE
from mutransfer.models.recipe.role import Parameter, Site
from mutransfer.models.recipe.shape import Shape

# --- a mixer: every position sees the mean of those before it, itself included ---


def _parameters(name: str, shape: Shape) -> Iterator[Parameter]:
    yield matrix(f"{name}.value", shape.width, shape.width)
    yield matrix(f"{name}.output", shape.width, shape.width, ends_branch=True)


def running_mean(
    x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str, shape: Shape, state: Multiplier, trace: Trace
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


def sign(state: State, gradient_KP: Tensor, weight_KP: Tensor, h: Hyperparameters, step: int) -> Tensor:
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
