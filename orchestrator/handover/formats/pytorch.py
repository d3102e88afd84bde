"""A Python module for a loop of one's own: groups, first values, multipliers and schedule for any module."""

from ....models.handover.values import Handed
from .shared import Formatted, embedded, heading, torch_decay, torch_groups, torch_optimizer

TEXT = '''\
{heading}"""The large run in plain PyTorch, handed over by mutransfer:

    import {module}

    model = build(...)                                    # sizes: {module}.MODEL
    {module}.start_(model, ROLES, SITES, seed=0)            # or those of MAPS["llama"]
    optimizer = {module}.optimizer(model, ROLES)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, {module}.factor)
    for step in range({module}.STEPS):
        ...
        torch.nn.utils.clip_grad_norm_(model.parameters(), {module}.GRAD_CLIP)
        optimizer.step()
        scheduler.step()

ROLES and SITES say what your parameters and modules are: docs/export.md of mutransfer.
"""

import json
import math

import torch

from mutransfer.models.handover.sites import apply_multipliers_
from mutransfer.models.handover.transfer import initialize_, param_groups

HANDOVER = json.loads(r"""
{handover}
""")
MODEL = HANDOVER["model"]
STEPS, BATCH, TIME = {steps}, {batch_size}, {time}
GRAD_CLIP = {grad_clip!r}


def start_(model, roles, sites, seed):
    """First values and forward multipliers, in place."""
    initialize_(model, HANDOVER, seed, roles)
    apply_multipliers_(model, HANDOVER, sites)


def optimizer(model, roles):
    {optimizer}


def factor(step):
    """The learning rate of step 0, 1, ... over its peak."""
    if step < {warmup}:
        return (step + 1) / {warmup}
{decay}
'''
NOT_THERE = """\
# Another optimizer at these rates would be another training.
    raise RuntimeError("torch has no {0} as it is here; give an optimizer of yours {1}")"""
FALL = """\
    progress = min(1.0, (step - {warmup}) / {length})
    return 1.0 - {fallen!r} * {shape}"""
WSD = """\
    progress = min(1.0, max(0.0, (step - {begin}) / {length}))
    return 1.0 - {fallen!r} * progress"""


def as_pytorch(handed: Handed) -> Formatted:
    values, target = handed["hyperparameters"], handed["target"]
    name, groups = torch_optimizer(handed), torch_groups(handed, "param_groups(model, HANDOVER, roles)")
    told, kinds = [*torch_decay(handed)], handed["model"]["learnable_multipliers"]
    if name is None:
        told.append(f"{handed['optimizer']}, which torch has not as it is here")
    if kinds != "none":
        told.append(f"learnable multipliers ({kinds}); put them on with add_multipliers_")
    if values.get("z_loss"):
        told.append(f"z_loss {values['z_loss']:g}")
    there = f"return torch.optim.{name}({groups})"
    made = there if name else NOT_THERE.format(handed["optimizer"], groups)
    text = TEXT.format(
        heading=heading(handed),
        module="handover",
        handover=embedded(handed),
        steps=target["steps"],
        batch_size=target["batch_size"],
        time=target["sequence_length"],
        grad_clip=values["grad_clip"] or float("1e30"),
        optimizer=made,
        warmup=round(values["warmup"] * target["steps"]),
        decay=_decay(handed),
    )
    return Formatted(text, tuple(told))


def _decay(handed: Handed) -> str:
    values, steps = handed["hyperparameters"], handed["target"]["steps"]
    warmup, fallen = round(values["warmup"] * steps), 1.0 - values["final_lr"]
    match values["schedule"]:
        case "constant":
            return "    return 1.0"
        case "wsd":
            length = max(1, round(values["cooldown"] * steps))
            return WSD.format(begin=steps - length, length=length, fallen=fallen)
        case schedule:
            shape = "progress" if schedule == "linear" else "(1.0 - math.cos(math.pi * progress)) / 2"
            return FALL.format(warmup=warmup, length=max(1, steps - warmup), fallen=fallen, shape=shape)
