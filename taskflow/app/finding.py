"""`find_app`: the application that ``taskflow -A`` names."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from taskflow.app.application import Taskflow
from taskflow.errors import ConfigError, nearest

__all__ = ["find_app"]

_NAMES = ("app", "celery", "taskflow")


def find_app(name: str) -> Taskflow:
    """The application in a module: ``"proj"``, ``"proj.celery"``, ``"proj:app"``.

    The module is looked for in the working directory, too. Of a module without a name behind it, its
    variables `app`, `celery` and `taskflow` are tried, then those of its modules `celery` and `taskflow`,
    then any variable that holds one.

    Args:
        name: Module, and perhaps the variable.

    Raises:
        ConfigError: There is no such module, or no application in it.
    """
    here = os.getcwd()  # noqa: PTH109 - sys.path has text
    if here not in sys.path:
        sys.path.insert(0, here)
    path, colon, attribute = name.partition(":")
    if colon:
        return _of(getattr(_module(path), attribute, None), name, _module(path), attribute)
    if not _is_there(path) and "." in path:
        path, _, attribute = path.rpartition(".")
        return _of(getattr(_module(path), attribute, None), name, _module(path), attribute)
    module = _module(path)
    places = [module]
    if hasattr(module, "__path__"):
        places += [_module(f"{path}.{n}") for n in _NAMES[1:] if _is_there(f"{path}.{n}")]
    for place in places:
        for named in _NAMES:
            if isinstance(getattr(place, named, None), Taskflow):
                return getattr(place, named)  # type: ignore[no-any-return]
    found = next((v for place in places for v in vars(place).values() if isinstance(v, Taskflow)), None)
    return _of(found, name, module, "app")


def _module(path: str) -> ModuleType:
    if not _is_there(path):
        raise ConfigError(f"There is no module {path!r} here ({os.getcwd()}).")  # noqa: PTH109
    return import_module(path)


def _is_there(path: str) -> bool:
    try:
        return path in sys.modules or find_spec(path) is not None
    except (ImportError, ValueError):
        return False


def _of(found: Any, name: str, module: ModuleType, attribute: str) -> Taskflow:
    if isinstance(found, Taskflow):
        return found
    apps = [key for key, value in vars(module).items() if isinstance(value, Taskflow)]
    raise ConfigError(
        f"There is no application in {name!r}: write module:variable, the variable of a"
        f" taskflow.Taskflow(...).{nearest(attribute, apps)}"
    )
