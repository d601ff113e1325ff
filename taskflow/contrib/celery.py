"""Code that says ``import celery``, run by taskflow as it is.

::

    import taskflow.contrib.celery
    taskflow.contrib.celery.install()

    from celery import Celery, chain                 # these are ours
    from celery.schedules import crontab

The first two lines stand where a program begins: in the module that ``taskflow -A`` names, in
``conftest.py``. It is for the time of a move (docs/coming-from-celery.md); after it imports say
``taskflow``, and ``Taskflow`` for ``Celery``.

The other way round, `task` makes a step of a graph of a task that an existing application of Celery runs, on
its own workers, see `taskflow.contrib.foreign`; there Celery itself is imported, and `install` is not called.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from taskflow import __version__
from taskflow.app import Taskflow
from taskflow.app.current import current_or_default
from taskflow.contrib.foreign import CeleryTraceback, bridge, task
from taskflow.errors import ConfigError, nearest

__all__ = ["VERSION", "CeleryTraceback", "app_or_default", "bridge", "install", "task"]

VERSION = (5, 6, 0)
"""The version of Celery whose names are here; ``celery.__version__`` tells ours behind it."""


def app_or_default(app: Taskflow | None = None) -> Taskflow:
    """An application, or else the current one."""
    return current_or_default() if app is None else app


def _in(module: str, *names: str, **renamed: str) -> dict[str, str]:
    """Names of Celery's, and where each of them is."""
    return {name: f"{module}:{name}" for name in names} | {
        name: f"{module}:{ours}" for name, ours in renamed.items()
    }


_APP = _in("taskflow.app", "shared_task", "current_app", "current_task", "Task", Celery="Taskflow")
_CANVAS = _in(
    "taskflow.canvas",
    *("Signature", "chain", "chord", "chunks", "group", "maybe_signature", "signature", "xmap", "xstarmap"),
    subtask="signature",
)
_OURS = "taskflow.contrib.celery"
_SCHEDULES = _in("taskflow.schedules", "crontab", "schedule", "solar")
_UTILS = _in("taskflow.ids", uuid="new_id", gen_unique_id="new_id")
_STATES = (
    *("PENDING", "RECEIVED", "STARTED", "SUCCESS", "FAILURE", "REVOKED", "REJECTED", "RETRY", "IGNORED"),
    *("READY_STATES", "UNREADY_STATES", "EXCEPTION_STATES", "PROPAGATE_STATES"),
)

_NAMES: Mapping[str, str | Mapping[str, str]] = {
    "celery": {**_APP, **_CANVAS, **_UTILS, **_in(_OURS, "VERSION")},
    "celery.app": {**_APP, **_in(_OURS, "app_or_default")},
    "celery.app.base": _APP,
    "celery.app.control": _in("taskflow.steering", "Inspect", Control="AppControl"),
    "celery.app.task": _in("taskflow.app", "Task", Context="Request"),
    "celery.canvas": {**_CANVAS, **_in("taskflow.canvas", "StampingVisitor")},
    "celery.contrib": {},
    "celery.contrib.django": {},
    "celery.contrib.django.task": _in("taskflow.contrib.django", "DjangoTask"),
    "celery.exceptions": "taskflow.exceptions",
    "celery.result": "taskflow.result",
    "celery.schedules": {**_SCHEDULES, **_in("taskflow.schedules", maybe_schedule="as_schedule")},
    "celery.signals": "taskflow.signals",
    "celery.states": _in("taskflow.states", *_STATES),
    "celery.utils": _UTILS,
    "celery.utils.log": {**_in("taskflow.logs", "get_task_logger"), **_in("logging", get_logger="getLogger")},
}
"""What each module has: all of one of ours, or names and where they are."""


def install() -> None:
    """Let ``celery``, and its modules that programs import, be ours in this process.

    What is imported from them is found when it is asked for. A second call changes nothing.

    Raises:
        ConfigError: Celery itself has been imported here already.
    """
    there = sys.modules.get("celery")
    if isinstance(there, _Module):
        return
    if there is not None:
        raise ConfigError(
            f"Celery is imported here already, from {getattr(there, '__file__', None)}: call"
            " taskflow.contrib.celery.install() before anything imports it."
        )
    for name, having in _NAMES.items():
        module = sys.modules[name] = _Module(name, having)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    sys.modules["celery"].__version__ = f"5.6.0 (taskflow {__version__})"  # type: ignore[attr-defined]


class _Module(ModuleType):
    """A module of Celery's, with what is ours in it.

    Args:
        name: Its name.
        having: See `_NAMES`.
    """

    def __init__(self, name: str, having: str | Mapping[str, str]) -> None:
        super().__init__(name, f"{name}, as taskflow has it.")
        self.__spec__ = ModuleSpec(name, None, is_package=True)
        self.__path__: list[str] = []
        self._having = having

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return self.__dir__()
        if name.startswith("__"):
            raise AttributeError(name)
        names = self.__dir__()
        if name not in names:
            raise AttributeError(
                f"{self.__name__} has no {name!r} in taskflow.{nearest(name, names)}"
                " What takes the place of what is not there is in docs/coming-from-celery.md."
            )
        where = self._having if isinstance(self._having, str) else self._having[name]
        module, _, ours = where.partition(":")
        value = getattr(import_module(module), ours or name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        having = self._having
        return [*(import_module(having).__all__ if isinstance(having, str) else having)]
