"""Places where a test may have the process die: MUTRANSFER_FAILPOINT names one, by its beginning."""

import os
import signal

VARIABLE = "MUTRANSFER_FAILPOINT"


def failpoint(name: str) -> None:
    """Kills this process, as a power failure would, where a test asked for it."""
    wanted = os.environ.get(VARIABLE)
    if wanted and name.startswith(wanted):
        os.kill(os.getpid(), signal.SIGKILL)
