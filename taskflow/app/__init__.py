"""The Celery face: an application declares tasks, then sends them.

::

    from taskflow import Taskflow

    app = Taskflow("shop", broker="redis://localhost:6379/0")

    @app.task
    def add(x, y):
        return x + y

    add.delay(4, 6).get(timeout=10)          # a worker runs it: taskflow -A shop worker
"""

from __future__ import annotations

from taskflow.app.application import Taskflow
from taskflow.app.current import current_app, current_task
from taskflow.app.finding import find_app
from taskflow.app.request import Request
from taskflow.app.shared import shared_task
from taskflow.app.task import Task

__all__ = ["App", "Request", "Task", "Taskflow", "current_app", "current_task", "find_app", "shared_task"]

App = Taskflow
