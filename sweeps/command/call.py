"""Calling the user's function in the worker: no process is started for it."""

import importlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event

from ...models.handover.trial import Trial
from ..program import ProgramFailed
from .given import Given
from .loss import NoLossError, Written, final_loss

AGAIN_SECONDS = 1.0
_spoiled = False


class _LateError(BaseException):
    """The time is over: no `except Exception` of the user's keeps it."""


def spoiled() -> bool:
    """Whether a function was cut off in this process: what it was in the middle of, such as an import, is
    left half done, and nothing else is to run here."""
    return _spoiled


def called(given: Given) -> float:
    """Calls the function; returns its final loss. Raises ProgramFailed, and whatever the function raises."""
    global _spoiled
    module, _, name = given.definition["function"].partition(":")
    limit, written = given.definition.get("timeout"), Written(given.metrics)
    try:
        with _place(given.definition["directory"], given.definition["environment"]), _alarm(limit) as late:
            function = getattr(importlib.import_module(module), name)
            trial = Trial(given.told(), on_report=lambda step: given.setup.report(given.progress(step)))
            returned = function(trial)
            if late.is_set():  # whatever it made of it
                raise _LateError
    except SystemExit as error:
        raise ProgramFailed("error", f"the function ended its process ({error.code})") from None
    except _LateError:
        _spoiled = True
        raise ProgramFailed("error", f"the function took longer than its timeout, {limit:g} s") from None
    if hasattr(returned, "__float__") and not isinstance(returned, bool):  # numpy's and torch's, too
        return float(returned)
    try:
        return final_loss({"helper": True}, iter(()), written)
    except NoLossError:
        told = f"the function returned {returned!r:.60}, no number, and did not call trial.finish(loss=...)"
        raise ProgramFailed("no-result", told) from None


@contextmanager
def _alarm(limit: float | None) -> Iterator[Event]:
    """Raises _LateError in a function that takes longer than its timeout, again and again until it ends; the
    event says whether it did."""
    late = Event()
    if limit is None:
        yield late
        return

    def ring(*of: object) -> None:
        late.set()
        raise _LateError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit, AGAIN_SECONDS)
    try:
        yield late
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _place(directory: str, environment: Mapping[str, str]) -> Iterator[None]:
    """In a directory from which modules are imported, with variables added."""
    before, held = os.getcwd(), {name: os.environ.get(name) for name in environment}
    os.chdir(directory)
    sys.path.insert(0, directory)
    os.environ.update(environment)
    try:
        yield
    finally:
        with suppress(ValueError):  # the function may have changed the list
            sys.path.remove(directory)
        os.chdir(before)
        for name, value in held.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
