"""Calling the user's function in the worker: no process is started for it."""

import importlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ...models.handover.trial import Trial
from ..program import ProgramFailed
from .given import Given
from .loss import NoLossError, final_loss


def called(given: Given) -> float:
    """Calls the function; returns its final loss. Raises ProgramFailed, and whatever the function raises."""
    module, _, name = given.definition["function"].partition(":")
    with (
        _place(given.definition["directory"], given.definition["environment"]),
        _alarm(given.definition.get("timeout")),
    ):
        function = getattr(importlib.import_module(module), name)
        trial = Trial(given.told(), on_report=lambda step: given.setup.report(given.progress(step)))
        try:
            returned = function(trial)
        except SystemExit as error:
            raise ProgramFailed("error", f"the function ended its process ({error.code})") from None
    if hasattr(returned, "__float__") and not isinstance(returned, bool):  # numpy's and torch's, too
        return float(returned)
    try:
        return final_loss({"helper": True}, given.files, iter(()), given.metrics)
    except NoLossError:
        told = f"the function returned {returned!r:.60}, no number, and did not call trial.finish(loss=...)"
        raise ProgramFailed("no-result", told) from None


@contextmanager
def _alarm(limit: float | None) -> Iterator[None]:
    """Ends a function that takes longer than its timeout."""
    if limit is None:
        yield
        return

    def late(*of: object) -> None:
        raise ProgramFailed("error", f"the function took longer than its timeout, {limit:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
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
        sys.path.remove(directory)
        os.chdir(before)
        for name, value in held.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
