"""Tasks by name: what lets a signature be JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from taskflow.errors import ConfigError, nearest

__all__ = ["resolve", "tasks"]

tasks: dict[str, Any] = {}
"""Every `Task` of this process by its name; the newest definition of a name counts."""


elsewhere: Callable[[str], Any] | None = None
"""Makes what is sent for a name that is not known here; `None` where only what is known can be sent."""


def resolve(task: Any) -> tuple[Callable[..., Any], Mapping[str, Any]]:
    """The function to send for the `task` of a signature, and the options it was declared with.

    Raises:
        ConfigError: No task has that name here (the nearest is named), or it cannot be called.
    """
    if isinstance(task, str):
        if task not in tasks and elsewhere is not None:
            tasks_elsewhere = elsewhere(task)
            return tasks_elsewhere, tasks_elsewhere.options
        if task not in tasks:
            raise ConfigError(
                f"There is no task {task!r} in this process.{nearest(task, tasks)}"
                " Import the module that defines it first."
            )
        task = tasks[task]
    if not callable(task):
        raise ConfigError(f"{task!r} is not a task: use a function, a @task or the name of one.")
    return getattr(task, "target", task), getattr(task, "options", {})
