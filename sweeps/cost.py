"""What a training costs: operations counted from the shape, and rough times from measured rates."""

from functools import lru_cache

from ..models.architectures.architecture import Mixing
from ..models.architectures.registry import architecture_of
from ..models.optimizers.registry import BESIDE, OPTIMIZERS
from ..models.parametrization.rules import optimizer_of
from ..models.recipe.budget import tokens_of
from ..models.recipe.inventory import parameters
from ..models.recipe.recipe import Recipe
from ..models.recipe.role import EXPERT_ROLES, Role
from ..models.recipe.shape import Shape

# One of two busy CPU cores, float32, torch 2.13 (docs/performance.md): arithmetic of matrix products, and
# what every token costs per entry of the vocabulary. What mixing costs beside that is each mixer's to say.
CPU_FLOPS = 50e9
CPU_LOGIT_SECONDS = 1.3e-8

# One large GPU, a model and not a measurement: launches of a whole group, and arithmetic of its trials.
GPU_FLOPS = 40e12
GPU_LAUNCH_SECONDS = 7e-6

START_UP_SECONDS = 5.0  # interpreter, torch, first step; once per worker


def training_flops(recipe: Recipe) -> float:
    """Floating-point operations of a whole training: 3 x the forward pass (6 x parameters x tokens)."""
    return 3 * forward_flops_per_token(recipe.shape) * tokens_of(recipe)


@lru_cache(maxsize=1024)
def forward_flops_per_token(shape: Shape) -> float:
    """Matrix products only, two operations per multiply-add; causal attention counted at half, and of experts
    those that a token has."""
    matrices = sum(p.size for p in parameters(shape) if len(p.shape) == 2 and p.role is not Role.INPUT)
    readout = shape.width * shape.vocab_size if shape.tied else 0
    return 2 * (matrices - _unchosen(shape) + readout) + _mixing(shape).flops


def cpu_seconds(recipe: Recipe) -> float:
    """Seconds of one trial on one core."""
    shape = recipe.shape
    per_token = 3 * forward_flops_per_token(shape) / CPU_FLOPS
    per_token += shape.width * _mixing(shape).cpu_seconds
    per_token += shape.output_count * CPU_LOGIT_SECONDS
    per_token *= 4 / 3 if recipe.activation_checkpointing else 1.0  # a second forward pass
    return _trained_tokens(recipe) * per_token + recipe.steps * optimizer_flops(recipe) / CPU_FLOPS


def gpu_seconds(recipe: Recipe, trials: int) -> float:
    """Seconds of one trial's share in a group of `trials` on one GPU."""
    shape = recipe.shape
    passes = recipe.steps + evaluations(recipe) / 3
    launches = passes * _mixing(shape).gpu_launches * GPU_LAUNCH_SECONDS
    per_token = 3 * forward_flops_per_token(shape) + 6 * _unchosen(shape)  # computed there, too
    arithmetic = _trained_tokens(recipe) * per_token + recipe.steps * optimizer_flops(recipe)
    return launches / trials + arithmetic / GPU_FLOPS


def optimizer_flops(recipe: Recipe) -> float:
    """Of one step, beyond the gradient: passes of its own, matrix products and decompositions."""
    optimizer = OPTIMIZERS[recipe.optimizer]
    flops = sum(count * optimizer.matrix_flops(recipe, *size) for count, size in _matrices_taken(recipe))
    if optimizer.batch_flops(recipe, 1.0):  # most take none, and a plan asks for every trial
        tokens = recipe.batch_size * recipe.shape.sequence_length
        flops += optimizer.batch_flops(recipe, 3 * forward_flops_per_token(recipe.shape) * tokens)
    return flops


def trial_bytes(recipe: Recipe) -> int:
    """Memory of one trial in a group: weights, gradients and moments, and the kept activations."""
    shape = recipe.shape
    weights = 5 * 4 * sum(parameter.size for parameter in parameters(shape))
    optimizer = OPTIMIZERS[recipe.optimizer]
    weights += 4 * sum(
        count * int(optimizer.matrix_numbers(*size)) for count, size in _matrices_taken(recipe)
    )
    heads = max(shape.head_count * shape.head_size, shape.state_head_count * shape.state_head_size)
    # On a GPU all experts are given all tokens.
    block = 16 * max(shape.width, heads) + 3 * shape.expert_count * shape.expert_width
    mixing = _mixing(shape)
    kept = shape.depth * block + mixing.kept * shape.width
    if recipe.activation_checkpointing:  # the stream of each block, and one block as it is computed again
        kept = shape.depth * shape.width + block + mixing.kept_at_once * shape.width
    per_token = 4 * (kept + 4 * shape.output_count)
    return weights + recipe.batch_size * shape.sequence_length * per_token


@lru_cache(maxsize=1024)
def _unchosen(shape: Shape) -> float:
    """Entries of the experts that a token does not have."""
    share = 1 - shape.chosen_experts / shape.expert_count
    return share * sum(p.size for p in parameters(shape) if p.role in EXPERT_ROLES)


@lru_cache(maxsize=1024)
def _mixing(shape: Shape) -> Mixing:
    return architecture_of(shape).mixing(shape)


def _matrices_taken(recipe: Recipe) -> list[tuple[int, tuple[int, int]]]:
    """What a matrix optimizer acts on: for each parameter how many matrices, and their size."""
    if not OPTIMIZERS[recipe.optimizer].matrices:
        return []
    taken = [p for p in parameters(recipe.shape) if optimizer_of(p.role, recipe) != BESIDE]
    return [(p.matrices, (p.shape[0] // p.matrices, p.shape[1])) for p in taken]


def evaluations(recipe: Recipe) -> int:
    """Of one training."""
    return 2 + (recipe.steps // recipe.eval_every if recipe.eval_every else 0)


def _trained_tokens(recipe: Recipe) -> float:
    """Those of the training, and of the evaluations a third, which have no backward pass."""
    evaluated = evaluations(recipe) * recipe.eval_sequences * recipe.shape.sequence_length
    return tokens_of(recipe) + evaluated / 3
