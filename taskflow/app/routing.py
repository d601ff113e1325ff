"""Where the calls of an application wait (`Router`), and how those of one task are sent (`Way`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taskflow import signals
from taskflow.canvas.arity import Arity
from taskflow.settings import Settings, route

if TYPE_CHECKING:
    from taskflow.app.sending import Sending
    from taskflow.app.task import Task
    from taskflow.client import Client
    from taskflow.result import AsyncResult
    from taskflow.sending import Sender

__all__ = ["Router", "Way"]


class Way:
    """How calls of a task are sent while neither the settings nor the client change.

    Args:
        task: The task.
        app: Who sends them.
        client: Where to.

    Attributes:
        app: Who sends them.
        client: Where to.
    """

    __slots__ = ("_arity", "_is_short", "_revision", "_sender", "_traced", "app", "client")

    def __init__(self, task: Task[..., Any], app: Sending, client: Client) -> None:
        options = dict(task.options)
        checked = options.pop("typing", True)
        self.app, self.client = app, client
        self._revision = app.conf.version
        self._is_short = not app.is_eager and app.router.is_static and task.idempotency_key is None
        self._arity = Arity(task.traced) if checked else None
        self._sender: Sender = client._sender.having(**options)
        self._traced = task.traced

    def holds(self, app: Sending, client: Client) -> bool:
        """Whether it leads from there to here, and the settings are as they were."""
        return self.app is app and self.client is client and self._revision == app.conf.version

    @property
    def is_short(self) -> bool:
        """Whether a call needs no look at it: only the task decides about it, and nobody hears of it."""
        return self._is_short and not signals.before_task_publish.has_listeners()

    def send(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncResult:
        """Send a call that needs no look at it.

        Raises:
            WrongArguments: The task does not take these arguments.
        """
        if self._arity is not None:
            self._arity.check(args, kwargs)
        return self._sender.sent(self._traced, args, kwargs)


class Router:
    """Says the queue and the priority of calls.

    Args:
        conf: The settings.
    """

    def __init__(self, conf: Settings) -> None:
        self._conf = conf
        self._known: dict[str, dict[str, Any]] = {}
        self._revision = -1

    @property
    def is_static(self) -> bool:
        """Whether the name of a task decides, and not its arguments."""
        return not _has_functions(self._conf.task_routes)

    def static(self, name: str) -> dict[str, Any]:
        """What the name of a task decides; nothing where its arguments are needed."""
        if not self.is_static:
            return {}
        if self._revision != self._conf.version:
            self._known, self._revision = {}, self._conf.version
        if name not in self._known:
            self._known[name] = dict(route(self._conf, name, (), {}, {}))
        return self._known[name]

    def of(
        self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What is decided of one call, apart from what its options say."""
        if self.is_static and "routing_key" not in options and self._conf.task_create_missing_queues:
            return {} if "queue" in options else self.static(name)
        return dict(route(self._conf, name, args, kwargs, options))


def _has_functions(routes: Any) -> bool:
    if routes is None or isinstance(routes, Mapping):
        return False
    if isinstance(routes, (list, tuple)):
        return any(map(_has_functions, routes))
    return True
