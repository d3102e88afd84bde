"""What people call the fields of a recipe and its loss, in their own tables and sweep files."""

from collections.abc import Mapping

ALIASES: Mapping[str, tuple[str, ...]] = {
    "learning_rate": ("lr", "max_lr", "peak_lr", "base_lr", "init_lr", "learning rate", "eta"),
    "loss": ("val_loss", "valid_loss", "validation_loss", "eval_loss", "test_loss", "final_loss", "val loss"),
    "width": ("n_embd", "d_model", "hidden_size", "hidden_dim", "embed_dim", "model_dim", "dim"),
    "depth": ("n_layer", "n_layers", "num_layers", "num_hidden_layers", "layers"),
    "batch_size": ("bs", "batch", "global_batch_size"),
    "sequence_length": ("seq_len", "seq_length", "context_length", "block_size", "n_ctx"),
    "weight_decay": ("wd",),
    "steps": ("n_steps", "num_steps", "max_steps", "train_steps", "iterations", "iters"),
    "seed": ("random_seed",),
    "optimizer": ("optim", "opt"),
    "parametrization": ("parameterization", "parametrisation", "parameterisation"),
}
