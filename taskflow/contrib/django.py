"""Django: set up before a task of it runs, and tasks that are sent when the transaction is committed.

It is at work wherever ``DJANGO_SETTINGS_MODULE`` is set: nothing has to be called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import django
from django.apps import apps
from django.db import close_old_connections, transaction

from taskflow import signals
from taskflow.app.task import Task
from taskflow.pools import context

if TYPE_CHECKING:
    from taskflow.app.application import Taskflow

__all__ = ["DjangoTask", "arrive", "install", "packages"]

P = ParamSpec("P")
R = TypeVar("R")


class DjangoTask(Task[P, R], Generic[P, R]):
    """A task of a Django project."""

    def delay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Send a call when the transaction is committed, at once where there is none; never when it is not.

        What the task looks for in the database is there by then.
        """
        transaction.on_commit(partial(self.delay, *args, **kwargs))

    def apply_async_on_commit(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """The same with options, as `Task.apply_async` takes them."""
        transaction.on_commit(partial(self.apply_async, args, kwargs, **options))


def install(app: Taskflow) -> None:
    """Let tasks of an application be those of Django, unless it has a class of its own."""
    if app._task_cls is None:
        app._task_cls = DjangoTask


def arrive(app: Taskflow) -> None:
    """Set up Django in a process that runs tasks, and look after its connections."""
    if not apps.ready:
        django.setup()
    app.finalize()
    signals.task_prerun.connect(_look_after_connections, dispatch_uid="taskflow.django")
    signals.task_postrun.connect(_look_after_connections, dispatch_uid="taskflow.django")


def packages() -> list[str]:
    """The installed applications, which may have a module of tasks."""
    if not apps.ready:
        django.setup()
    return [config.name for config in apps.get_app_configs()]


def _look_after_connections(sender: Any = None, **_: Any) -> None:
    """Close connections that are too old, as Django does around requests."""
    task = context.current() if context.inside() else None
    if task is not None and not task.url.startswith("memory:"):
        close_old_connections()
