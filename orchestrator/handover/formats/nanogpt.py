"""A configuration file for nanoGPT (November 2025), with the lines that its train.py needs in comments."""

from ....models.handover.maps.gpt import NANOGPT
from ....models.handover.values import Handed
from ....models.recipe.recipe import FIELDS
from ..fault import ExportError
from .shared import Formatted, base_decay, embedded, heading, unlike

TEXT = '''\
{heading}# nanoGPT: python train.py config/{module}.py, with three changes in train.py.
#
# Behind `model = GPT(gptconf)`:
#     from mutransfer.models.handover.maps.registry import MAPS
#     from mutransfer.models.handover.sites import apply_multipliers_
#     from mutransfer.models.handover.transfer import initialize_, param_groups
#     handover, roles = json.loads(_HANDOVER), MAPS["nanogpt"].roles      # import json
#     initialize_(model, handover, 0, roles)
#     apply_multipliers_(model, handover, MAPS["nanogpt"].sites_in(handover))
# In place of `optimizer = model.configure_optimizers(...)`:
#     optimizer = torch.optim.AdamW(param_groups(model, handover, roles))
#     peaks = [group["lr"] for group in optimizer.param_groups]
# In place of `param_group['lr'] = lr` and its loop:
#     for group, peak in zip(optimizer.param_groups, peaks):
#         group["lr"] = peak * lr / learning_rate
{settings}
_HANDOVER = r"""
{handover}
"""
'''


def as_nanogpt(handed: Handed) -> Formatted:
    """Raises ExportError for proxies that are unlike GPT-2, and for another optimizer than AdamW."""
    model, values, target = handed["model"], handed["hyperparameters"], handed["target"]
    told = {**model, "tied": handed["tied"], "optimizer": handed["optimizer"]}
    wanted = {**NANOGPT.proxy, "tied": True, "optimizer": "adamw"}
    if other := [f"{field}: {told[field]}" for field in wanted if told[field] != wanted[field]]:
        needs = ", ".join(f"{field}: {wanted[field]}" for field in wanted if told[field] != wanted[field])
        raise ExportError(
            f"nanogpt: has {needs}, the proxies {', '.join(other)}; export yaml or json, which hold every "
            "value"
        )
    steps = target["steps"]
    settings = {
        "n_layer": target["depth"],
        "n_head": model["head_count"],
        "n_embd": target["width"],
        "block_size": target["sequence_length"],
        "dropout": 0.0,
        "bias": True,
        "batch_size": target["batch_size"],
        "gradient_accumulation_steps": 1,
        "learning_rate": values["learning_rate"],
        "min_lr": values["learning_rate"] * values["final_lr"],
        "weight_decay": base_decay(handed),
        "beta1": values["beta1"],
        "beta2": values["beta2"],
        "grad_clip": values["grad_clip"],
        "max_iters": steps,
        "lr_decay_iters": steps,
        "warmup_iters": round(values["warmup"] * steps),
        "decay_lr": values["schedule"] != "constant",
    }
    lost = [*unlike(handed, () if model["biases"] == "qkv" else {"biases"})]
    if model["norm_eps"] not in (1e-5, FIELDS["norm_eps"].default):
        lost.append(f"norm_eps: {model['norm_eps']:g}")
    if values["schedule"] not in ("cosine", "constant"):
        lost.append(f"schedule {values['schedule']}")
    if values["schedule"] == "constant" and values["warmup"]:
        lost.append(f"the warm-up before a constant rate, {settings['warmup_iters']} steps")
    if model["kv_head_count"] != model["head_count"]:
        lost.append(f"{model['kv_head_count']} heads of keys and values")
    if model["mlp_width"] != 4 * target["width"]:
        lost.append(f"{model['mlp_width']} units of the MLP")
    text = TEXT.format(
        heading=heading(handed),
        module="handover",
        settings="\n".join(f"{name} = {value!r}" for name, value in settings.items()),
        handover=embedded(handed),
    )
    return Formatted(text, tuple(lost))
