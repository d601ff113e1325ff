"""Tasks of an existing Celery application, as steps of a graph: its workers run them, the store keeps it.

::

    from taskflow.contrib.celery import bridge, task

    resize = task("shop.images.resize", app="shop.celery:app")      # the code of the shop is left alone

    with bridge(client) as celery:
        sizes = celery.map(resize, photos, [120] * len(photos))
        wf = Workflow()
        small = wf.add(resize, "photo.png", 120).set(queue="celery")
        wf.add(lambda size: f"{size} bytes", small)              # a closure, on a worker of taskflow

Such a task is an ``async def`` function: it sends the call by its name, waits, and gives what came back. So
it takes no process while it waits, where coroutines are run many at once: `bridge` starts a worker that waits
for a thousand calls. On any other worker a call has a slot of its own for so long.

What is sent has an id that follows from the node, the item and the attempt. A worker of taskflow that takes
over from one that was killed finds the call that this one had sent, and does not send it again. A call that
no worker of Celery has any more, though the queue is empty, went down with one: the outcome is *lost*, and it
is sent anew within the deliveries of its policy.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from taskflow.canvas.decorator import Task
from taskflow.errors import ConfigError, Reject, Skip
from taskflow.links.celery import READY, SENT, Post, app_named, nowhere
from taskflow.pools.context import current, inside, report_state

if TYPE_CHECKING:
    from taskflow.client import Client

__all__ = ["QUEUE", "CeleryTraceback", "bridge", "task"]

QUEUE = "celery"
"""The queue of this store in which calls of Celery's tasks wait, unless they are told another."""

LOST_AFTER_S = 30.0
SEARCHES = 3
LEAST_S = 0.2
ANSWER_S = 2.0
SEARCHED_AT_ONCE = 200
_SPACE = uuid.UUID("2f8f0f4e-7d0c-5b0b-9d3e-6f0f5d5a4c11")
_LOST = "No worker of Celery has this task, and no queue: it went down with the worker that had it."

log = logging.getLogger(__name__)


class CeleryTraceback(Exception):
    """Where a task of Celery failed, as its worker told it: the cause of the exception that came with it."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}" if self.args else ""


def task(
    name: str,
    app: str,
    *,
    queue: str = QUEUE,
    send: Mapping[str, Any] | None = None,
    lost_after_s: float | None = LOST_AFTER_S,
    **options: Any,
) -> Task[..., Any]:
    """A task of an application of Celery, for everything that takes a task of taskflow: `Client.submit`,
    `Client.map`, `Workflow.add`, and by its signatures `chain`, `group` and `chord`.

    Results, failures with their type and traceback, and what it says of itself by `update_state` come from
    the result backend of the application. Retries that Celery makes are Celery's; ours come after them. A
    cancelled call is revoked there, and terminated where it runs.

    Args:
        name: Under which the workers of Celery know it: ``"shop.images.resize"``.
        app: The application, as ``celery -A`` finds it; it must be importable where workers of taskflow run.
            Nothing of it is changed, and the module of the task need not be there.
        queue: Where calls by its signatures wait in this store, see `bridge`.
        send: How it is sent, as `Celery.send_task` takes it: ``{"queue": "images", "time_limit": 30}``.
        lost_after_s: A call is lost when for so long no worker of Celery says that it has it, and nothing is
            queued there. `None` for workers that cannot answer while they work (``--pool solo``).
        options: How calls by its signatures are treated here: ``retry``, ``priority`` … Those by
            `Client.submit` have the options of the client, and steps of a workflow their own (`Node.set`).

    Raises:
        ConfigError: `app` or `send` cannot be meant; there is no such option.

    Example:
        >>> add = task("proj.tasks.add", "proj.celery:app", send={"queue": "math"}, retry=2)
        >>> add.s(2, 3)
        add(2, 3)
    """
    if not isinstance(app, str):
        raise ConfigError(
            f"app={app!r} cannot travel: name it as `celery -A` does, as in app='proj.celery:app'."
        )
    sent = dict(send or {})
    for word in ("task_id", "args", "kwargs", "retry"):
        if word in sent:
            raise ConfigError(f"send={{{word!r}: …}} is not possible: that is taskflow's to say.")
    return _Foreign(_Call(name, app, sent, lost_after_s), name=name, queue=queue, **options)


@contextmanager
def bridge(client: Client, *, at_once: int = 1000, queue: str = QUEUE) -> Iterator[Client]:
    """Inside of the ``with`` block, a worker process waits for calls of Celery's tasks, for many at once.

    ``taskflow worker URL --pool async -c 1000 -Q celery`` is the same as a service.

    Args:
        client: Whose store it serves.
        at_once: How many calls may be with Celery at a time.
        queue: In which queue of the store they wait.

    Yields:
        The same client, whose calls wait in that queue.
    """
    from taskflow.crew import Crew, Terms
    from taskflow.worker.queues import Queues

    crew = Crew.join(client.url, at_once, Terms(pool="async", queues=Queues.parse(queue)))
    crew.ensure()
    try:
        yield client.options(queue=queue)
    finally:
        crew.leave()


class _Foreign(Task[..., Any]):
    """A task that is looked up by nobody: its name may stand for several, sent in different ways."""

    @property
    def handle(self) -> Any:
        """The task itself."""
        return self


class _Call:
    """Sends a call and waits for what becomes of it."""

    def __init__(self, name: str, app: str, send: dict[str, Any], lost_after_s: float | None) -> None:
        self.__name__ = self.__qualname__ = name.rpartition(".")[2]
        self.__module__ = name.rpartition(".")[0]
        self._name, self._app, self._send, self._lost_after_s = name, app, send, lost_after_s

    def __reduce__(self) -> Any:
        return _Call, (self._name, self._app, self._send, self._lost_after_s)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the task gives.

        Raises:
            Exception: What it raised; its cause is the traceback of Celery's worker.
        """
        office = await asyncio.to_thread(Office.of, self._app)
        inbox = _Inbox()
        number = 0
        while True:
            id_ = _id(number)
            meta = await self._begun(office, id_)
            if meta is None or not _is_lost(meta):
                break
            number += 1  # the last that was sent went down with its worker
        office.follow(id_, inbox.put)
        if self._lost_after_s is not None:
            office.watch(id_, self._lost_after_s, self._name, self._send)
        try:
            if meta is None:
                office.post.send(id_, self._name, args, kwargs, marked=inside(), **self._send)
            elif meta["status"] in READY:
                return _settled(meta)
            while True:
                meta = await inbox.take()
                if meta["status"] in READY:
                    break
                _say(meta)
        except BaseException:
            office.post.tell(lambda: office.app.control.revoke(id_, terminate=True))
            raise
        finally:
            office.leave(id_)
        return _settled(meta)

    @staticmethod
    async def _begun(office: Office, id_: str) -> Mapping[str, Any] | None:
        """What is known of the call, if another worker may have sent it before."""
        if not inside() or current().delivery == 1:
            return None
        meta: Mapping[str, Any] = await asyncio.to_thread(office.app.backend.get_task_meta, id_, False)
        return None if meta["status"] == "PENDING" else meta


class _Inbox:
    """What is told of a call, in the event loop that waits for it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    def put(self, meta: Mapping[str, Any]) -> None:
        """Called in a thread of the post."""
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, meta)
        except RuntimeError:  # nobody waits any more
            log.debug("a result of Celery came too late")

    async def take(self) -> Mapping[str, Any]:
        """The next."""
        return await self._queue.get()


def _id(number: int) -> str:
    """The id of the call for the item that runs here, the same for each who runs this attempt of it."""
    if not inside():
        return str(uuid.uuid4())
    request = current()
    return str(uuid.uuid5(_SPACE, f"{request.id}/{request.index}/{request.attempt}/{number}"))


def _say(meta: Mapping[str, Any]) -> None:
    if meta["status"] not in (SENT, "STARTED", "RECEIVED"):
        report_state(meta["status"], meta["result"] if meta["status"] != "RETRY" else str(meta["result"]))


def _is_lost(meta: Mapping[str, Any]) -> bool:
    return type(meta["result"]).__name__ == "WorkerLostError"


def _settled(meta: Mapping[str, Any]) -> Any:
    """The result, or its exception."""
    status, result = meta["status"], meta["result"]
    if status == "SUCCESS":
        return result
    if status == "IGNORED":
        raise Skip("Celery's task was ignored.")
    if status == "REJECTED":
        raise Reject(str(result))
    if _is_lost(meta):
        raise Reject(str(result), requeue=True)
    if not isinstance(result, Exception):  # SystemExit of a task there is nobody's end here
        result = RuntimeError(f"{type(result).__name__}: {result}")
    text = meta.get("traceback")
    raise result from (CeleryTraceback(text) if text else None)


class Office:
    """What this process shares to reach one application.

    Args:
        name: The application.
    """

    _all: dict[str, Office] = {}  # noqa: RUF012 - of the process
    _lock = threading.Lock()

    def __init__(self, name: str) -> None:
        self.app = app_named(name)
        self.post = Post(self.app)
        self._seen: dict[str, _Seen] = {}
        self._sooner = threading.Event()
        atexit.register(self.post.close)
        threading.Thread(target=self._search, name="taskflow-celery-search", daemon=True).start()

    @classmethod
    def of(cls, name: str) -> Office:
        """That of an application.

        Raises:
            ConfigError: See `app_named`.
        """
        with cls._lock:
            if name not in cls._all:
                cls._all[name] = cls(name)
            return cls._all[name]

    def follow(self, id_: str, hear: Callable[[Mapping[str, Any]], object]) -> None:
        """See `Post.follow`."""
        self.post.follow(id_, hear)

    def watch(self, id_: str, lost_after_s: float, name: str, send: Mapping[str, Any]) -> None:
        """Look for a call now and then, from now on: it was sent."""
        route = self.app.amqp.router.route(dict(send), name)
        queue = getattr(route.get("queue"), "name", None) or route.get("routing_key") or ""
        if all(lost_after_s < seen.lost_after_s for seen in [*self._seen.values()]):
            self._sooner.set()
        self._seen[id_] = _Seen(lost_after_s, queue)

    def leave(self, id_: str) -> None:
        """See `Post.leave`."""
        self._seen.pop(id_, None)
        self.post.leave(id_)

    def _search(self) -> None:
        """Look for calls of which nothing was heard for a while."""
        while True:
            pause_s = min((seen.lost_after_s for seen in [*self._seen.values()]), default=LOST_AFTER_S)
            if self._sooner.wait(max(LEAST_S, pause_s / SEARCHES)):
                self._sooner.clear()
                continue
            try:
                self._search_once()
            except Exception as error:  # noqa: BLE001 - of the transport; the next time it may be there
                log.debug("Celery was not asked what it runs: %s", error)
                self._saw(list(self._seen))

    def _search_once(self) -> None:
        """Find calls that have been nowhere for long enough."""
        waiting = [id_ for id_ in [*self._seen] if not self.post.is_unsent(id_)]
        for at in range(0, len(waiting), SEARCHED_AT_ONCE):
            part = waiting[at : at + SEARCHED_AT_ONCE]
            queues = {seen.queue for id_ in part if (seen := self._seen.get(id_)) is not None}
            missing, _ = nowhere(self.app, part, queues, wait_s=ANSWER_S)
            self._saw(set(part) - missing)
            for id_ in missing:
                seen = self._seen.get(id_)
                if seen is not None and time.monotonic() - seen.at > seen.lost_after_s:
                    self._give_up(id_)

    def _saw(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            if id_ in self._seen:
                self._seen[id_].at = time.monotonic()

    def _give_up(self, id_: str) -> None:
        """Say that a call is lost, where Celery itself would have said so."""
        from billiard.exceptions import WorkerLostError

        backend = self.app.backend
        if backend.get_task_meta(id_, False)["status"] not in READY:
            backend.store_result(id_, WorkerLostError(_LOST), "FAILURE")
        self._seen.pop(id_, None)
        self.post.heard({**backend.get_task_meta(id_, False), "task_id": id_})


class _Seen:
    """When a call was known to be somewhere, and in which queue it was put."""

    def __init__(self, lost_after_s: float, queue: str) -> None:
        self.lost_after_s, self.queue = lost_after_s, queue
        self.at = time.monotonic()
