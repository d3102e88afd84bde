"""Code of the user's own: imported by name, and whatever it raises said in one line with its place."""

import importlib
import sys
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from ..recipe.fault import Fault
from ..recipe.own_name import file_of
from .assignment import UnknownParameterError
from .maps.model_map import ModelMap
from .maps.registry import MAPS
from .roles import OpenRolesError


class OwnCodeError(Fault):
    """The user's own code, or what its parameters are, cannot be had or does not fit; the message says what
    to mend."""


KEPT = {*sys.stdlib_module_names, "mutransfer", "__main__"}
"""What nobody's own code is called."""


@contextmanager
def said(where: str) -> Iterator[None]:
    """Raises OwnCodeError for whatever is raised inside; `where` names what the user wrote."""
    try:
        with redirect_stdout(sys.stderr):  # stdout is for what the command prints
            yield
    except OwnCodeError:
        raise
    except (Fault, UnknownParameterError, OpenRolesError) as error:
        raise OwnCodeError(f"{where}: {error}") from None
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__}: {' '.join(str(error).split())} ({place.filename}:{place.lineno})"
        raise OwnCodeError(f"{where}: {told}") from error


def own(where: str, name: str, directory: str, anew: Collection[str] = ()) -> Any:  # noqa: ANN401 - whatever is called that
    """What a module of a directory calls so, `package.module:name`. `anew` are files whose modules are not to
    be those that were imported before. Raises OwnCodeError."""
    module, colon, member = name.partition(":")
    if not colon or not module or not member:
        raise OwnCodeError(f"{where}: {name} is not written package.module:name")
    _first_on_path(directory)
    _forget(module, directory, anew)
    try:
        with redirect_stdout(sys.stderr):
            found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        told = f"{type(error).__name__}: {error}"
        raise OwnCodeError(f"{where}: {name} cannot be imported ({told})") from None
    if not hasattr(found, member):
        raise OwnCodeError(f"{where}: {module} has no {member}")
    return getattr(found, member)


def map_named(where: str, name: str, directory: str) -> ModelMap:
    """A ready map, or one of the user's own. Raises OwnCodeError."""
    ready = f"ready maps are {', '.join(MAPS)}"
    if name not in MAPS and ":" not in name:
        raise OwnCodeError(f"{where}: {name} is not written package.module:name; {ready}")
    found = MAPS.get(name) or own(where, name, directory)
    if not isinstance(found, ModelMap):
        raise OwnCodeError(
            f"{where}: {name} is a {type(found).__name__}, no ModelMap, which says where multipliers go; "
            f"{ready}"
        )
    return found


def _first_on_path(directory: str) -> None:
    if directory in sys.path:
        sys.path.remove(directory)
    sys.path.insert(0, directory)
    importlib.invalidate_caches()


def _forget(module: str, directory: str, anew: Collection[str]) -> None:
    """Modules of these files, the package of the one that is named, and what another directory called like a
    module of this one."""
    files, package = {str(Path(directory, path)) for path in anew}, module.partition(".")[0]
    for name, held in list(sys.modules.items()):
        file = getattr(held, "__file__", None)
        if file is None or "site-packages" in Path(file).parts or name.partition(".")[0] in KEPT:
            continue
        elsewhere = not Path(file).is_relative_to(directory) and file_of(name, directory) is not None
        if file in files or elsewhere or name.partition(".")[0] == package:
            del sys.modules[name]
