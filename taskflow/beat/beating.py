"""`Beat`: sends what is due, and sleeps until the next tick or until a schedule is changed."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from taskflow import signals
from taskflow.beat.book import Book, Done
from taskflow.beat.entry import Entry, Ran
from taskflow.beat.schedules import Home, Schedules
from taskflow.beat.template import Template
from taskflow.beat.wanted import Wanted
from taskflow.errors import (
    ConfigError,
    MissingExtra,
    StoreError,
    StoreUnavailable,
    TaskflowError,
    UnknownNode,
)
from taskflow.ports import Bell

__all__ = ["Beat"]

log = logging.getLogger(__name__)

LOOK_S = 5.0
AGAIN_S = 1.0
KEPT_S = 600.0


class Client(Protocol):
    """What has schedules."""

    @property
    def schedules(self) -> Schedules:
        """They."""
        ...


class App(Protocol):
    """An application with schedules in its configuration."""

    main: str

    def client(self) -> Client:
        """The client of its store."""
        ...

    def scheduled(self) -> Mapping[str, Wanted]:
        """The schedules of its configuration, and those that its code has added."""
        ...


class Beat:
    """Sends what is due of the schedules of a store; any number of beats may do so at once.

    None of them is the leader. A tick becomes a run whose id follows from the schedule and the instant, so
    that it is there once, whoever sends it; and what was sent is noted in the store.

    Args:
        client: Whose schedules.
        wanted: The entries of a configuration, see `entries_from`: they are put into the store when the beat
            begins, and those that have left the configuration are removed.
        origin: Names the configuration.
        max_interval: Look again after so many seconds at most, though nobody has rung.
        clock: Seconds since the epoch; the clock of the store by default.

    Example:
        ``with Beat(client): ...`` sends in a thread, as long as the block lasts.
    """

    def __init__(
        self,
        client: Client,
        wanted: Mapping[str, Wanted] | None = None,
        *,
        origin: str = "configuration",
        max_interval: float = LOOK_S,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._schedules = client.schedules
        self._home: Home = self._schedules.home
        self._book = Book(self._home.store, self._home.codec.keyring)
        self._wanted, self._origin = wanted, origin
        self._max_interval, self._clock = max_interval, clock or self._home.store.now
        self._stopped = threading.Event()
        self._quiet, self._loud = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread: threading.Thread | None = None
        self._refused = False
        self._said: set[tuple[str, str]] = set()
        self._kept: dict[str, float] = {}
        self._known: dict[str, tuple[Entry, str | None, datetime | None]] = {}

    @classmethod
    def of(cls, app: App, *, client: Client | None = None, max_interval: float = LOOK_S) -> Beat:
        """The beat of an application: with the schedules of its configuration.

        Args:
            app: The application.
            client: Instead of its own.
            max_interval: See `Beat`.
        """
        here = client or app.client()
        return cls(here, app.scheduled(), origin=f"app {app.main}", max_interval=max_interval)

    # ── living ───────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Send what is due until `stop` is called; while the store is away, wait for it."""
        signals.beat_init.send(sender=self)
        self._run()

    def start(self) -> Beat:
        """Do so in a thread of this process, which does not keep it alive."""
        if self._thread is None:
            signals.beat_init.send(sender=self)
            signals.beat_embedded_init.send(sender=self)
            self._thread = threading.Thread(target=self._run, name="taskflow-beat", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End, when what is being sent is sent; may be called from a signal handler."""
        self._stopped.set()
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._loud, b"!")

    def close(self) -> None:
        """Stop, wait for the thread, and let go of everything."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for fd in (self._quiet, self._loud):
            with contextlib.suppress(OSError):
                os.close(fd)

    def __enter__(self) -> Beat:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        bell: Bell | None = None
        merged = self._wanted is None
        try:
            while not self._stopped.is_set() and self._home.is_open():
                try:
                    bell = bell or self._home.store.listen("posted")
                    bell.hush()
                    if not merged and self._wanted is not None:
                        self._schedules.merge(self._wanted, self._origin)
                        merged = True
                    rest_s = self.turn()
                except StoreError as error:
                    log.warning("the store is asked again: %s", error, extra={"action": "wait"})
                    rest_s = AGAIN_S
                except TaskflowError as error:
                    self._say("", error)
                    rest_s = self._max_interval
                except Exception:
                    if self._home.is_open():
                        raise
                    return  # the client was closed meanwhile
                self._sleep(bell, rest_s)
        finally:
            if bell is not None:
                bell.close()

    def _sleep(self, bell: Bell | None, rest_s: float) -> None:
        if self._stopped.is_set():
            return
        watched = [self._quiet] if bell is None else [self._quiet, bell.fileno()]
        select.select(watched, [], [], max(0.0, rest_s))

    # ── a turn ───────────────────────────────────────────────────────────────────────

    def turn(self) -> float:
        """Send what is due now.

        Returns:
            Seconds until something may be due, `max_interval` at most.

        Raises:
            StoreError: The store is away, or full: what is due is sent with a later turn.
            Untrusted: Somebody without the key has written the schedules.
        """
        entries, ran = self._renewed(), self._book.ran()
        now = datetime.fromtimestamp(self._clock(), UTC)
        self._refused = False
        done: list[Done] = []
        try:
            for entry in entries:
                what = self._sent(entry, ran.get(entry.uid, Ran()), now)
                done += [what] if what is not None else []
        finally:
            if done:
                self._book.settle(done)
        rest_s = 0.0 if done else self._rest_s(entries, ran)
        return max(rest_s, AGAIN_S) if self._refused else rest_s

    def _renewed(self) -> list[Entry]:
        """The entries, sealed with the key that signs now: one that was replaced is not known for ever."""
        entries = self._book.entries()
        key = self._home.codec.keyring.kid.hex()
        if any(entry.template.key != key for entry in entries.values()):
            entries = self._schedules.renew()
        return list(entries.values())

    def _sent(self, entry: Entry, ran: Ran, now: datetime) -> Done | None:
        """Send what is due of an entry; up to where that went well."""
        until, sent, run, tails = None, [], "", ran.tails
        try:
            following = self._following(entry, ran)
            due = entry.due(ran.last_at, now) if following is not None and following <= now else None
            if due is None:
                return None
            if due.ticks:
                self._keep(entry.template)
            else:
                until = due.until
            for tick in due.ticks:
                if self._submit(entry, tick, tails):
                    sent.append(tick)
                    run = entry.run_at(tick)
                    tails = tuple(entry.template.tails(entry.run_at(tick)))
                until = tick
        except StoreUnavailable:
            raise
        except TaskflowError as error:
            self._refused = True
            self._say(entry.name, error)
        return Done(entry.uid, until, tuple(sent), run, tails) if until is not None else None

    def _keep(self, template: Template) -> None:
        """See that the store has what the nodes need; what was found stays for an hour."""
        now = time.monotonic()
        if any(now >= self._kept.get(name, 0.0) for name in template.blobs):
            template.keep(self._home.codec.blobs)
            self._kept.update(dict.fromkeys(template.blobs, now + KEPT_S))

    def _submit(self, entry: Entry, tick: datetime, tails: tuple[str, ...]) -> bool:
        """Whether it became a run: not so, when the one before has not ended and it is not to overlap."""
        run = entry.run_at(tick)
        lock = f"schedule/{entry.uid}" if entry.overlap == "skip" else None
        tags, hold_s = {"schedule": entry.name}, entry.hold_s(tick)
        after = tails if entry.overlap == "queue" else ()
        plan = entry.template.plan(run, tags=tags, delay_s=hold_s, after=after, lock=lock)
        try:
            holder = self._home.send(plan)
        except UnknownNode:  # the run before was forgotten: it has ended
            holder = self._home.send(entry.template.plan(run, tags=tags, delay_s=hold_s, lock=lock))
        told: dict[str, Any] = {"action": "tick", "schedule": entry.name, "run": run}
        if holder is not None:
            log.info("%s is left out at %s: run %s goes on", entry.name, tick, holder, extra=told)
        else:
            log.info("%s at %s is run %s", entry.name, tick, run, extra=told)
        return holder is None

    def _rest_s(self, entries: list[Entry], ran: Mapping[str, Ran]) -> float:
        now = datetime.fromtimestamp(self._clock(), UTC)
        rest_s = self._max_interval
        for entry in entries:
            with contextlib.suppress(ConfigError, MissingExtra):  # told of when it was looked at
                following = self._following(entry, ran.get(entry.uid, Ran()))
                if following is not None:
                    rest_s = min(rest_s, (following - now).total_seconds())
        return max(0.0, rest_s)

    def _following(self, entry: Entry, ran: Ran) -> datetime | None:
        """The tick after the last one, in UTC; looked for once."""
        known = self._known.get(entry.uid)
        if known is not None and known[0] is entry and known[1] == ran.last:
            return known[2]
        last = ran.last_at
        found = entry.next_after(max(last, entry.after) if last is not None else entry.after)
        following = found.astimezone(UTC) if found is not None else None
        self._known[entry.uid] = (entry, ran.last, following)
        return following

    def _say(self, name: str, error: TaskflowError) -> None:
        """Once for each thing that is wrong, not with each turn."""
        if (name, str(error)) not in self._said:
            self._said.add((name, str(error)))
            log.error("%s cannot be sent: %s", name or "what is due", error, extra={"action": "refuse"})
