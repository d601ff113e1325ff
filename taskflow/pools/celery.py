"""Runs calls on a fleet of Celery that is already there: ``--pool celery://proj.celery:app``.

::

    ClusterPool ── send ──► Post ── broker ──► a process of a worker of Celery: taskflow.contrib.fleet
        ◄── Mailbox ◄── states and results ◄── result backend ◄───────────────┘
        ◄── slots ◄──── heartbeats, and what workers say when they are asked

The workers have to know one task: ``celery -A proj worker -I taskflow.contrib.fleet``. Others of the same
application may use them too: what those run is taken from the slots.

What Celery keeps of our promises depends on its pool. With ``prefork`` (its default) a call is interrupted by
a signal, ended by force by ``revoke(terminate=True)``, and a process that dies is told of within two seconds.
A worker that dies as a whole takes its messages with it: Celery says nothing of them, so they are looked for.
When no worker and no queue has one, it is lost; that takes about seven seconds. With ``threads`` and others
nothing can be ended by force.

Messages are text (base64 in JSON), so that no worker has to accept pickles, of us or of anyone.
"""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from taskflow.errors import ConfigError, nearest
from taskflow.links.celery import READY, Post, app_named, is_there, nowhere
from taskflow.pools import guest
from taskflow.pools.cluster import ClusterPool
from taskflow.pools.engine import Mailbox, Packet
from taskflow.pools.promises import PROMISES

if TYPE_CHECKING:
    from taskflow.ports import Blobs, Promises

__all__ = ["ASKED", "CANCEL", "RUN", "SAID", "VERSIONS", "Fleet", "open_pool"]

RUN, SAID, VERSIONS, CANCEL = "taskflow.run", "TASKFLOW", "taskflow_versions", "taskflow_cancel"
"""The task, the state in which it speaks, and the commands of `taskflow.contrib.fleet`."""
ASKED = "asked"
"""What the last of these answers where the message runs."""

LOOK_S = 1.0
STATS_S = 10.0
ANSWER_S = 2.0
FIRST_ANSWER_S = 0.5
FIRST_S = 2.0
SILENT_S = 4.0
BEATS_MISSED = 2.5
LIMIT_MARGIN_S = 5.0
ROUNDS = 2

log = logging.getLogger(__name__)


def open_pool(
    url: str, *, terms: guest.Terms, blobs: Callable[[], Blobs], most: int | None = None, grace_s: float = 5.0
) -> ClusterPool:
    """The pool of the fleet that serves an application.

    Args:
        url: The application as ``celery -A`` finds it, ``proj.celery:app``, with ``celery://`` before it or
            not. ``?queue=NAME`` behind it: where messages are put, and whose workers count; by default that
            in which the application puts a task that it does not know.
        terms: See `ClusterPool`.
        blobs: See there.
        most: Use no more slots than this.
        grace_s: What a cancelled task gets.

    Raises:
        MissingExtra: Celery is not installed.
        ConfigError: The broker cannot be reached, or workers cannot run our calls; the message is the cure.
    """
    logging.getLogger("celery.backends").setLevel(logging.CRITICAL)  # what is away is told by us, once
    name, _, query = url.removeprefix("celery://").partition("?")
    options = dict(parse_qsl(query))
    queue = options.pop("queue", "")
    for other in options:
        raise ConfigError(
            f"{url}: there is no option {other!r}.{nearest(other, ['queue'])} There is ?queue=NAME."
        )
    app = app_named(name)
    return ClusterPool(
        lambda mailbox: Fleet(app, mailbox, queue=queue), terms, blobs, most=most, grace_s=grace_s
    )


class _Worker:
    """A worker of Celery, as far as it is known."""

    def __init__(self, now: float) -> None:
        self.seen_at, self.freq_s = now, 2.0
        self.slots = 0
        self.is_prefork = True
        self.others = self._others_before = 0
        self.wrong = ""

    def saw(self, others: int) -> None:
        """So many processes are busy for others: twice in succession, for messages come and go meanwhile."""
        others = max(0, others)
        self.others, self._others_before = min(others, self._others_before), others


class _Flight:
    """A message that was sent."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.host: str | None = None
        self.heard_at = time.monotonic()
        self.missed = 0


class Fleet:
    """The workers of an application that serve a queue; see `taskflow.pools.engine.Engine`.

    Args:
        app: The application.
        mailbox: Told what is heard.
        queue: See `open_pool`.

    Raises:
        ConfigError: See `open_pool`.
    """

    kind = "celery"
    message_s = 0.1
    """So much work is in one message of quick calls: Celery takes a few milliseconds for each."""

    def __init__(self, app: Any, mailbox: Mailbox, *, queue: str = "") -> None:
        self.app, self._mailbox = app, mailbox
        self.queue = queue or app.amqp.router.route({}, RUN)["queue"].name
        if why := is_there(app):
            uri = app.connection_for_read().as_uri()
            raise ConfigError(f"The broker of Celery cannot be reached ({why}): {uri}. Is it started?")
        self._post = Post(app)
        if self._post.polls:
            raise ConfigError(
                f"The results of this application are in {app.backend.as_uri()}, which tells nobody of them:"
                " set its result_backend to redis://… or rpc://."
            )
        self._workers: dict[str, _Worker] = {}
        self._new: set[str] = set()
        self._others: set[str] = set()
        self._flights: dict[str, _Flight] = {}
        self._gone = ""
        self._receiver: Any = None
        self._ended = threading.Event()
        self._hurry = threading.Event()
        self._ask(self._served())
        if wrong := [worker.wrong for worker in self._workers.values() if worker.wrong]:
            raise ConfigError(wrong[0])
        if not self._workers:
            log.warning(
                "no worker of Celery serves the queue %s yet: nothing is claimed until one does."
                " Start it with -I taskflow.contrib.fleet",
                self.queue,
                extra={"action": "wait"},
            )
        for target in (self._hear_events, self._look):
            threading.Thread(target=target, name=f"taskflow-celery{target.__name__}", daemon=True).start()

    # ── the port ────────────────────────────────────────────────────────────────────

    @property
    def promises(self) -> Promises:
        """Those of prefork workers, or of threads when there are other workers too."""
        workers = [*self._workers.values()]
        return PROMISES["celery"] if all(w.is_prefork for w in workers) else PROMISES["dask"]

    def slots(self) -> int:
        """The processes of all workers, without what others have them do; 0 while the broker is away."""
        workers = [*self._workers.values()]
        if self._gone or any(worker.wrong for worker in workers):
            return 0
        return sum(max(0, worker.slots - worker.others) for worker in workers)

    def send(self, packet: Packet, /) -> None:
        """Put a message into the queue."""
        id_ = _id(packet.number)
        self._flights[id_] = _Flight(packet.number)
        options: dict[str, Any] = {"queue": self.queue, "ignore_result": False}
        if packet.limits[1] is not None:  # for what cannot end itself any more
            options["time_limit"] = packet.limits[1] + LIMIT_MARGIN_S
        self._post.follow(id_, self._hear)
        self._post.send(id_, RUN, [base64.b64encode(packet.message).decode()], **options)

    def cancel(self, number: int, /, *, force: bool) -> None:
        """Drop a message that no worker has begun; else ask its task to end, or kill its process."""
        id_ = _id(number)
        flight = self._flights.get(id_)
        if flight is None:
            return
        if force:
            self._kill(id_)
            if flight.host is None:
                self._forget(id_)
                self._mailbox.dropped(number)
        else:
            self._post.tell(lambda: self._interrupt(id_, number))

    def _kill(self, id_: str) -> None:
        self._post.tell(lambda: self.app.control.revoke(id_, terminate=True, signal="SIGKILL"))

    def _interrupt(self, id_: str, number: int) -> None:
        """Have no worker begin a message any more, and ask that which runs it; in the thread that sends."""
        control, hosts = self.app.control, [*self._workers]
        control.revoke(id_)
        answers = control.broadcast(
            CANCEL, destination=hosts, arguments={"number": number, "task_id": id_},
            reply=True, timeout=ANSWER_S, limit=len(hosts),
        )  # fmt: skip
        said = [told.get("ok") for answer in answers or () for told in answer.values()]
        if len(said) == len(hosts) and ASKED not in said and id_ in self._flights:
            self._forget(id_)
            self._mailbox.dropped(number)

    def close(self) -> None:
        """Listen no more; the workers go on with what they have of others."""
        self._ended.set()
        if self._receiver is not None:
            self._receiver.should_stop = True
        self._hurry.set()
        self._post.close()

    # ── messages ────────────────────────────────────────────────────────────────────

    def _hear(self, meta: Mapping[str, Any]) -> None:
        """What is told of a message; in a thread of the post."""
        id_, status, result = meta["task_id"], meta["status"], meta["result"]
        flight = self._flights.get(id_)
        if flight is None:
            return
        flight.heard_at, flight.missed = time.monotonic(), 0
        if status == SAID:
            self._mailbox.said(base64.b64decode(result))
        elif status == "STARTED":
            flight.host = result.get("hostname") if isinstance(result, dict) else None
        elif status in READY:
            self._forget(id_)
            self._post.tell(lambda: self.app.backend.forget(id_))
            self._end(flight.number, status, result)

    def _end(self, number: int, status: str, result: Any) -> None:
        if status == "SUCCESS":
            self._mailbox.answer(number, base64.b64decode(result))
        elif status == "REVOKED":
            self._mailbox.dropped(number)
        elif type(result).__name__ == "NotRegistered":
            self._mailbox.lost(number, f"A worker of Celery does not know {RUN}.", began=False)
        else:
            self._mailbox.lost(number, f"Celery says: {type(result).__name__}: {result}")

    def _forget(self, id_: str) -> None:
        self._flights.pop(id_, None)
        self._post.leave(id_)

    # ── workers ─────────────────────────────────────────────────────────────────────

    def _hear_events(self) -> None:
        """Heartbeats of workers, which they send without being asked; and whether there is a broker."""
        while not self._ended.is_set():
            try:
                with self.app.connection_for_read() as connection:
                    connection.ensure_connection(max_retries=1, timeout=ANSWER_S)
                    beats = ("worker-online", "worker-heartbeat", "worker-offline")
                    receiver = self.app.events.Receiver(connection, handlers=dict.fromkeys(beats, self._beat))
                    self._receiver = receiver
                    self._away("")
                    receiver.capture(limit=None, timeout=None, wakeup=False)
            except Exception as error:  # noqa: BLE001 - each transport has errors of its own
                self._away(f"{type(error).__name__}: {error}")
                self._ended.wait(LOOK_S / 2)

    def _away(self, why: str) -> None:
        if bool(why) == bool(self._gone):
            return
        self._gone = why
        if why:
            log.warning("the broker of Celery is away: %s. Nothing is claimed until it is back", why,
                        extra={"action": "away"})  # fmt: skip
        else:
            now = time.monotonic()
            for worker in [*self._workers.values()]:
                worker.seen_at = now
            log.warning("the broker of Celery is back", extra={"action": "back"})
        self._mailbox.changed()

    def _beat(self, event: Mapping[str, Any]) -> None:
        host, now = event["hostname"], time.monotonic()
        worker = self._workers.get(host)
        if worker is None:
            if event["type"] != "worker-offline" and host not in self._others:
                self._new.add(host)
                self._hurry.set()
        elif event["type"] == "worker-offline":
            self._drop(host, "it was stopped")
        else:
            worker.seen_at, worker.freq_s = now, float(event.get("freq") or worker.freq_s)
            mine = [flight.host for flight in [*self._flights.values()]]
            worker.saw(int(event.get("active") or 0) - mine.count(host) - mine.count(None))

    def _drop(self, host: str, why: str) -> None:
        worker = self._workers.pop(host, None)
        if worker is not None:
            log.warning("worker %s of Celery is gone: %s", host, why, extra={"action": "gone"})
            self._mailbox.changed()

    def _look(self) -> None:
        """Ask workers what they are, and look for messages of which nothing is heard."""
        asked_at = time.monotonic()
        while not self._ended.is_set():
            self._hurry.wait(LOOK_S)
            self._hurry.clear()
            if self._gone or self._ended.is_set():
                continue
            try:
                if self._new:
                    new, self._new = self._new, set()
                    with self._inspect(sorted(new)) as workers:
                        self._ask(workers.active_queues() or {})
                elif time.monotonic() - asked_at > STATS_S:
                    with self._inspect(timeout=FIRST_ANSWER_S) as workers:
                        self._ask(workers.active_queues() or {})
                    asked_at = time.monotonic()
                self._find_silent()
                self._find_lost()
            except Exception as error:  # noqa: BLE001 - of the transport: events tell when it is away
                log.debug("workers of Celery cannot be asked: %s", error)

    def _served(self) -> dict[str, Any]:
        """The workers of the application, with their queues; who answers later is found by heartbeats."""
        end = time.monotonic() + FIRST_S
        while True:
            with self._inspect(timeout=FIRST_ANSWER_S) as workers:
                found: dict[str, Any] = workers.active_queues() or {}
            if found or time.monotonic() > end:
                return found

    def _ask(self, served: Mapping[str, Any]) -> None:
        """Which workers serve the queue, with how many processes, and whether our calls can run there.

        Args:
            served: Workers, with their queues.
        """
        hosts = [host for host, queues in served.items() if any(q["name"] == self.queue for q in queues)]
        self._others |= set(served) - set(hosts)
        if not hosts:
            return
        with self._inspect(hosts) as workers:
            stats, tasks = workers.stats() or {}, workers.registered() or {}
        knowing = [host for host in hosts if RUN in tasks.get(host, ())]
        told = self._versions(knowing)
        for host in hosts:
            if host not in stats or host not in tasks or (host in knowing and host not in told):
                continue
            worker = self._workers.get(host) or _Worker(time.monotonic())
            pool = stats[host].get("pool", {})
            worker.slots = int(pool.get("max-concurrency") or 1)
            worker.is_prefork = "prefork" in str(pool.get("implementation", ""))
            wrong = _wrong(host, told.get(host))
            if wrong and wrong != worker.wrong and self._workers:
                log.error("%s Nothing is claimed while it is there.", wrong, extra={"action": "refuse"})
            worker.wrong = wrong
            self._workers[host] = worker
        self._mailbox.changed()

    @contextmanager
    def _inspect(self, hosts: Sequence[str] | None = None, timeout: float = ANSWER_S) -> Iterator[Any]:
        """Asks workers by a connection of its own: one that Celery keeps may be older than the broker."""
        with self.app.connection_for_write() as connection:
            yield self.app.control.inspect(
                hosts, timeout=timeout, limit=None if hosts is None else len(hosts), connection=connection
            )

    def _versions(self, hosts: list[str]) -> dict[str, Mapping[str, str]]:
        if not hosts:
            return {}
        with self.app.connection_for_write() as connection:
            answers = self.app.control.broadcast(
                VERSIONS,
                destination=hosts,
                reply=True,
                timeout=ANSWER_S,
                limit=len(hosts),
                connection=connection,
            )
        return {host: told for answer in answers or () for host, told in answer.items()}

    def _find_silent(self) -> None:
        """Workers whose heart does not beat, and that do not answer."""
        now = time.monotonic()
        silent = [h for h, w in [*self._workers.items()] if now - w.seen_at > BEATS_MISSED * w.freq_s]
        if not silent:
            return
        with self._inspect(silent) as workers:
            answers = workers.ping() or {}
        for host in silent:
            if host not in answers:
                self._drop(host, "its heart does not beat, and it does not answer")
            elif host in self._workers:
                self._workers[host].seen_at = time.monotonic()

    def _find_lost(self) -> None:
        """Messages that no worker and no queue has: they went down with a worker."""
        now = time.monotonic()
        quiet = [
            id_
            for id_, flight in [*self._flights.items()]
            if not self._post.is_unsent(id_)
            and (now - flight.heard_at > SILENT_S or flight.host not in (None, *self._workers))
        ]
        if not quiet:
            return
        missing, answered = nowhere(self.app, quiet, [self.queue], wait_s=ANSWER_S, hosts=[*self._workers])
        if not set(self._workers) <= answered:
            return  # who has it may be busy
        for id_ in quiet:
            flight = self._flights.get(id_)
            if flight is None:
                continue
            flight.missed = flight.missed + 1 if id_ in missing else 0
            if id_ not in missing:
                flight.heard_at = time.monotonic()
            elif flight.missed >= ROUNDS:
                self._settle_missing(id_, flight)

    def _settle_missing(self, id_: str, flight: _Flight) -> None:
        meta = self.app.backend.get_task_meta(id_, False)
        if meta["status"] in READY:  # it had ended, and nobody told us
            self._hear({**meta, "task_id": id_})
            return
        self._forget(id_)
        where = f"worker {flight.host} of Celery" if flight.host else "a worker of Celery"
        why = f"It went down with {where}: no worker and no queue has it."
        self._mailbox.lost(flight.number, why, began=flight.host is not None)


def _id(number: int) -> str:
    return f"taskflow-{number:x}"


def _wrong(host: str, told: Mapping[str, str] | None) -> str:
    """Why calls of ours cannot run on a worker; empty when they can."""
    if told is None:
        return (
            f"Worker {host} of Celery does not know the task {RUN}: start it with -I taskflow.contrib.fleet"
            " (or add that to the `include` of the application)."
        )
    if "error" in told:
        return f"Worker {host} of Celery cannot run calls of taskflow: {told['error']}"
    here = guest.versions()
    there = guest.Versions(told.get("python", ""), told.get("taskflow", ""), told.get("key", ""))
    if there.python != here.python:
        return (
            f"Worker {host} of Celery runs on Python {there.python}, and this is {here.python}: functions"
            " travel as bytecode, so both have to be the same."
        )
    if there.taskflow != here.taskflow:
        return (
            f"Worker {host} of Celery has taskflow {there.taskflow}, and this is {here.taskflow}: install the"
            " same."
        )
    if there.key != here.key:
        return (
            f"Worker {host} of Celery has the key {there.key}, and here is {here.key}: give it this one"
            " (`taskflow key export` here, TASKFLOW_KEY there)."
        )
    return ""
