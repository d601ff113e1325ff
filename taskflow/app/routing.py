"""Where the calls of an application wait (`Router`), and how those of one task are sent (`Way`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taskflow.canvas.arity import Arity
from taskflow.settings import Settings, route

if TYPE_CHECKING:
    from taskflow.app.task import Task
    from taskflow.client import Client
    from taskflow.sending import Sender

__all__ = ["Router", "Way"]


class Way:
    """How calls of a task are sent while neither the settings nor the client change.

    Args:
        task: The task.
        client: Where to.

    Attributes:
        is_short: Its calls need no look at each: nothing decides about them but the task.
        arity: What it can be called with; `None` when that is not looked at.
        sender: Sends them, with the options of the task.
    """

    __slots__ = ("_client", "_conf", "_revision", "arity", "is_short", "sender")

    def __init__(self, task: Task[..., Any], client: Client) -> None:
        app, options = task.app, dict(task.options)
        checked = options.pop("typing", True)
        self._client, self._conf, self._revision = client, app.conf, app.conf.version
        self.is_short = not app.is_eager and app.router.is_static and task.idempotency_key is None
        self.arity = Arity(task.traced) if checked else None
        self.sender: Sender = client._sender.having(**options)

    def holds_for(self, client: Client) -> bool:
        """Whether nothing has changed."""
        return self._client is client and self._revision == self._conf.version


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
