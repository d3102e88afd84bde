"""The recipe of one training: all that decides its result, as one frozen value."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from .identity import MATRIX_OPTIMIZERS, read_fields
from .inventory import mixer_names, plain_parameters
from .placement import MATRIX_ROLES, unmatched
from .shape import Shape

RECIPE_VERSION = 1
"""Raised whenever the same recipe would train differently: old trials then keep their old ids."""

SHAPE_FIELDS = frozenset(field.name for field in fields(Shape))

Parametrization = Literal["sp", "mup", "depth-mup", "mup-width", "mup-plain"]
Optimizer = Literal[
    "adamw", "sgd", "lion", "sophia", "muon", "muon-kimi", "shampoo", "soap", "spectral-sphere"
]  # fmt: skip

NON_NEGATIVE = (
    "weight_decay", "grad_clip", "final_lr", "seed", "eval_every", "multiplier_lr", "multiplier_decay",
    "z_loss",
)  # fmt: skip
POSITIVE = (
    "learning_rate", "epsilon", "init_scale", "steps", "batch_size", "eval_sequences", "embedding_multiplier",
    "residual_multiplier", "attention_multiplier", "readout_multiplier", "gamma", "curvature_every",
    "precondition_every", "norm_scale", "cooldown",
)  # fmt: skip
FRACTIONS = ("beta1", "beta2", "momentum", "warmup", "dropout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training of one proxy. Raises ValueError, naming the field, for an impossible value.

    Learning rate, weight decay, epsilon and the multipliers are *base* values: the parametrization
    turns them into the values of each parameter. `decay` names the convention of `weight_decay`:
    coupled, W <- W - lr * (A + weight_decay * W), or independent, W <- W - lr * A - weight_decay * W,
    both following the schedule. A matrix optimizer acts on the hidden matrices (`matrices` all: on
    embedding and readout too); AdamW takes the rest at `adamw_lr_ratio` times `learning_rate`, which must
    be given. `warmup` is a fraction of `steps`, and so is `cooldown`, the linear fall at the end of the
    schedule wsd (warm-up, stable, decay); `final_lr` is a fraction of `learning_rate`; `grad_clip` 0
    switches clipping off; `batch_size` counts sequences; `eval_every` 0 evaluates only before the first and
    after the last step. `z_loss` is the weight of the squared log normaliser in what is minimised, not in
    the losses that are reported; `dropout` is on the embedding and on every branch.

    Learnable multipliers have a learning rate and a decay of their own, and AdamW whatever the optimizer;
    they do not count in the norm that is clipped, and are not clipped, unless `clip_multipliers`.
    `frozen_gains` keeps the final norm's gain, or those of all norms, at one. `norm_scale` moves the norm
    that weight decay and learning rate hold the matrices of one part at (embedding, readout, mlp or a mixer):
    it multiplies their learning rate and divides their decay, for S = sqrt(lr/decay) at one sqrt(lr decay).
    """

    shape: Shape
    parametrization: Parametrization
    optimizer: Optimizer
    learning_rate: float
    steps: int
    batch_size: int
    data: str
    base_width: int | None = None
    base_depth: int | None = None
    seed: int = 0
    weight_decay: float = 0.0
    decay: Literal["coupled", "independent"] = "coupled"
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    momentum: float = 0.9
    nesterov: bool = True
    adamw_lr_ratio: float | None = None
    matrices: Literal["hidden", "all"] = "hidden"
    gamma: float = 0.05
    curvature_every: int = 10
    precondition_every: int = 10
    grad_clip: float = 1.0
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    warmup: float = 0.1
    cooldown: float = 0.2
    final_lr: float = 0.0
    init: Literal["fan-in", "gpt2"] = "fan-in"
    init_scale: float = 1.0
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    attention_multiplier: float = 1.0
    readout_multiplier: float = 1.0
    multiplier_lr: float = 0.01
    multiplier_decay: float = 0.002
    clip_multipliers: bool = False
    frozen_gains: Literal["none", "final", "all"] = "none"
    norm_scale: float = 1.0
    norm_scale_of: str = "readout"
    z_loss: float = 0.0
    dropout: float = 0.0
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    activation_checkpointing: bool = False
    eval_sequences: int = 128
    eval_every: int = 0

    def __post_init__(self) -> None:
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")
        for name in NON_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")
        for name in FRACTIONS:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is outside [0, 1)")
        if self.optimizer in MATRIX_OPTIMIZERS and not (self.adamw_lr_ratio or 0) > 0:
            raise ValueError(
                f"adamw_lr_ratio: {self.optimizer} leaves embedding, readout and vectors to AdamW; give its "
                "learning rate as a fraction of learning_rate, such as 0.1"
            )
        if self.warmup + self.cooldown > 1 and self.schedule == "wsd":
            raise ValueError(
                f"cooldown: {self.cooldown} and a warm-up of {self.warmup} are more than the whole training"
            )
        if self.shape.vectors and self.z_loss:
            raise ValueError("z_loss: the outputs are numbers and have no normaliser; give 0")
        self._check_matrices()
        if self.parametrization != "sp":
            self.base_shape()

    def _check_matrices(self) -> None:
        """That the fields which name matrices name some."""
        shape = self.shape
        if shape.learnable_multipliers == "none" and self.norm_scale == 1:
            return
        matrices = [p for p in plain_parameters(shape) if p.role in MATRIX_ROLES]
        if lost := unmatched(shape.learnable_multipliers, matrices, mixer_names(shape)):
            modules = dict.fromkeys(p.pattern.removesuffix(".weight") for p in matrices)
            raise ValueError(
                f"learnable_multipliers: {', '.join(lost)} fits no matrix of a {shape.architecture}; "
                f"there are {', '.join(modules)}"
            )
        parts = dict.fromkeys(p.name.split(".")[-3 if p.name.startswith("blocks") else 0] for p in matrices)
        if self.norm_scale != 1 and self.norm_scale_of not in parts:
            raise ValueError(
                f"norm_scale_of: {self.norm_scale_of!r} is no part of a {shape.architecture}; parts with "
                f"matrices: {', '.join(parts)}"
            )

    def base_shape(self) -> Shape:
        """The shape that the ratios m_W and m_L refer to.

        Under SP every shape is its own base: all ratios are 1, and one set of hyperparameters serves
        all sizes. That single sentence is the whole difference between SP and the other tables.
        """
        if self.parametrization == "sp":
            return self.shape
        if self.base_width is None or self.base_depth is None:
            raise ValueError(f"base: parametrization {self.parametrization} needs base.width and base.depth")
        try:
            return replace(self.shape, width=self.base_width, depth=self.base_depth)
        except ValueError as error:
            raise ValueError(f"base.{error}") from None

    def point(self) -> dict[str, Any]:
        """All fields side by side, the shape's among them."""
        values = asdict(self)
        return {**values.pop("shape"), **values}

    def canonical(self) -> dict[str, Any]:
        """The fields that this recipe reads: equal exactly when two recipes are the same training."""
        return {**read_fields(self.point()), "recipe_version": RECIPE_VERSION}


def differing_field(one: Recipe, other: Recipe) -> str:
    """The first field in which two recipes differ."""
    ours, theirs = one.point(), other.point()
    return next(name for name in ours if ours[name] != theirs[name])


def recipe_from_point(point: Mapping[str, Any]) -> Recipe:
    """The recipe whose fields stand side by side in `point`; raises ValueError as Recipe and Shape do."""
    shape = Shape(**{name: value for name, value in point.items() if name in SHAPE_FIELDS})
    return Recipe(shape=shape, **{name: value for name, value in point.items() if name not in SHAPE_FIELDS})
