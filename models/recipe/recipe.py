"""The recipe of one training: all that decides its result, as one frozen value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from ..architectures.registry import architecture_of
from ..optimizers.registry import BESIDE, OPTIMIZERS
from ..parametrization.registry import BUILT_IN, OWN_TABLE, PARAMETRIZATIONS
from .budget import NO_RULES, budgeted
from .field import (
    COUNT,
    FRACTION,
    NON_NEGATIVE,
    POSITIVE,
    SHARE,
    Age,
    Bounds,
    Field,
    Point,
    Setting,
    check_fields,
    declared_fields,
)
from .fixed import unnamed
from .inventory import plain_parameters
from .placement import MATRIX_ROLES, unmatched
from .role import Role
from .shape import SHAPE_FIELDS, TWO_OR_MORE, Shape, without_experts

EXPERTS = ("experts", "granularity")
EXPONENT = Bounds(lambda value: 0 <= value <= 4, "is outside [0, 4]", "in [0, 4]")


def without_base(point: Point) -> bool:
    return not PARAMETRIZATIONS[point["parametrization"]].needs_base


def of_its_own_experts(name: str) -> Callable[[Point], bool]:
    """Whether the base's number is that of the shape."""
    return lambda point: without_base(point) or without_experts(point) or point[f"base_{name}"] == point[name]


def unruled(point: Point) -> bool:
    """Whether values stay whatever the batch and the duration."""
    if PARAMETRIZATIONS[point["parametrization"]].of_budget:
        return False
    return bool(point["budget_rules"] == NO_RULES and point["horizon_exponent"] == 0)


def multiplied(point: Point) -> bool:
    """Whether matrices have learnable multipliers."""
    return bool(point["learnable_multipliers"] != "none")


def unmultiplied(point: Point) -> bool:
    return not multiplied(point)


def undecayed(point: Point) -> bool:
    return not (point["weight_decay"] or (multiplied(point) and point["multiplier_decay"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training of one proxy. Raises ValueError, naming the field, for an impossible value.

    Learning rate, weight decay, epsilon and the forward multipliers are *base* values: the parametrization
    turns them into the values of each parameter. `embedding_lr`, `readout_lr` and `vector_lr` are ratios of
    base values, which every parametrization keeps. Where `budget_rules` or a `horizon_exponent` are followed,
    base values are those at `base_batch_size` and `base_steps`. `decay` names the convention of
    `weight_decay`: coupled, W <- W - lr * (A + weight_decay * W), or independent,
    W <- W - lr * A - weight_decay * W, both following the schedule.

    Learnable multipliers have a learning rate and a decay of their own, and AdamW whatever the optimizer;
    they do not count in the norm that is clipped, and are not clipped, unless `clip_multipliers`.
    `norm_scale` moves the norm that weight decay and learning rate hold the matrices of one part at
    (embedding, readout, mlp or a mixer): it multiplies their learning rate and divides their decay, for
    S = sqrt(lr/decay) at one sqrt(lr decay).
    """

    shape: Shape
    parametrization: Annotated[
        str,
        Setting(
            "how everything scales; a table by name or file, too (parametrization.md)",
            choices=BUILT_IN,
            own=OWN_TABLE,
        ),
    ]
    optimizer: Annotated[str, Setting("what trains", choices=OPTIMIZERS, shared=True)]
    learning_rate: Annotated[float, Setting("base value", POSITIVE, tuned=True)]
    steps: Annotated[int, Setting("optimizer steps", POSITIVE, shared=True, scale=True)]
    batch_size: Annotated[int, Setting("sequences", POSITIVE, shared=True, scale=True)]
    data: Annotated[str, Setting("digest of the data and how they are read", shared=True, decided_by="data")]
    base_width: Annotated[
        int | None, Setting("width of the base shape", idle=without_base, decided_by="base")
    ] = None
    base_depth: Annotated[
        int | None, Setting("depth of the base shape", idle=without_base, decided_by="base")
    ] = None
    base_experts: Annotated[
        int | None,
        Setting(
            "experts of the base shape; none given: as many as of the shape",
            TWO_OR_MORE,
            before=None,
            idle=of_its_own_experts("experts"),
            decided_by="base",
        ),
    ] = None
    base_granularity: Annotated[
        int | None,
        Setting(
            "granularity of the base shape; none given: that of the shape",
            COUNT,
            before=None,
            idle=of_its_own_experts("granularity"),
            decided_by="base",
        ),
    ] = None
    base_batch_size: Annotated[
        int | None,
        Setting(
            "batch that budget_rules refer to, sequences",
            POSITIVE,
            before=None,
            idle=unruled,
            decided_by="base",
        ),
    ] = None
    base_steps: Annotated[
        int | None,
        Setting("steps that they refer to", POSITIVE, before=None, idle=unruled, decided_by="base"),
    ] = None
    budget_rules: Annotated[
        str,
        Setting(
            "how base values follow batch and duration: none, or rules joined by + (budget.md)",
            before=NO_RULES,
        ),
    ] = NO_RULES
    horizon_exponent: Annotated[
        float,
        Setting("the learning rate falls as tokens over the base's to this power", EXPONENT, before=0.0),
    ] = 0.0
    seed: Annotated[int, Setting("decides start and batches", NON_NEGATIVE)] = 0
    embedding_lr: Annotated[
        float,
        Setting(
            "of embeddings (a tied readout's, too), times that of their optimizer",
            POSITIVE,
            tuned=True,
            before=1.0,
        ),
    ] = 1.0
    readout_lr: Annotated[
        float,
        Setting(
            "of the readout, times that of its optimizer",
            POSITIVE,
            tuned=True,
            before=1.0,
            idle=lambda point: point["tied"],
        ),
    ] = 1.0
    vector_lr: Annotated[
        float,
        Setting(
            "of norm gains, biases and what else is no matrix, times that of their optimizer",
            POSITIVE,
            tuned=True,
            before=1.0,
        ),
    ] = 1.0
    weight_decay: Annotated[
        float, Setting("base value, in the convention of decay", NON_NEGATIVE, tuned=True)
    ] = 0.0
    decay: Annotated[
        Literal["coupled", "independent"],
        Setting("coupled: multiplied by the learning rate", before="coupled", idle=undecayed),
    ] = "coupled"
    beta1: Annotated[float, Setting("of the first moment", FRACTION)] = 0.9
    beta2: Annotated[float, Setting("of the second moment", FRACTION)] = 0.95
    epsilon: Annotated[float, Setting("base value", POSITIVE, searched=True)] = 1e-8
    momentum: Annotated[float, Setting("share of the last direction that is kept", FRACTION)] = 0.9
    nesterov: Annotated[
        bool,
        Setting(
            "Nesterov's momentum; false: heavy ball",
            shared=True,
            before=True,
            idle=lambda point: point["momentum"] == 0,
        ),
    ] = True
    polynomial: Annotated[
        Literal["quintic", "polar-express"],
        Setting(
            "that orthogonalises: Keller Jordan's, or Polar Express (arXiv:2505.16932); five steps",
            shared=True,
            before="quintic",
        ),
    ] = "quintic"
    rank_ratio: Annotated[
        float,
        Setting(
            "rank of the subspace that is orthogonalised, over a matrix's shorter side",
            SHARE,
            shared=True,
            before=Age.UNKNOWN,
        ),
    ] = 0.25
    adamw_lr_ratio: Annotated[
        float | None,
        Setting(
            "AdamW's learning rate, for embedding, readout and vectors, over learning_rate; required there",
            before=Age.UNKNOWN,
        ),
    ] = None
    matrices: Annotated[
        Literal["hidden", "all"],
        Setting(
            "what a matrix optimizer acts on; all: embedding and readout too", shared=True, before=Age.UNKNOWN
        ),
    ] = "hidden"
    fused_qkv: Annotated[
        bool,
        Setting(
            "whether queries, keys and values of a mixer are one matrix to a matrix optimizer",
            shared=True,
            before=False,
        ),
    ] = False
    gamma: Annotated[float, Setting("base value, scale of the curvature", POSITIVE, before=Age.UNKNOWN)] = 0.7
    curvature_every: Annotated[
        int, Setting("steps between estimates of the curvature", POSITIVE, shared=True, before=Age.UNKNOWN)
    ] = 10
    precondition_every: Annotated[
        int, Setting("steps between roots, or turns of the basis", POSITIVE, shared=True, before=Age.UNKNOWN)
    ] = 10
    grad_clip: Annotated[float, Setting("global norm per trial; 0 is off", NON_NEGATIVE)] = 1.0
    schedule: Annotated[
        Literal["cosine", "linear", "constant", "wsd"],
        Setting("after the warm-up; wsd: warm-up, stable, decay"),
    ] = "cosine"
    warmup: Annotated[float, Setting("fraction of steps", FRACTION)] = 0.1
    cooldown: Annotated[
        float,
        Setting(
            "wsd's linear fall at the end, a fraction of steps",
            POSITIVE,
            before=0.2,
            idle=lambda point: point["schedule"] != "wsd",
        ),
    ] = 0.2
    final_lr: Annotated[
        float,
        Setting("fraction of the peak", NON_NEGATIVE, idle=lambda point: point["schedule"] == "constant"),
    ] = 0.0
    init: Annotated[Literal["fan-in", "gpt2"], Setting("standard deviations at the base")] = "fan-in"
    init_scale: Annotated[float, Setting("times the standard deviations", POSITIVE, tuned=True)] = 1.0
    embedding_multiplier: Annotated[float, Setting("base value, forward", POSITIVE, tuned=True)] = 1.0
    residual_multiplier: Annotated[
        float, Setting("base value, forward, on each branch", POSITIVE, tuned=True)
    ] = 1.0
    attention_multiplier: Annotated[
        float, Setting("base value, forward, on the logits of attention", POSITIVE, tuned=True)
    ] = 1.0
    readout_multiplier: Annotated[float, Setting("base value, forward", POSITIVE, tuned=True)] = 1.0
    multiplier_lr: Annotated[
        float, Setting("learning rate of learnable multipliers", NON_NEGATIVE, before=0.01, idle=unmultiplied)
    ] = 0.01
    multiplier_decay: Annotated[
        float, Setting("weight decay of learnable multipliers", NON_NEGATIVE, before=0.002, idle=unmultiplied)
    ] = 0.002
    clip_multipliers: Annotated[
        bool,
        Setting(
            "whether learnable multipliers are clipped and counted",
            shared=True,
            before=False,
            idle=unmultiplied,
        ),
    ] = False
    frozen_gains: Annotated[
        Literal["none", "final", "all"], Setting("norm gains that stay at one", shared=True, before="none")
    ] = "none"
    norm_scale: Annotated[
        float,
        Setting(
            "times sqrt(learning rate / decay) of one part's matrices, at a constant product",
            POSITIVE,
            before=1.0,
        ),
    ] = 1.0
    norm_scale_of: Annotated[
        str,
        Setting(
            "that part: embedding, readout, mlp or a mixer",
            shared=True,
            before="readout",
            idle=lambda point: point["norm_scale"] == 1,
        ),
    ] = "readout"
    balance_loss: Annotated[
        float,
        Setting(
            "weight of what uneven loads of experts cost, 1 where even (arXiv:2101.03961); minimised but not "
            "reported",
            NON_NEGATIVE,
            before=Age.UNKNOWN,
            idle=without_experts,
        ),
    ] = 0.01
    z_loss: Annotated[
        float,
        Setting("weight of the squared log normaliser, minimised but not reported", NON_NEGATIVE, before=0.0),
    ] = 0.0
    dropout: Annotated[float, Setting("rate on the embedding and every branch", FRACTION, before=0.0)] = 0.0
    activation_checkpointing: Annotated[
        bool, Setting("blocks are computed again in the backward pass", shared=True, before=False)
    ] = False
    precision: Annotated[
        Literal["float32", "tf32", "bf16", "fp16"],
        Setting("of products: tf32 rounds float32's on a GPU, the others are autocast", shared=True),
    ] = "float32"
    eval_sequences: Annotated[int, Setting("validation sequences", POSITIVE, shared=True)] = 128
    eval_every: Annotated[
        int, Setting("steps between evaluations; 0: first and last only", NON_NEGATIVE, shared=True)
    ] = 0

    def __post_init__(self) -> None:
        check_fields(self, RECIPE_FIELDS.values())
        if OPTIMIZERS[self.optimizer].matrices and not (self.adamw_lr_ratio or 0) > 0:
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
        architecture_of(self.shape).check_training(self)
        self._check_matrices()
        if self.fused_qkv and OPTIMIZERS[self.optimizer].matrices:
            self._check_fused()
        self.base_shape()
        budgeted(self)
        self._check_rows()

    def _check_matrices(self) -> None:
        """That the fields which name matrices name some."""
        shape = self.shape
        if {shape.learnable_multipliers, shape.fixed_multipliers} == {"none"} and self.norm_scale == 1:
            return
        if lost := unnamed(
            shape.fixed_multipliers, (parameter.name for parameter in plain_parameters(shape))
        ):
            raise ValueError(
                f"fixed_multipliers: {', '.join(lost)} is the end of no module's name; see `mutransfer rules`"
            )
        matrices = [p for p in plain_parameters(shape) if p.role in MATRIX_ROLES]
        names = architecture_of(shape).module_names
        if lost := unmatched(shape.learnable_multipliers, matrices, names):
            modules = dict.fromkeys(p.pattern.removesuffix(".weight") for p in matrices)
            raise ValueError(
                f"learnable_multipliers: {', '.join(lost)} fits no matrix of a {shape.architecture}; "
                f"there are {', '.join(modules)}"
            )
        parts = dict.fromkeys(
            part
            for p in matrices
            if not (part := p.name.split(".")[-3 if p.name.startswith("blocks") else 0]).isdigit()
        )
        if self.norm_scale != 1 and self.norm_scale_of not in parts:
            raise ValueError(
                f"norm_scale_of: {self.norm_scale_of!r} is no part of a {shape.architecture}; parts with "
                f"matrices: {', '.join(parts)}"
            )

    def _check_rows(self) -> None:
        """That the parametrization has rows for the optimizer, and a start for a tied readout; ours have."""
        init = PARAMETRIZATIONS[self.parametrization].init
        if self.shape.tied and init[Role.OUTPUT] != init[Role.INPUT]:
            told = f"{self.parametrization} scales the readout's start, and a tied one has the embedding's"
            raise ValueError(f"tied: {told}; give false")
        for optimizer in dict.fromkeys((self.optimizer, BESIDE)):
            try:
                PARAMETRIZATIONS[self.parametrization].update(optimizer)
            except KeyError:
                told = f"{self.parametrization} has no rows for {optimizer}; give them under updates"
                raise ValueError(f"optimizer: {told}") from None

    def _check_fused(self) -> None:
        """That there are queries, keys and values, and that they have the same rows."""
        if self.shape.kv_heads is not None and not self.shape.grows_head:
            raise ValueError(
                "fused_qkv: keys and values of a fixed number of heads have rows of their own; give "
                "queries_per_kv, or false"
            )
        if not any(parameter.name.endswith(".query.weight") for parameter in plain_parameters(self.shape)):
            raise ValueError(f"fused_qkv: a {self.shape.architecture} has no queries, keys and values")

    def base_shape(self) -> Shape:
        """The shape that the ratios m_W and m_L refer to.

        Under SP every shape is its own base: all ratios are 1, and one set of hyperparameters serves
        all sizes. That single sentence is the whole difference between SP and the other tables.
        """
        if not PARAMETRIZATIONS[self.parametrization].needs_base:
            return self.shape
        if self.base_width is None or self.base_depth is None:
            raise ValueError(f"base: parametrization {self.parametrization} needs base.width and base.depth")
        try:
            shape = replace(self.shape, width=self.base_width, depth=self.base_depth)
            if shape.experts == 1:
                return shape
            return replace(
                shape,
                experts=self.base_experts or shape.experts,
                granularity=self.base_granularity or shape.granularity,
            )
        except ValueError as error:
            raise ValueError(f"base.{error}") from None

    def point(self) -> dict[str, Any]:
        """All fields side by side, the shape's among them."""
        values = {name: getattr(self.shape, name) for name in SHAPE_FIELDS}
        return values | {name: getattr(self, name) for name in RECIPE_FIELDS}


RECIPE_FIELDS = declared_fields(Recipe)
FIELDS: dict[str, Field] = {**SHAPE_FIELDS, **RECIPE_FIELDS}
"""Every field of a recipe, its shape's first."""


def differing_field(one: Recipe, other: Recipe) -> str:
    """The first field in which two recipes differ."""
    ours, theirs = one.point(), other.point()
    return next(name for name in ours if ours[name] != theirs[name])


def recipe_from_point(point: Mapping[str, Any]) -> Recipe:
    """The recipe whose fields stand side by side in `point`; raises ValueError as Recipe and Shape do."""
    shape = Shape(**{name: value for name, value in point.items() if name in SHAPE_FIELDS})
    return Recipe(shape=shape, **{name: value for name, value in point.items() if name not in SHAPE_FIELDS})
