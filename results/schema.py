"""The columns of the Parquet files, with their units: kept for years, so written down here and versioned.

A column is added, never renamed or reused; `SCHEMA_VERSION` stands in every file's metadata.
Losses are in nats per token. Missing values are null and `status` says why; NaN never appears.
"""

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
