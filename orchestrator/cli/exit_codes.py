"""Exit codes, as the contract fixes them (docs/cli.md), and the errors that lead to them."""

import sys

DONE = 0
USAGE = 2
FAILED_TRIALS = 3
CHECK_FAILED = 3
NOTHING_TO_REPORT = 4
OWNED = 5
PREFLIGHT = 6
INTERRUPTED = 130

# By name, so that nothing is imported to ask: an error whose module was never loaded was never raised.
_CODES = {
    ("mutransfer.sweeps.problem", "SpecError"): USAGE,
    ("mutransfer.orchestrator.record.directory", "DirectoryError"): USAGE,
    ("mutransfer.orchestrator.export", "ExportError"): USAGE,
    ("mutransfer.results.choice", "ChoiceError"): USAGE,
    ("mutransfer.results.choice", "NothingTunedError"): NOTHING_TO_REPORT,
    ("mutransfer.results.sources.fault", "ImportFault"): USAGE,
    ("mutransfer.orchestrator.record.lease", "OwnedError"): OWNED,
    ("mutransfer.orchestrator.record.lease", "LostLeaseError"): OWNED,
    ("mutransfer.orchestrator.driver", "CancelledError"): INTERRUPTED,
    ("mutransfer.orchestrator.driver", "StoppedError"): PREFLIGHT,
    ("mutransfer.orchestrator.backends.backend", "BackendError"): PREFLIGHT,
    ("mutransfer.orchestrator.device", "PreflightError"): PREFLIGHT,
}


def of(error: Exception) -> int | None:
    """The exit code of a fault that the user can mend; None for what is our own."""
    for (module, name), code in _CODES.items():
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(error, getattr(loaded, name)):
            return code
    return None
