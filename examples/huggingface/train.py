"""A Llama of Hugging Face with random weights, trained by their Trainer on the text of Python's own standard
library.

By hand: python train.py --width 64 --learning_rate 0.01. In a sweep: mutransfer run sweep.yaml.
What a sweep needs of it are the lines that are marked so.
"""

import sysconfig
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import mutransfer  # sweep

TIME, BYTES = 64, 256
ROLES = {  # sweep
    "*embed_tokens.weight": "input", "lm_head.weight": "output", "model.norm.weight": "vector",  # sweep
    "*layers.*_proj.weight": "hidden", "*layers.*norm.weight": "hidden vector",  # sweep
}  # fmt: skip # sweep


def windows() -> list[dict[str, Tensor]]:
    """The text as bytes, [T] each."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    text = bytearray(b"".join(path.read_bytes() for path in files))
    tokens = torch.frombuffer(text, dtype=torch.uint8).long()
    return [{"input_ids": window, "labels": window} for window in tokens.split(TIME)[:-1]]


trial = mutransfer.trial(width=64, depth=2, learning_rate=0.01, seed=0, steps=100)  # sweep
config = LlamaConfig(
    vocab_size=BYTES, hidden_size=trial.width, intermediate_size=2 * trial.width, tie_word_embeddings=False,
    num_hidden_layers=trial.depth, num_attention_heads=trial.width // 8, max_position_embeddings=TIME,
)  # fmt: skip
torch.manual_seed(trial.seed)
model = LlamaForCausalLM(config)
groups: Any = model.parameters()
if trial.id is not None:  # sweep
    trial.handover.initialize_(model, ROLES, seed=trial.seed)  # sweep
    groups = trial.handover.param_groups(model, ROLES)  # sweep
    readout = trial.handover.multipliers["readout"]  # sweep
    model.lm_head.register_forward_hook(lambda module, inputs, logits: logits * readout)  # sweep
arguments = TrainingArguments(
    output_dir=str(trial.checkpoints), max_steps=trial.steps, per_device_train_batch_size=16,
    lr_scheduler_type="linear", warmup_steps=trial.steps // 10, seed=trial.seed, logging_steps=10,
    save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=not torch.cuda.is_available(),
)  # fmt: skip
data = windows()
trainer = Trainer(
    model, arguments, train_dataset=data[1024:], eval_dataset=data[:128],
    optimizers=(torch.optim.AdamW(groups, lr=trial.learning_rate, betas=(0.9, 0.95), weight_decay=0.0), None),
)  # fmt: skip
trainer.train()
for logs in trainer.state.log_history[:-1]:  # sweep
    trial.report(int(logs["step"]), train_loss=logs["loss"])  # sweep
trial.finish(loss=trainer.evaluate()["eval_loss"])  # sweep
