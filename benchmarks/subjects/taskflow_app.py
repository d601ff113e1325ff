"""taskflow by its Celery face: tasks of an application, on Redis, run by a worker that was started for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from benchmarks.consumers import Consumers
from benchmarks.subjects.celery import Celery


class TaskflowApp(Celery):
    """The same program as for Celery, by another import."""

    library = "taskflow"
    title = "taskflow, `@app.task`"
    packages: ClassVar[tuple[str, ...]] = ("jupyter-taskflow", "cloudpickle", "redis")
    is_rival = False
    notes = "`delay`, `group` and `chord` of a `Taskflow` application, its worker started by command"
    parts: ClassVar[Mapping[str, float]] = {}

    def start(self) -> None:
        """See `Subject`."""
        from benchmarks.apps.taskflow import TASKS, app

        self._tasks = TASKS
        self._app = app
        self._consumers = Consumers()
        self._consumers.start(
            *("taskflow", "-A", "benchmarks.apps.taskflow", "--quiet", "worker"),
            *("-P", "prefork", "-c", str(self.workers), "-l", "error"),
        )

    def stop(self) -> None:
        """See `Subject`."""
        self._app.close()
        self._consumers.stop()


SUBJECT = TaskflowApp
