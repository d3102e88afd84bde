"""What a training costs: operations counted from the shape, and rough times from measured rates."""

from ..models.parametrization.rules import optimizer_of
from ..models.recipe.identity import MATRIX_OPTIMIZERS
from ..models.recipe.inventory import parameters
from ..models.recipe.recipe import Recipe
from ..models.recipe.role import Role
from ..models.recipe.shape import Mixer, Shape

CHUNK = 16  # positions that recurrent mixers handle together on CPU

# One of two busy CPU cores, float32, torch 2.13 (docs/performance.md): arithmetic of matrix products, and
# what every token costs per layer and unit of width outside them, and per entry of the vocabulary.
CPU_FLOPS = 50e9
CPU_ELEMENTWISE_SECONDS: dict[Mixer, float] = {"attention": 8.5e-8, "gdn": 3.2e-7, "mamba2": 2.1e-7}
CPU_LOGIT_SECONDS = 1.3e-8

# One large GPU, a model and not a measurement: launches of a whole group, and arithmetic of its trials.
GPU_FLOPS = 40e12
GPU_LAUNCH_SECONDS = 7e-6
GPU_LAUNCHES_PER_LAYER: dict[Mixer, int] = {"attention": 60, "gdn": 330, "mamba2": 250}

START_UP_SECONDS = 5.0  # interpreter, torch, first step; once per worker


def training_flops(recipe: Recipe) -> float:
    """Floating-point operations of a whole training: 3 x the forward pass (6 x parameters x tokens)."""
    return 3 * forward_flops_per_token(recipe.shape) * training_tokens(recipe)


def training_tokens(recipe: Recipe) -> int:
    return recipe.steps * recipe.batch_size * recipe.shape.sequence_length


def forward_flops_per_token(shape: Shape) -> float:
    """Matrix products only, two operations per multiply-add; causal attention counted at half."""
    matrices = sum(p.size for p in parameters(shape) if len(p.shape) == 2 and p.role is not Role.INPUT)
    readout = shape.width * shape.vocab_size if shape.tied else 0
    return 2 * (matrices + readout) + sum(_mixing_flops(mixer, shape) for mixer in _mixers(shape))


def _mixers(shape: Shape) -> list[Mixer]:
    """Of all blocks together."""
    return [mixer for block in range(shape.depth) for mixer in shape.mixers_of(block)]


def cpu_seconds(recipe: Recipe) -> float:
    """Seconds of one trial on one core."""
    shape = recipe.shape
    tokens = training_tokens(recipe)
    evaluated = _evaluated_tokens(recipe) / 3
    per_token = 3 * forward_flops_per_token(shape) / CPU_FLOPS
    per_token += shape.width * sum(CPU_ELEMENTWISE_SECONDS[mixer] for mixer in _mixers(shape))
    per_token += shape.output_count * CPU_LOGIT_SECONDS
    per_token *= 4 / 3 if recipe.activation_checkpointing else 1.0  # a second forward pass
    return (tokens + evaluated) * per_token + recipe.steps * optimizer_flops(recipe) / CPU_FLOPS


def gpu_seconds(recipe: Recipe, trials: int) -> float:
    """Seconds of one trial's share in a group of `trials` on one GPU."""
    shape = recipe.shape
    launches = sum(GPU_LAUNCHES_PER_LAYER[mixer] for mixer in _mixers(shape)) * GPU_LAUNCH_SECONDS
    arithmetic = training_flops(recipe) + recipe.steps * optimizer_flops(recipe)
    return recipe.steps * launches / trials + arithmetic / GPU_FLOPS


def optimizer_flops(recipe: Recipe) -> float:
    """Matrix products and decompositions of one step, beyond the gradient; next to nothing for the others."""
    if recipe.optimizer == "sophia":
        tokens = recipe.batch_size * recipe.shape.sequence_length
        return 3 * forward_flops_per_token(recipe.shape) * tokens / recipe.curvature_every
    if recipe.optimizer not in MATRIX_OPTIMIZERS:
        return 0.0
    taken = [p for p in parameters(recipe.shape) if optimizer_of(p.role, recipe) != "adamw"]
    return sum(_matrix_step_flops(recipe, *parameter.shape) for parameter in taken)


def trial_bytes(recipe: Recipe) -> int:
    """Memory of one trial in a group: weights, gradients and moments, and the kept activations."""
    shape = recipe.shape
    weights = 5 * 4 * sum(parameter.size for parameter in parameters(shape))
    if recipe.optimizer in ("shampoo", "soap"):
        taken = [p for p in parameters(shape) if optimizer_of(p.role, recipe) != "adamw"]
        weights += 4 * sum(3 * (rows**2 + columns**2) for rows, columns in (p.shape for p in taken))
    block = 16 * shape.width + 3 * shape.mlp_width
    recurrent = sum(mixer != "attention" for mixer in _mixers(shape))
    kept = shape.depth * block + recurrent * 40 * shape.width
    if recipe.activation_checkpointing:  # the stream of each block, and one block as it is computed again
        kept = shape.depth * shape.width + block + 40 * shape.width * bool(recurrent)
    per_token = 4 * (kept + 4 * shape.output_count)
    return weights + recipe.batch_size * shape.sequence_length * per_token


def _matrix_step_flops(recipe: Recipe, rows: int, columns: int) -> float:
    """One matrix, one step. A symmetric eigenproblem counts as 25 n^3, a QR decomposition as 4 n^3."""
    short, long = sorted((rows, columns))
    iteration = 4 * short**2 * long + 2 * short**3  # of the odd polynomial
    both_sides = 2 * (rows**2 * columns + rows * columns**2)
    cubes = (rows**3 + columns**3) / recipe.precondition_every
    match recipe.optimizer:
        case "shampoo":
            return 2 * both_sides + 27 * cubes
        case "soap":
            return 4 * both_sides + 6 * cubes
        case "spectral-sphere":
            return 21.0 * 8 * iteration
        case _:
            return 5.0 * iteration


def _mixing_flops(mixer: Mixer, shape: Shape) -> float:
    value = shape.head_size * shape.expand_v
    match mixer:
        case "attention":
            return 2.0 * min(shape.sequence_length, 2 * (shape.window or shape.sequence_length)) * shape.width
        case "gdn":
            key = shape.head_size
            return float(shape.head_count * (2 * CHUNK * (2 * key + 2 * value) + 2 * 3 * key * value))
        case "mamba2":
            rows = shape.state_rows
            scores = 2 * CHUNK * rows * shape.state_groups
            return float(scores + shape.head_count * (2 * CHUNK * value + 2 * 2 * rows * value))


def _evaluated_tokens(recipe: Recipe) -> int:
    evaluations = 2 + (recipe.steps // recipe.eval_every if recipe.eval_every else 0)
    return evaluations * recipe.eval_sequences * recipe.shape.sequence_length
