"""The way to a fleet of Celery: its application, calls by name, and what comes back of them.

::

    caller ── Post.send ──► thread that sends ── broker ──► workers of Celery
    hear(meta) ◄── thread that hears ◄──────── result backend ◄──┘

Nobody who calls waits for a server: what is to be sent waits in a line, in this process, while the broker is
away. A *meta* is what Celery keeps of a task: ``status``, ``result``, ``traceback``, ``task_id``.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from taskflow.errors import ConfigError, MissingExtra

__all__ = ["READY", "SENT", "Post", "app_named", "is_there", "nowhere"]

READY = frozenset({"SUCCESS", "FAILURE", "REVOKED", "REJECTED", "IGNORED"})
"""States of Celery after which a task says nothing more."""

SENT = "SENT"
"""What is known of a task from the moment in which it is sent: that it need not be sent again."""

LOOK_S = 1.0
AGAIN_S = 0.5
ASK_S = 1.0
_NOT_FOUND = "404"

log = logging.getLogger(__name__)


def app_named(name: str) -> Any:
    """The application of Celery that is meant, as ``celery -A`` finds it: ``"proj"``, ``"proj.celery:app"``.

    Raises:
        MissingExtra: Celery is not installed; the message is the command that installs it.
        ConfigError: There is no such application, or it keeps no results, or ``celery`` is taskflow's here.
    """
    there = sys.modules.get("celery")
    if there is not None and not hasattr(there, "__file__"):
        raise ConfigError(
            "`celery` is taskflow's in this process, by taskflow.contrib.celery.install(): Celery itself is"
            " reached from a process that has not called that."
        )
    try:
        from celery import Celery
        from celery.app.utils import find_app
    except ImportError as error:
        raise MissingExtra("Celery is not installed here: pip install 'jupyter-taskflow[celery]'") from error
    try:
        app = find_app(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"There is no application of Celery in {name!r} here ({error}): name it as `celery -A` does,"
            " in a folder from which it can be imported, as in proj.celery:app."
        ) from error
    if not isinstance(app, Celery):
        raise ConfigError(f"{name!r} is a {type(app).__name__}, and no application of Celery.")
    if type(app.backend).__name__ == "DisabledBackend":
        raise ConfigError(
            f"The application {name!r} keeps no results: set its result_backend, to"
            " redis://… best, which tells of them as they come."
        )
    return app


def is_there(app: Any) -> str:
    """Why the broker of an application cannot be reached; empty when it can."""
    try:
        with app.connection_for_write(connect_timeout=ASK_S * 3) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=ASK_S * 3)
    except Exception as error:  # noqa: BLE001 - each transport has errors of its own
        return f"{type(error).__name__}: {error}"
    return ""


def nowhere(
    app: Any, ids: Collection[str], queues: Iterable[str], *, wait_s: float, hosts: Sequence[str] = ()
) -> tuple[set[str], set[str]]:
    """Which of some tasks no worker has, while nothing waits in the queues; and which workers have answered.

    The queues are looked at first: a message goes from there to a worker, and not back.

    Args:
        app: The application.
        ids: Of the tasks.
        queues: In which they were put.
        wait_s: How long to wait for answers.
        hosts: Who is asked, and waited for no longer than until they have answered; everyone by default.
    """
    if _queued(app, queues):
        return set(), set()
    inspect = app.control.inspect(list(hosts) or None, timeout=wait_s, limit=len(hosts) or None)
    answers = inspect.query_task(*ids) or {}
    if not answers:  # nobody works, and so nobody knows
        return set(), set()
    return set(ids) - {id_ for answer in answers.values() for id_ in answer}, set(answers)


def _queued(app: Any, queues: Iterable[str]) -> int:
    """How many messages wait in some queues."""
    from amqp.exceptions import ChannelError

    count = 0
    with app.connection_for_read() as connection:
        for queue in queues:
            try:
                count += connection.default_channel.queue_declare(queue, passive=True).message_count
            except ChannelError as error:  # an empty queue is none, to some transports
                if str(error.reply_code) != _NOT_FOUND:
                    raise
    return count


class _Letter(NamedTuple):
    """A call that is to be sent."""

    id: str
    name: str
    args: list[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    marked: bool


class Post:
    """Sends calls to the workers of an application, and hears what becomes of them.

    Results of Redis and of RabbitMQ (``rpc://``) are told as they come, those of other backends are looked
    for, once a second. It has two threads, from the first call on.

    Args:
        app: The application.
        away: Told why, when the broker cannot be reached, and ``""`` when it can again; in a thread of this
            object.

    Raises:
        ConfigError: See `app_named`.
    """

    def __init__(self, app: Any, away: Callable[[str], object] = lambda _: None) -> None:
        self.app = app
        self._away = away
        self._backend = app.backend
        self._consumer: Any = getattr(self._backend, "result_consumer", None)
        self._line: queue.SimpleQueue[_Letter | Callable[[], object] | None] = queue.SimpleQueue()
        self._hears: dict[str, Callable[[Mapping[str, Any]], object]] = {}
        self._kept: dict[str, Any] = {}
        self._unsent: set[str] = set()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()

    @property
    def polls(self) -> bool:
        """Whether nobody tells of results, so that they are looked for."""
        return self._consumer is None

    # ── for those who call ──────────────────────────────────────────────────────────

    def follow(self, id: str, hear: Callable[[Mapping[str, Any]], object]) -> None:  # noqa: A002 - Celery's
        """Have what becomes of a task told, from now on, in a thread of this object: each meta, the last of
        which is in a state of `READY`."""
        self._hears[id] = hear
        self._start()
        if self._consumer is not None:
            self._line.put(lambda: self._consumer.consume_from(id))

    def send(
        self,
        id: str,  # noqa: A002
        name: str,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        marked: bool = False,
        **options: Any,
    ) -> None:
        """Send a call when its turn comes; what cannot be sent is told as a failure.

        Args:
            id: Of the task.
            name: Of what is called.
            args: With what.
            kwargs: And with what by name.
            marked: Have the state `SENT` stand in the backend before it is sent.
            options: As `Celery.send_task` takes them: ``queue``, ``time_limit``, ``priority`` …
        """
        self._start()
        self._unsent.add(id)
        self._line.put(_Letter(id, name, list(args), dict(kwargs or {}), options, marked))

    def tell(self, what: Callable[[], object]) -> None:
        """Have something asked of the broker when its turn comes, until that succeeds: `control.revoke`."""
        self._start()
        self._line.put(what)

    def leave(self, id: str) -> None:  # noqa: A002 - Celery's
        """Hear no more of a task."""
        if self._hears.pop(id, None) is not None and self._consumer is not None:
            self._consumer.cancel_for(id)
        self._kept.pop(id, None)

    def heard(self, meta: Mapping[str, Any]) -> None:
        """Tell who follows a task what is known of it."""
        hear = self._hears.get(meta.get("task_id", ""))  # one that is pending has none
        if hear is None:
            return
        if meta["status"] in READY:
            self._hears.pop(meta["task_id"], None)
            self._kept.pop(meta["task_id"], None)
        hear(meta)

    def is_unsent(self, id: str) -> bool:  # noqa: A002 - Celery's
        """Whether a call still waits for the broker."""
        return id in self._unsent

    def close(self, *, wait_s: float = 2.0) -> None:
        """Send what is in the line, for so long at most, and end the threads."""
        self._line.put(None)
        for thread in self._threads[:1]:
            thread.join(wait_s)
        self._ended.set()

    # ── threads ─────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        with self._starting:
            if self._threads or self._ended.is_set():
                return
            hearing = self._look if self._consumer is None else self._listen
            self._threads = [
                threading.Thread(target=target, name=f"taskflow-celery-{name}", daemon=True)
                for name, target in (("sends", self._send), ("hears", hearing))
            ]
            for thread in self._threads:
                thread.start()

    def _send(self) -> None:
        while (one := self._line.get()) is not None:
            away = False
            while not self._ended.is_set():
                try:
                    self._send_one(one)
                except self._unreachable() as error:
                    self._away(f"{type(error).__name__}: {error}")
                    away = True
                    self._ended.wait(AGAIN_S)
                except Exception as error:
                    if isinstance(one, _Letter):
                        self.heard({"task_id": one.id, "status": "FAILURE", "result": error})
                    else:
                        log.exception("the fleet of Celery was not told")
                    break
                else:
                    break
            if isinstance(one, _Letter):
                self._unsent.discard(one.id)
            if away:
                self._away("")

    def _send_one(self, one: _Letter | Callable[[], object]) -> None:
        if not isinstance(one, _Letter):
            one()
            return
        if one.marked:
            self._backend.store_result(one.id, None, SENT)
        # The handle that it gives would, when it is collected, cancel what we listen to.
        self._kept[one.id] = self.app.send_task(
            one.name, one.args, one.kwargs, task_id=one.id, retry=False, **one.options
        )
        if one.id not in self._hears:
            self._kept.pop(one.id, None)

    def _unreachable(self) -> tuple[type[BaseException], ...]:
        """Errors that pass when a server is back."""
        from celery.exceptions import BackendStoreError
        from kombu.exceptions import OperationalError

        errors = {OperationalError, BackendStoreError, ConnectionError, TimeoutError}
        with suppress(Exception):
            errors.update(self.app.connection_for_write().connection_errors)
        with suppress(Exception):
            errors.update(self._backend.connection_errors)
        return tuple(errors)

    def _listen(self) -> None:
        """Hear what the backend tells of."""
        consumer = self._consumer
        before = consumer.on_message  # the consumer is the application's, and another may listen too

        def hear(meta: Mapping[str, Any]) -> None:
            if before is not None:
                before(meta)
            self.heard(meta)

        consumer.on_message = hear
        consumer.consume_from(f"taskflow-{id(self)}-{time.time_ns()}")  # so that it always listens
        while not self._ended.is_set():
            try:
                consumer.drain_events(timeout=LOOK_S)
            except TimeoutError:
                continue
            except Exception as error:  # noqa: BLE001 - each backend has errors of its own
                log.debug("results of Celery cannot be heard: %s", error)
                self._ended.wait(AGAIN_S)
                again = getattr(consumer, "_reconnect_pubsub", None)
                with suppress(Exception):
                    if again is not None:
                        again()

    def _look(self) -> None:
        """Look for results where nobody tells of them."""
        seen: dict[str, Any] = {}
        while not self._ended.wait(LOOK_S):
            for one in list(self._hears):
                try:
                    meta = self._backend.get_task_meta(one, cache=False)
                except Exception as error:  # noqa: BLE001 - as above
                    log.debug("results of Celery cannot be read: %s", error)
                    break
                told = (meta["status"], repr(meta.get("result")))
                if seen.get(one) != told and meta["status"] != "PENDING":
                    seen[one] = told
                    self.heard({**meta, "task_id": one})
                if meta["status"] in READY:
                    seen.pop(one, None)
