"""Which tasks a worker runs for those who have no key: all is looked up when it starts, nothing later."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import Any

from taskflow.canvas.registry import tasks
from taskflow.canvas.sheet import node_options
from taskflow.codec import Loaded
from taskflow.codec.functions import working_directory
from taskflow.errors import ConfigError, nearest
from taskflow.policy import Options

__all__ = ["allowed", "check_patterns", "of_this_process"]

_PATTERN = re.compile(r"[A-Za-z_][\w\-]*(\.[\w\-*]+)*", re.ASCII)


def check_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """The same patterns.

    Raises:
        ConfigError: One is no name with stars in it, or does not begin with a word, or there is none.
    """
    found = tuple(patterns)
    if not found:
        raise ConfigError("Name the tasks that may be called: --allow 'shop.tasks.*'.")
    for pattern in found:
        if not _PATTERN.fullmatch(pattern):
            raise ConfigError(
                f"--allow {pattern!r} does not name tasks: it begins with a word, and a star stands for"
                " anything but a dot, as in 'shop.tasks.*'."
            )
    return found


def allowed(patterns: Iterable[str]) -> dict[str, Loaded]:
    """The tasks whose names fit a pattern, after the modules that the patterns name have been imported.

    Only what ``@taskflow.task`` has registered counts: no other function of a module can be named.

    Args:
        patterns: Names in which a star stands for anything but a dot.

    Raises:
        ConfigError: Nothing fits one of them.
    """
    table: dict[str, Loaded] = {}
    for pattern in check_patterns(patterns):
        missing = _import_for(pattern)
        fits = re.compile(re.escape(pattern).replace(r"\*", r"[^.]*"), re.ASCII)
        found = {name: _entry(task) for name, task in tasks.items() if fits.fullmatch(name)}
        if not found:
            raise ConfigError(_nothing(pattern, missing))
        table |= found
    return table


def of_this_process(name: str) -> Loaded | None:
    """The entry of any task of this process: for calls that are run where they are made."""
    return _entry(tasks[name]) if name in tasks else None


def _import_for(pattern: str) -> str:
    """Import the module that the words before the first star name, or the one around them; gives what is
    missing."""
    words = pattern.split(".")
    plain = next((at for at, word in enumerate(words) if "*" in word), len(words) - 1)
    module = ".".join(words[:plain])
    try:
        if module:
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        return error.name
    return ""


def _nothing(pattern: str, missing: str) -> str:
    if missing:
        return (
            f"--allow {pattern}: there is no module {missing!r} here. Is its directory on PYTHONPATH? Tasks"
            " with names of their own need --preload with the module that defines them."
        )
    return (
        f"--allow {pattern}: no task has such a name.{nearest(pattern, tasks)} Only functions with"
        " @taskflow.task can be called by name."
    )


def _entry(task: Any) -> Loaded:
    options = node_options(task.options, Options())
    return Loaded(task, options.retries, task.name, working_directory(), options.judge)
