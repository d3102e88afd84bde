"""The columns of the Parquet files, with their units: kept for years, so written down here and versioned.

A column is added, never renamed or reused; `SCHEMA_VERSION` stands in every file's metadata.
Losses are in nats per token. Missing values are null and `status` says why; NaN never appears.
"""

from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1
METADATA = {b"mutransfer.schema": str(SCHEMA_VERSION).encode()}

IDENTITY = [
    pa.field("trial_id", pa.string(), nullable=False),
    pa.field("job_id", pa.string()),
    pa.field("sweep", pa.string()),
    pa.field("source", pa.string()),  # where imported measurements come from; null for our own
]

# Every field of a recipe; tests compare this list with models.recipe.
POINT = [
    pa.field("architecture", pa.string()),
    pa.field("parametrization", pa.string()),
    pa.field("optimizer", pa.string()),
    pa.field("width", pa.int64()),
    pa.field("depth", pa.int64()),
    pa.field("learning_rate", pa.float64()),
    pa.field("weight_decay", pa.float64()),  # in the convention that `decay` names
    pa.field("decay", pa.string()),  # coupled | independent of the learning rate; null: coupled
    pa.field("seed", pa.int64()),
    pa.field("base_width", pa.int64()),
    pa.field("base_depth", pa.int64()),
    pa.field("steps", pa.int64()),
    pa.field("batch_size", pa.int64()),  # sequences
    pa.field("sequence_length", pa.int64()),  # tokens
    pa.field("vocab_size", pa.int64()),
    pa.field("head_dim", pa.int64()),  # null where the number of heads is fixed instead
    pa.field("heads", pa.int64()),
    pa.field("mlp", pa.string()),
    pa.field("mlp_ratio", pa.float64()),
    pa.field("norm", pa.string()),
    pa.field("positions", pa.string()),
    pa.field("final_norm", pa.string()),  # null: the same kind as norm
    pa.field("tied", pa.bool_()),
    pa.field("kv_heads", pa.int64()),  # null: as many as query heads, or by queries_per_kv
    pa.field("queries_per_kv", pa.int64()),
    pa.field("expand_v", pa.int64()),
    pa.field("conv_size", pa.int64()),
    pa.field("attention_every", pa.int64()),  # interleaved hybrids: attention in every n-th block
    pa.field("qk_norm", pa.bool_()),
    pa.field("window", pa.int64()),  # positions that attention sees; null: all
    pa.field("causal", pa.bool_()),
    pa.field("values_per_key", pa.int64()),  # GDN: value heads that share a key head
    pa.field("negative_eigenvalues", pa.bool_()),  # GDN
    pa.field("output_gate", pa.bool_()),  # GDN
    pa.field("state_size", pa.int64()),  # Mamba2: rows of a state
    pa.field("state_ratio", pa.float64()),  # Mamba2: rows over width; null: state_size holds
    pa.field("state_groups", pa.int64()),  # Mamba2
    pa.field("outputs", pa.int64()),  # null: vocab_size
    pa.field("vectors", pa.bool_()),  # inputs are vectors of vocab_size numbers, the output is a number
    pa.field("learnable_multipliers", pa.string()),
    pa.field("multiplier_lr", pa.float64()),
    pa.field("multiplier_decay", pa.float64()),
    pa.field("clip_multipliers", pa.bool_()),
    pa.field("frozen_gains", pa.string()),  # none | final | all
    pa.field("norm_scale", pa.float64()),  # times sqrt(learning rate / decay) of the part norm_scale_of
    pa.field("norm_scale_of", pa.string()),
    pa.field("z_loss", pa.float64()),  # weight of the squared log normaliser
    pa.field("dropout", pa.float64()),
    pa.field("activation_checkpointing", pa.bool_()),
    pa.field("cooldown", pa.float64()),  # fraction of steps, schedule wsd
    pa.field("beta1", pa.float64()),
    pa.field("beta2", pa.float64()),
    pa.field("epsilon", pa.float64()),
    pa.field("momentum", pa.float64()),
    pa.field("nesterov", pa.bool_()),  # null: true
    pa.field("adamw_lr_ratio", pa.float64()),  # AdamW's learning rate beside a matrix optimizer's
    pa.field("matrices", pa.string()),  # hidden | all: what a matrix optimizer acts on
    pa.field("gamma", pa.float64()),  # Sophia
    pa.field("curvature_every", pa.int64()),  # steps, Sophia
    pa.field("precondition_every", pa.int64()),  # steps, Shampoo and SOAP
    pa.field("grad_clip", pa.float64()),
    pa.field("schedule", pa.string()),
    pa.field("warmup", pa.float64()),  # fraction of steps
    pa.field("final_lr", pa.float64()),  # fraction of learning_rate
    pa.field("init", pa.string()),
    pa.field("init_scale", pa.float64()),
    pa.field("embedding_multiplier", pa.float64()),
    pa.field("residual_multiplier", pa.float64()),
    pa.field("attention_multiplier", pa.float64()),
    pa.field("readout_multiplier", pa.float64()),
    pa.field("precision", pa.string()),
    pa.field("eval_sequences", pa.int64()),
    pa.field("eval_every", pa.int64()),
    pa.field("data", pa.string()),  # digest of the corpus and its split
]

OUTCOME = [
    pa.field("status", pa.string(), nullable=False),  # finished | diverged
    pa.field("diverged_step", pa.int64()),
    pa.field("initial_loss", pa.float64()),  # validation, untrained
    pa.field("loss", pa.float64()),  # validation, after the last step; null when diverged
    pa.field("accuracy", pa.float64()),  # validation, of labelled positions; null where labels are numbers
    pa.field("train_loss", pa.float64()),  # of the last batch
]

COST = [
    pa.field("parameters", pa.int64()),
    pa.field("tokens", pa.int64()),  # trained on
    pa.field("flops", pa.float64()),  # of training, counted from the shape
    pa.field("seconds", pa.float64()),  # the trial's share of its group's wall time
    pa.field("device", pa.string()),
]

ROWS = pa.schema([*IDENTITY, *POINT, *OUTCOME, *COST], metadata=METADATA)

BEFORE: dict[str, Any] = {
    "decay": "coupled", "nesterov": True, "attention_every": 4, "qk_norm": False, "causal": True,
    "values_per_key": 1, "negative_eigenvalues": False, "output_gate": True, "state_size": 16,
    "state_groups": 1, "vectors": False, "learnable_multipliers": "none", "multiplier_lr": 0.01,
    "multiplier_decay": 0.002, "clip_multipliers": False, "frozen_gains": "none", "norm_scale": 1.0,
    "norm_scale_of": "readout", "z_loss": 0.0, "dropout": 0.0, "activation_checkpointing": False,
    "cooldown": 0.2,
}  # fmt: skip
"""What rows that are older than a column, and have null there, were trained with."""

CURVES = pa.schema(
    [
        pa.field("trial_id", pa.string(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),  # 0 is the first optimizer step
        pa.field("tokens", pa.int64()),  # seen, this step's included
        pa.field("train_loss", pa.float64()),
        pa.field("eval_loss", pa.float64()),  # null where it was not evaluated
        pa.field("learning_rate", pa.float64()),  # base value times the schedule
        pa.field("gradient_norm", pa.float64()),  # before clipping
    ],
    metadata=METADATA,
)
