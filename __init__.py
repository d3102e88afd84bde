"""mutransfer measures whether tuned hyperparameters transfer across model scale.

The API is in `orchestrator/api.py`; a name is loaded when it is first used, so that a script with
`mutransfer.trial` imports the standard library alone.
"""

from typing import TYPE_CHECKING, Any

from .models.handover.trial import trial

if TYPE_CHECKING:
    from .orchestrator.api import (
        Comparison,
        Fault,
        Sweep,
        charts,
        expand,
        export,
        judge,
        load,
        plan,
        run,
        trained,
        trials,
    )

__all__ = [
    "Comparison", "Fault", "Sweep", "charts", "expand", "export", "judge", "load", "plan", "run", "trained",
    "trial", "trials",
]  # fmt: skip
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what the API calls so
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .orchestrator import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
