"""`Tasks`: the tasks of an application by their names, and those that only workers know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from taskflow.canvas import registry
from taskflow.errors import NotRegistered, Reject, nearest

if TYPE_CHECKING:
    from taskflow.app.application import Taskflow
    from taskflow.app.task import Task

__all__ = ["Elsewhere", "Tasks", "elsewhere"]


class Elsewhere:
    """A task that is not known here: the worker looks for its name.

    Args:
        name: The name.
    """

    takes_headers = True

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def __label__(self) -> str:
        """What a person reads."""
        return self.name

    @property
    def options(self) -> dict[str, Any]:
        """What is known of its calls: nothing but the name."""
        return {"label": self.name}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the task of that name; where there is none, the call becomes a dead letter.

        Raises:
            Reject: No task has that name here.
        """
        found = registry.tasks.get(self.name)
        if found is None:
            raise Reject(
                f"No task has the name {self.name!r} on this worker.{nearest(self.name, registry.tasks)}"
                " It is kept as a dead letter: start a worker with the application that has it (taskflow -A …"
                " worker), then `taskflow retry`."
            )
        return found.target(*args, **kwargs)

    def __captured__(self) -> tuple[Any, ...]:
        return (self.name,)

    def __repr__(self) -> str:
        return f"<task {self.name}, known to workers>"


def elsewhere(name: str) -> Elsewhere:
    """What is sent for a name that is not known here; always the same."""
    return _elsewhere.setdefault(name, Elsewhere(name))


_elsewhere: dict[str, Elsewhere] = {}


class Tasks(Mapping[str, "Task[..., Any]"]):
    """The tasks of an application, and those that belong to whatever application is current, by name.

    Args:
        app: The application.
    """

    def __init__(self, app: Taskflow) -> None:
        self._app = app

    def register(self, task: Task[..., Any]) -> None:
        """Take in a task under its name."""
        registry.tasks[task.name] = task

    def unregister(self, name: str | Task[..., Any]) -> None:
        """Forget a task.

        Raises:
            NotRegistered: It is not here.
        """
        name = name if isinstance(name, str) else name.name
        _ = self[name]
        del registry.tasks[name]

    def __getitem__(self, name: str) -> Task[..., Any]:
        found = registry.tasks.get(name)
        if found is None or not self._has(found):
            raise NotRegistered(f"There is no task {name!r}.{nearest(name, self)}")
        task: Task[..., Any] = found
        return task

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, task in registry.tasks.items() if self._has(task)])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _has(self, task: Any) -> bool:
        return getattr(task, "_app", self) in (self._app, None)  # a @taskflow.task has none at all

    def __repr__(self) -> str:
        return f"<tasks {', '.join(sorted(self))}>"
