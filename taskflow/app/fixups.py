"""What an application does for the framework it lives in: Django is set up before a task of it runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskflow.app.application import Taskflow

__all__ = ["arrive", "import_found", "install", "packages"]

_arrived: set[int] = set()


def install(app: Taskflow) -> None:
    """Look after the framework that an application is made in."""
    fixup = _fixup()
    if fixup is not None:
        fixup.install(app)


def arrive(app: Taskflow) -> None:
    """Be ready to run tasks, in a process that was not the application's own; once."""
    if id(app) in _arrived:
        return
    _arrived.add(id(app))
    fixup = _fixup()
    if fixup is not None:
        fixup.arrive(app)


def packages() -> Iterable[str]:
    """The packages of the framework that may hold tasks."""
    fixup = _fixup()
    return fixup.packages() if fixup is not None else ()


def import_found(modules: Iterable[str]) -> None:
    """Import those of some modules that are there; what is wrong inside of one is raised."""
    for module in modules:
        package = module.rpartition(".")[0]
        if package:
            import_module(package)
        if find_spec(module) is not None:
            import_module(module)


def _fixup() -> Any:
    if "DJANGO_SETTINGS_MODULE" not in os.environ or find_spec("django") is None:
        return None
    return import_module("taskflow.contrib.django")
