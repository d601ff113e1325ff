"""`Sending`: what an application sends, and where to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from taskflow import canvas, signals
from taskflow.app.keeping import Keeping
from taskflow.app.registry import Tasks, elsewhere
from taskflow.app.routing import Router, Way
from taskflow.app.task import AnyTask
from taskflow.ids import new_id
from taskflow.pools import context
from taskflow.settings import Settings, queues

if TYPE_CHECKING:
    from taskflow import result
    from taskflow.client import Client
    from taskflow.result import AsyncResult as Result

__all__ = ["Sending"]


class Sending:
    """The part of an application that sends.

    Args:
        conf: Its settings.

    Attributes:
        conf: Its settings.
        tasks: Its tasks, by name.
        router: Says where their calls wait.
        keeping: Puts results beside the store, where a setting wants it.
    """

    tasks: Tasks

    def __init__(self, conf: Settings) -> None:
        self.conf = conf
        self.router = Router(conf)
        self.keeping = Keeping(conf)
        self._client: Client | None = None

    def client(self) -> Client:
        """The client of its store; of one without a broker, that of the process (`taskflow.get_client`).

        Inside a task it is one for the store that the task came from.
        """
        client = self._client
        is_open = client is not None and not client._engine.closed and client._engine.pid == os.getpid()
        if client is not None and is_open and context.place() is None:
            return client
        from taskflow.client import get_client

        if context.inside():
            return get_client()
        if not is_open:
            client = self._client = self._own_client()
        return client or get_client()

    def _own_client(self) -> Client | None:
        """For its broker, or with workers for its queues; `None` where the client of the process will do."""
        from taskflow.client import Client

        url, served = self.conf.broker_url, queues(self.conf)
        if not url and served == ("default",):
            return None
        client = Client(url, workers=0) if url else Client(queues=served)
        engine = client._engine
        engine.app, engine.keeper = self, self.keeping.keeper
        engine.header_errbacks = bool(self.conf.task_allow_error_cb_on_chord_header)
        return client

    @property
    def backend(self) -> Any:
        """Where results are put besides the store; `None` when nowhere."""
        return self.keeping.keeper

    @property
    def is_eager(self) -> bool:
        """Whether calls are run at once, in the thread that sends them."""
        return bool(self.conf.task_always_eager)

    @property
    def is_eager_loud(self) -> bool:
        """Whether what they raise is raised where they are sent."""
        return bool(self.conf.task_eager_propagates)

    def send(
        self,
        task: AnyTask,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any],
        client: Any = None,
    ) -> Result:
        """Send one call of a task; what `Task.delay` and `Task.apply_async` do."""
        client = self.client() if client is None else client
        way = task._way
        if way is None or not way.holds(self, client):
            way = task._way = Way(task, self, client)
        if options or not way.is_short:
            return self._send_apart(task, args, kwargs, options, client)
        return way.send(args, kwargs)

    def _send_apart(
        self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any], client: Any
    ) -> Result:
        named = options.pop("idempotency_key", getattr(task, "idempotency_key", None))
        key = options.pop("key", None)
        if named is not None:
            named = named(*args, **kwargs) if callable(named) else named
            options["idempotency_key"] = f"{task.name}:{named}"
        options = {**self.router.of(task.name, args, kwargs, options), **options}
        options.setdefault("task_id", new_id())
        if self.is_eager:
            here: Result = canvas.Signature(task, args, kwargs, options).apply(throw=self.is_eager_loud)
            return here
        sig = canvas.Signature(task, args, kwargs).set(**options)
        client = client or self.client()
        self._tell(signals.before_task_publish, task, sig)
        sent: Result = (client.options(key=key) if key else client).submit_canvas(sig)
        self._tell(signals.after_task_publish, task, sig)
        return sent

    def _tell(self, signal: signals.Signal, task: Any, sig: canvas.Signature) -> None:
        if not signal.has_listeners():
            return
        headers = {"id": sig.id, "task": task.name, **(sig.options.get("headers") or {})}
        body: Any = (sig.args, sig.kwargs, {})
        queue = sig.options.get("queue", task.options.get("queue", "default"))
        told: dict[str, Any] = {"exchange": "", "routing_key": queue, "headers": headers, "body": body}
        if signal is signals.before_task_publish:
            told |= {"declare": [], "retry_policy": None, "properties": {"correlation_id": sig.id}}
        signal.send(task.name, **told)

    def send_task(
        self,
        name: str,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Result:
        """Send a call of a task by its name; it need not be known here, the worker looks it up.

        Args:
            name: The name.
            args: Positional arguments.
            kwargs: Keyword arguments.
            options: As for `Task.apply_async`.
        """
        known = self.tasks.get(name)
        if known is not None:
            sent: Result = known.apply_async(args, kwargs, **options)
            return sent
        return self._send_apart(elsewhere(name), tuple(args or ()), dict(kwargs or {}), options, None)

    def signature(
        self, name: Any, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> canvas.Signature:
        """A signature of a task by its name; it need not be known here."""
        return canvas.signature(name, args, kwargs, **options)

    def AsyncResult(self, id: str, **_: Any) -> Result:  # noqa: A002, N802 - Celery's names
        """The result of a task by its id; see `taskflow.AsyncResult`."""
        from taskflow.result import AsyncResult

        return AsyncResult(id, app=self)

    def GroupResult(self, id: str, results: Any = None, **_: Any) -> result.GroupResult:  # noqa: A002, N802
        """The result of a group by its id; see `taskflow.GroupResult`."""
        from taskflow.result import GroupResult

        return GroupResult(id, app=self)

    def ResultSet(self, results: Iterable[Result] = (), **_: Any) -> result.ResultSet:  # noqa: N802
        """Several results as one; see `taskflow.ResultSet`."""
        from taskflow.result import ResultSet

        return ResultSet(results)

    def close(self) -> None:
        """Close its client, if it has one of its own; it opens again when something is sent."""
        client, self._client = self._client, None
        if client is not None:
            client.shutdown()
