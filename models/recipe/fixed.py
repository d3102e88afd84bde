"""Fixed multipliers: constants on the outputs of modules, as configurations of real models have them.

A text, so that they can stand in a sweep file: `mlp.gate=0.9, attention.key=0.5`. Modules are named by the
end of their name, with wildcards where wanted. No torch.
"""

import math
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache


@lru_cache(maxsize=256)
def constants(text: str) -> Mapping[str, float]:
    """By the end of the module's name. Raises ValueError, naming the field."""
    if text.strip() == "none":
        return {}
    found: dict[str, float] = {}
    for item in text.split(","):
        name, _, value = (part.strip() for part in item.partition("="))
        if name in found:
            raise ValueError(f"fixed_multipliers: {name} is named twice; give it one number")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = math.nan
        if not name or not math.isfinite(found[name]) or found[name] == 0:
            raise ValueError(
                f"fixed_multipliers: {item.strip()!r} is not MODULE=NUMBER, such as mlp.gate=0.9; give none "
                "for no multipliers"
            )
    return found


def normal_form(text: str) -> str:
    """Equal for texts that say the same in another order or other words."""
    told = sorted((name, value) for name, value in constants(text).items() if value != 1)
    return ", ".join(f"{name}={value!r}" for name, value in told) or "none"


@lru_cache(maxsize=4096)  # asked for by every forward pass
def constant_on(module: str, text: str) -> float:
    """The product of all that a module is named by."""
    return math.prod(value for name, value in constants(text).items() if fnmatchcase(module, f"*.{name}"))


def unnamed(text: str, parameters: Iterable[str]) -> list[str]:
    """Names that no module with a weight has, of parameters by their names."""
    modules = [name.removesuffix(".weight") for name in parameters if name.endswith(".weight")]
    return [name for name in constants(text) if not any(fnmatchcase(one, f"*.{name}") for one in modules)]
