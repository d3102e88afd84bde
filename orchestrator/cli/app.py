"""The `mutransfer` command: its sub-commands, and how errors become one line and an exit code.

Nothing heavy is imported here: each command imports what it needs when it is called, so that
`mutransfer --help` answers at once.
"""

import codecs
import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from ... import __version__
from ...models.files.place import DISK_FULL, meant
from ...models.recipe.fault import PREFLIGHT, USAGE, Fault
from . import again, checking, exchange, files, laws, probing, reporting, running, upkeep, watching, weights

app = typer.Typer(
    name="mutransfer",
    help="Measures whether tuned hyperparameters transfer across model scale, and exports them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done; 2 usage or sweep file; 3 finished with failures, or a check failed; "
    "4 nothing usable to report; "
    "5 another run owns the sweep; 6 backend or preflight failed; 130 interrupted, state saved.",
)
app.command("init")(files.init)
app.command("plan")(running.plan)
app.command("run")(running.run)
app.command("status")(watching.status)
app.command("logs")(watching.logs)
app.command("show")(watching.show)
app.command("watch")(watching.watch)
app.command("cancel")(running.cancel)
app.command("retry")(again.retry)
app.command("rerun")(again.rerun)
app.command("report")(reporting.report)
app.command("law")(laws.law)
app.command("compare")(reporting.compare)
app.command("rules")(files.rules)
app.command("coordcheck")(checking.coordcheck)
app.add_typer(probing.app, name="probe")
app.command("import")(exchange.import_)
app.command("trials")(exchange.trials)
app.command("export")(exchange.export)
app.command("weights")(weights.weights)
app.command("doctor")(upkeep.doctor)
app.command("gc")(upkeep.gc)


PLAIN = "mutransfer.plain"
"""How characters are written that a terminal does not know."""
_BARS = dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True))
_PLAINLY = {"−": "-", "–": "-", "×": "x", "·": ".", "…": "...", **_BARS}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAINLY.get(one, "?") for one in error.object[error.start : error.end]), error.end


codecs.register_error(PLAIN, _plainly)


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs a command; a known fault is one clear message on stderr and its exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may know few characters
            stream.reconfigure(errors=PLAIN)
    # The fits' matrices are small: threads of NumPy's own, read when it is loaded, cost more than they save.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        place = meant(Path(str(error.filename or "standard output")))
        if error.errno in DISK_FULL:
            if error.filename is None:
                _drop_output()
            print(f"{place}: {error.strerror}; make room, or send it elsewhere", file=sys.stderr)
            sys.exit(PREFLIGHT)
        if error.filename is None:
            raise
        print(f"{place}: {error.strerror}; give another path or mend this one", file=sys.stderr)
        sys.exit(USAGE)
    except Fault as fault:
        print(fault, file=sys.stderr)
        sys.exit(fault.exit_code)
    except (MemoryError, RuntimeError) as error:  # torch's are of the second kind
        from ..record.failures import failure_of

        if failure_of(error) != "out-of-memory":
            raise
        reason = "too little memory here, or on the GPU; give smaller sizes, fewer trials or --seeds"
        print(f"{sys.argv[1]}: {reason}", file=sys.stderr)
        sys.exit(PREFLIGHT)


def _drop_output() -> None:
    """What is left to be written would fail again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
