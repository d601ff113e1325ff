"""The current application and the current task, for those that name none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskflow import hooks
from taskflow.app.registry import elsewhere
from taskflow.app.request import running
from taskflow.canvas import registry

if TYPE_CHECKING:
    from taskflow.app.application import Taskflow
    from taskflow.app.task import Task

__all__ = ["choose", "current_app", "current_or_default", "current_task", "task"]

make: Callable[[], Taskflow]
"""Makes the application of those who never made one; the room of applications says how."""


def choose(app: Taskflow | None) -> None:
    """Make an application the one of those that name none."""
    hooks.app = app
    registry.elsewhere = None if app is None else elsewhere


def current_or_default() -> Taskflow:
    """The current application; the first call makes one when there is none."""
    if hooks.app is None:
        choose(make())  # noqa: F821 - given by taskflow.app.application
    found: Taskflow = hooks.app
    return found


def task() -> Task[..., Any] | None:
    """The task that runs here, if one does."""
    request = running.get()
    return request.task if request is not None else None


class _Proxy:
    """Stands for an object that is found when it is used."""

    def __init__(self, find: Callable[[], Any], what: str) -> None:
        object.__setattr__(self, "_find", find)
        object.__setattr__(self, "_what", what)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._find(), name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._find()(*args, **kwargs)

    def __bool__(self) -> bool:
        return self._find() is not None

    def __eq__(self, other: object) -> bool:
        return bool(self._find() == (other._find() if isinstance(other, _Proxy) else other))

    def __hash__(self) -> int:
        return hash(self._find())

    def __repr__(self) -> str:
        return f"<{self._what}: {self._find()!r}>"


current_app: Any = _Proxy(current_or_default, "current app")
"""The current application."""
current_task: Any = _Proxy(task, "current task")
"""The task that runs here; false where none does."""
