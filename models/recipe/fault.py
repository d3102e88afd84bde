"""Faults that the user can mend: a clear message, and the exit code of the command that met it."""

DONE = 0
USAGE = 2
FAILED_TRIALS = 3
CHECK_FAILED = 3
NOTHING_TO_REPORT = 4
OWNED = 5
PREFLIGHT = 6
INTERRUPTED = 130


class Fault(Exception):
    """The base of all of them; any other exception that reaches the command line is a bug of ours."""

    exit_code = USAGE
