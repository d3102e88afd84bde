"""Whether a model and its optimizer are what a handover says: to be run before the large run's first step.

verify(model, handover, ROLES, optimizer, SITES, lambda: model(tokens))
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..optimizers.orthogonal import POLYNOMIALS
from .assignment import Assigned, Roles, assigned
from .sites import Sites, Taking, lone, parts_of, takings
from .transfer import group_values, init_std
from .values import Handed

SAME = 1e-6
"""Learning rates, decays and epsilons are those of the handover to within this share."""
DEVIATIONS = 6.0
"""A start's standard deviation is told from its own to within so many of its standard errors."""
ALTERED_BY = ("maximize", "amsgrad", "dampening")
"""What makes another optimizer of one of torch's, and is off unless it is asked for."""
SAME_FACTOR = 1e-2
"""A multiplier is measured in whatever precision the model runs in."""


class VerificationError(Exception):
    """The model or its optimizer is not what the handover says; a line for each thing that is not."""


def verify(
    model: nn.Module,
    handover: Handed,
    roles: Roles | None = None,
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
    sites: Sites | None = None,
    probe: Callable[[], object] | None = None,
    fresh: bool = True,
) -> None:
    """Every parameter that learns is in one group of the optimizer, or of one of several, with its learning
    rate, decay, epsilon and gamma; has its start, where the model is `fresh`; and the `probe`, a forward
    pass, meets every multiplier once, on the modules of `sites`.

    Raises VerificationError with all that is wrong, UnknownParameterError where the two do not fit.
    """
    found = list(assigned(model, handover, roles or {}))
    faults = []
    if optimizer is not None:
        several = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else [*optimizer]
        faults += [fault for each in found for fault in _group_faults(each, handover, several)]
    if fresh:
        faults += [fault for each in found if each.tensor.requires_grad for fault in _start_faults(each)]
    if probe is not None:
        faults += _factor_faults(model, handover, sites or {}, probe)
    if faults:
        raise VerificationError("\n".join(faults))


def _group_faults(
    each: Assigned, handover: Handed, optimizers: Sequence[torch.optim.Optimizer]
) -> Iterator[str]:
    found = [
        (optimizer, group)
        for optimizer in optimizers
        for group in optimizer.param_groups
        if any(each.tensor is one for one in group["params"])
    ]
    if not found and not each.tensor.requires_grad:
        return
    if len(found) != 1:
        yield f"{each.name}: is in {len(found) or 'no'} groups of the optimizer; make them with param_groups"
        return
    ((optimizer, group),), expected = found, group_values(each.entry, handover)
    role, name = each.entry["role"], type(optimizer).__name__
    if _decays_by_momentum(optimizer, group):
        if group["weight_decay"]:
            yield (
                f"{each.name}: {name} adds the decay to the gradient, before the momentum, and the "
                "handover's is of the weight itself; give the group weight_decay 0, and shrink weights by "
                f"lr * {expected['weight_decay']:.6g}"
            )
        expected["weight_decay"] = group["weight_decay"]  # nothing more is said of it
    if _of_another(optimizer, group, expected):
        adjusted = f" with adjust_lr_fn={told!r}" if (told := group.get("adjust_lr_fn")) else ""
        due = f"{expected['optimizer']} ({role})"
        yield f"{each.name}: is trained by {name}{adjusted}, and the handover says {due}"
    longer = 1.0
    if any(_is_torchs(kind) and kind.__name__ == "Muon" for kind in type(optimizer).__mro__):
        yield from _polynomial_faults(each, handover, group)
        longer = _longer(each, group)
        expected["lr"], expected["weight_decay"] = expected["lr"] / longer, expected["weight_decay"] * longer
    for option in ALTERED_BY:
        if group.get(option):
            yield f"{each.name}: is trained with {option}={group[option]}, which the handover does not say"
    nesterov = expected.get("nesterov")
    if nesterov is not None and group.get("nesterov", nesterov) != nesterov:
        yield f"{each.name}: has nesterov {group['nesterov']}, and the handover says {nesterov} ({role})"
    # Schedules of torch's keep the peak under another name.
    told = {"lr": group.get("max_lr", group.get("initial_lr", group["lr"]))}
    told |= {name: group.get(name) for name in ("weight_decay", "eps", "gamma", "momentum")}
    for place, name in enumerate(("beta1", "beta2")):
        told[name] = group["betas"][place] if "betas" in group else None
        if "betas" in expected:
            expected[name] = expected["betas"][place]
    for name, value in told.items():
        if (wanted := expected.get(name)) is not None and not _same(value, wanted, SAME):
            torchs = f", where torch's Muon is {longer:.4g} times as long" if longer != 1 else ""
            yield f"{each.name}: has {name} {value}, and the handover says {wanted:.6g} ({role}){torchs}"


def _of_another(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], expected: Mapping[str, Any]
) -> bool:
    """Whether it is one of torch's that trains otherwise; of other libraries' nothing is known. Without
    decay, or with a decoupled one, Adam is AdamW; Muon is Kimi's with its own adjustment."""
    kind = type(optimizer)
    if not _is_torchs(kind):
        return False
    wanted: str = expected["optimizer"]
    meant = {"AdamW": "adamw", "Adam": "adamw", "SGD": "sgd", "Muon": "muon"}.get(kind.__name__)
    coupled = kind.__name__ == "Adam" and not group.get("decoupled_weight_decay")
    if meant == "muon" and group.get("adjust_lr_fn") == "match_rms_adamw":
        meant = "muon-kimi"
    return (coupled and expected["weight_decay"] != 0) or meant != wanted


def _decays_by_momentum(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> bool:
    """As torch's SGD does: 1 / (1 - momentum) times as much."""
    return _is_torchs(type(optimizer)) and type(optimizer).__name__ == "SGD" and bool(group["momentum"])


def _longer(each: Assigned, group: Mapping[str, Any]) -> float:
    """torch's own factor, of rows over columns as they are stored, over the root of outputs over inputs."""
    if group["adjust_lr_fn"] not in (None, "original"):
        return 1.0
    rows, columns = each.tensor.shape[:2]
    fan_out, fan_in = each.shape[::-1] if each.looked_up else each.shape[:2]
    return math.sqrt(max(1, rows / columns) * fan_in / fan_out)


def _polynomial_faults(each: Assigned, handover: Handed, group: Mapping[str, Any]) -> Iterator[str]:
    polynomial = handover["hyperparameters"].get("polynomial", "quintic")
    if ((*map(float, group["ns_coefficients"]),),) * group["ns_steps"] != POLYNOMIALS[polynomial]:
        yield f"{each.name}: is orthogonalised by another polynomial than the handover's, {polynomial}"


def _is_torchs(kind: type) -> bool:
    return kind.__module__.startswith("torch.optim")


def _start_faults(each: Assigned) -> Iterator[str]:
    values, start = each.tensor.detach(), each.entry["start"]
    if start in ("ones", "zeros"):
        if not bool((values == (1.0 if start == "ones" else 0.0)).all()):
            yield f"{each.name}: does not start at {start}; call initialize_"
        return
    stds = {init_std(each, entry) for entry, _ in each.parts}
    std = stds.pop() if len(stds) == 1 else None
    if start != "normal" or std is None:
        return
    if each.padding is not None:
        values = torch.cat([values[: each.padding], values[each.padding + 1 :]])
    seen = float(values.float().pow(2).mean().sqrt())
    if not _same(seen, std, SAME_FACTOR + DEVIATIONS / math.sqrt(2 * values.numel())):
        yield f"{each.name}: starts with a standard deviation of {seen:.4g}, and the handover says {std:.4g}"


def _factor_faults(
    model: nn.Module, handover: Handed, sites: Sites, probe: Callable[[], object]
) -> Iterator[str]:
    asked = [*takings(model, handover, sites)]
    on_outputs: dict[str, list[Taking]] = {}
    for each in asked:
        if (kept := each.place.attribute) is not None:
            there = getattr(each.module, kept)
            if not _same(there, each.value, SAME):
                yield f"{each.name}: has a {kept} of {there:.4g}, and {each.value:.4g} on {each.site} is due"
        else:
            on_outputs.setdefault(each.name, []).append(each)
    with _measured(on_outputs) as seen, _evaluating(model), torch.no_grad():
        probe()
    for name, several in on_outputs.items():
        if name not in seen:
            yield f"{name}: is not met by the probe"
            continue
        *parts, rest = seen[name]
        wrong = [
            f"{name}: gives {part:.4g} times its own output, and {each.value:.4g} on {each.site} is due"
            for part, each in zip(parts, several, strict=True)
            # Where it gives zeros they are that whatever they are multiplied by: a readout that starts there.
            if part is not None and not _same(part, each.value, SAME_FACTOR)
        ]
        yield from wrong
        if not wrong and rest is not None and not _same(rest, 1.0, SAME_FACTOR):
            yield f"{name}: gives {rest:.4g} times what the multiplier on {several[0].site} is not on"


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout would be taken for a multiplier."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _measured(asked: Mapping[str, Sequence[Taking]]) -> Iterator[dict[str, list[float | None]]]:
    """By name: what the modules give, over what they would without hooks, at each of their places, and last
    beside all of them."""
    seen: dict[str, list[float | None]] = {}

    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: object) -> None:
            both = (lone(module.forward(*given, **named)), lone(output))
            raw, got = (one.float() for one in both if one is not None)
            rest = torch.ones(raw.shape[-1], dtype=torch.bool, device=raw.device)
            seen[name] = []
            for each in asked[name]:
                index, parts = each.place.part
                pairs = (parts_of(one, parts)[index] for one in (raw, got))
                seen[name].append(_ratio(*pairs))
                parts_of(rest, parts)[index].fill_(False)
            seen[name].append(_ratio(raw[..., rest], got[..., rest]) if rest.any() else 1.0)

        return hook

    hooks = [
        several[0].module.register_forward_hook(hook_of(name), with_kwargs=True)
        for name, several in asked.items()
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _ratio(raw: Tensor, got: Tensor) -> float | None:
    """Of two outputs, by least squares; None of zeros."""
    square = float((raw * raw).sum())
    return float((raw * got).sum()) / square if square else None


def _same(value: Any, wanted: float, share: float) -> bool:  # noqa: ANN401 - an optimizer's
    """Of a number or a tensor of one; some optimizers keep several under a name."""
    return isinstance(value, int | float | Tensor) and abs(float(value) - wanted) <= share * abs(wanted)
