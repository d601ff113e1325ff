"""One watcher for all handles of a client: reads what happened, tells who waits for it.

The feed is level-triggered. A bell says that there may be events; the events after the cursor say
what happened; and where the log of events was cut, the state itself is read again. A lost bell costs
at most `POLL_S`, never a hang. Nor does a store that has forgotten what is waited for: it is asked for its
epoch now and then, and those whose runs it knows no more are told.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from taskflow.errors import NoSuchRun, ResultExpired, RunLost, StoreError
from taskflow.ids import NodeId
from taskflow.ports import Bell, WatchPort
from taskflow.records import Event, Heard, Plan, Segment
from taskflow.states import TERMINAL

__all__ = ["Feed", "Listener", "run_lost"]

log = logging.getLogger(__name__)

POLL_S = 1.0
BATCH = 5000
LEAD_S = 0.05
"""Who waits alone reads the bell for so long by himself, and then leaves it to the thread."""
PARK_S = 0.01
"""The thread leaves the bell to such waits as long as there are some at least this often."""


class Listener(Protocol):
    """Who waits for a node."""

    wants_values: bool

    def happened(self, event: Event, /) -> None:
        """An event of the node."""
        ...

    def ended(self, segments: Sequence[Segment], /) -> None:
        """What has ended of the node; told only to those that want values."""
        ...

    def caught_up(self, known: Sequence[Segment], /) -> None:
        """All that has ended by now was told; some of the outcomes need not be read."""
        ...

    def look(self) -> None:
        """Read the state itself: events may have been missed."""
        ...

    def lost(self, error: StoreError, /) -> None:
        """The store knows it no more: nothing will be heard of it."""
        ...

    def stop(self, *, running: bool) -> None:
        """Cancel what is waited for; or, without `running`, what of it has not started."""
        ...


class Feed:
    """Tells listeners what happens to their nodes.

    Args:
        store: What to watch.
        listen: Makes a bell; without one the feed has no thread, and `pump` moves it.
        tick: Called every `POLL_S` in which nothing happened while something is waited for.
        forgot: Called when the store may have forgotten what it had acknowledged, before anybody is told.
    """

    def __init__(
        self,
        store: WatchPort,
        listen: Callable[[], Bell] | None,
        tick: Callable[[], None] = lambda: None,
        forgot: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._listen = listen
        self._tick = tick
        self._forgot = forgot
        self._listeners: dict[NodeId, tuple[Listener, ...]] = {}
        self._listening = threading.Lock()
        self._lock = threading.RLock()
        self._idling: list[threading.Event] = []
        self._thread: threading.Thread | None = None
        self._wake_read, self._wake_write = os.pipe()
        self._ending = threading.Event()
        self._pid = os.getpid()
        self._bell: Bell | None = None
        self._ringing, self._waking = select.poll(), select.poll()
        self._waking.register(self._wake_read, select.POLLIN)
        self._reading = threading.Lock()  # who has it reads the bell: the thread does, unless it stands back
        self._reading.acquire()
        self._leads, self._is_asked, self._is_broken_off = 0, False, False
        self._is_told_all = False  # whether the bell says what has happened
        self._unsent: set[NodeId] = set()
        self._doubted: set[NodeId] = set()
        self._epoch = store.epoch()
        self._ask_at = 0.0
        newest = store.events(-1)
        self._cursor = newest[0].cursor if newest else 0

    @property
    def pending(self) -> int:
        """How many nodes are waited for."""
        return len(self._listeners)

    def watch(self, node: NodeId, listener: Listener) -> None:
        """Tell a listener of all that happens to a node (or to a run as a whole) from now on.

        Call it before the submit, and `sent` after it; or use `catch_up`.
        """
        self._unsent.add(node)
        self._add(node, listener)

    def sent(self, plans: Iterable[Plan]) -> None:
        """The store has acknowledged these."""
        unsent = self._unsent
        for plan in plans:
            if unsent:
                unsent.discard(NodeId(plan.run))
                for node in plan.nodes:
                    unsent.discard(node.id)

    def _add(self, node: NodeId, listener: Listener) -> None:
        with self._listening:
            self._listeners[node] = (*self._listeners.get(node, ()), listener)
        if self._thread is None and self._listen is not None:
            self._start()

    def unwatch(self, node: NodeId, listener: Listener) -> None:
        """Stop telling a listener."""
        with self._listening:
            left = tuple(one for one in self._listeners.get(node, ()) if one is not listener)
            if left:
                self._listeners[node] = left
            else:
                self._listeners.pop(node, None)
                self._unsent.discard(node)
                if not self._listeners:
                    for idle in list(self._idling):
                        idle.set()

    def wait_idle(self, timeout_s: float) -> bool:
        """Whether nothing is waited for, after so long at most."""
        idle = threading.Event()
        with self._listening:
            if not self._listeners:
                return True
            self._idling.append(idle)
        try:
            return idle.wait(timeout_s)
        finally:
            self._idling.remove(idle)

    def cancel_all(self, *, running: bool = True) -> None:
        """Cancel everything that is waited for; or, without `running`, what has not started."""
        for listener in self._all():
            listener.stop(running=running)

    def catch_up(self, node: NodeId, listener: Listener) -> None:
        """Watch a node that may have begun, or ended, long ago.

        Raises:
            RunLost: The store does not know it any more.
        """
        self._add(node, listener)
        try:
            with self._lock:
                listener.look()
        except NoSuchRun as error:
            self.unwatch(node, listener)
            raise run_lost(error) from error

    def pump(self, heard: Heard = Heard()) -> int:  # noqa: B008 - it cannot be changed
        """Read and tell what happened; how many events that were, `BATCH` when there may be more.

        Args:
            heard: What the bell said of it, which then need not be read.
        """
        with self._lock:
            if self._is_all(heard):
                self._is_told_all = True
                events = [event for event in heard.events if event.cursor > self._cursor]
                self._tell(events, heard.values)
                self._cursor = max(self._cursor, heard.events[-1].cursor)
                return len(events)
            try:
                events = self._store.events(self._cursor, limit=BATCH)
            except ResultExpired:
                self._read_again()
                return BATCH
            if events:
                # The cursor moves last: when the store cannot be read meanwhile, everything is told again.
                self._tell(events)
                self._cursor = events[-1].cursor
            return len(events)

    def lead(
        self, node: NodeId, listener: Listener, done: Callable[[], bool], timeout_s: float | None = None
    ) -> None:
        """Read the bell in this thread for a moment: for one who waits alone, and need not be woken then.

        The thread of the feed lets him when it has seen that there are such waits, and goes on whenever
        nobody reads. So this may return at any time, and whoever calls it goes on waiting for `done`.

        Args:
            node: What is waited for.
            listener: Who waits for it. When others wait too, they have the thread.
            done: Whether the wait is over.
            timeout_s: How long to wait at most, if that is less than `LEAD_S`.
        """
        if not self._is_alone(node, listener):
            return
        if not self._reading.acquire(blocking=False):
            self._is_asked = True
            return
        self._is_broken_off = True
        try:
            self._leads += 1
            until = time.monotonic() + (LEAD_S if timeout_s is None else min(timeout_s, LEAD_S))
            while not done() and self._is_alone(node, listener) and self._rings(until - time.monotonic()):
                if not self._pump_quickly():
                    return
            self._is_broken_off = False
        except Exception:
            log.debug("what a wait could not read is left to the feed", exc_info=True)
        finally:
            if self._listeners:
                self._wake()
            self._reading.release()

    def _pump_quickly(self) -> bool:
        """Tell what the bell says; `False` when it says too little, though mostly it says all.

        To ask a server may take longer than who reads here has time.
        """
        heard = self._bell.hush() if self._bell is not None else Heard()
        if self._is_told_all and not self._is_all(heard):
            return False
        while self.pump(heard) >= BATCH:
            heard = Heard()
        return True

    def _is_all(self, heard: Heard) -> bool:
        """Whether the store need not be read."""
        return bool(heard.events) and heard.after <= self._cursor

    def _is_alone(self, node: NodeId, listener: Listener) -> bool:
        return len(self._listeners) == 1 and self._listeners.get(node) == (listener,)

    def _rings(self, within_s: float) -> bool:
        return within_s > 0 and bool(self._ringing.poll(within_s * 1000))

    def look_back(self) -> None:
        """Ask now and then whether the store may have forgotten something, and look for what is in doubt.

        What was not sent yet is looked for when it was.
        """
        if time.monotonic() < self._ask_at:
            return
        epoch = self._store.epoch()
        self._ask_at = time.monotonic() + POLL_S
        if epoch != self._epoch:
            self._forgot()
            with self._lock:
                newest = self._store.events(-1)
                self._cursor = newest[0].cursor if newest else 0
                self._doubted.update(list(self._listeners))
                self._epoch = epoch
        for node in [node for node in self._doubted if node not in self._unsent]:
            with self._lock:
                self._look(node)
            self._doubted.discard(node)

    def _look(self, node: NodeId) -> None:
        """Let those who wait for a node look for themselves."""
        for listener in self._listeners.get(node, ()):
            try:
                listener.look()
            except (NoSuchRun, ResultExpired) as error:
                if node not in self._unsent:
                    listener.lost(error if isinstance(error, ResultExpired) else run_lost(error))

    def _skip(self, heard: Heard) -> int:
        """Nobody listens: what happens meanwhile is passed over."""
        newest = heard.events[-1:] or self._store.events(-1)
        with self._lock:
            if not self._listeners and newest:
                self._cursor = newest[0].cursor
        return 0

    def close(self) -> None:
        """Stop; listeners hear nothing more."""
        if self._ending.is_set():
            return
        self._ending.set()
        if self._pid != os.getpid():
            return
        self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5)
        os.close(self._wake_write)
        os.close(self._wake_read)

    def _wake(self) -> None:
        os.write(self._wake_write, b"!")

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="taskflow-feed", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        bell = self._bell = self._listened()
        if bell is None:
            return
        poll = select.poll()
        self._ringing.register(bell.fileno(), select.POLLIN)
        poll.register(bell.fileno(), select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        try:
            while not self._ending.is_set():
                heard = bell.hush()
                try:
                    self.look_back()
                    told = self.pump(heard) if self._listeners else self._skip(heard)
                except StoreError as error:
                    if self._ending.is_set():
                        return
                    if not getattr(error, "told", False):
                        log.warning("the feed could not read the store: %s", error)
                    told = 0
                except Exception:
                    if self._ending.is_set():
                        return
                    log.exception("the feed stumbled; it reads the state again")
                    told = 0
                    self._stumble()
                # Whatever came since the bell was hushed has rung it again.
                if told < BATCH and not self._ending.is_set():
                    self._rest(poll)
        finally:
            self._bell = None
            bell.close()

    def _listened(self) -> Bell | None:
        """A bell, as soon as the store gives one; `None` when it was closed meanwhile."""
        assert self._listen is not None
        while True:
            try:
                return self._listen()
            except StoreError as error:
                if self._ending.wait(POLL_S):
                    return None
                if not getattr(error, "told", False):
                    log.warning("the feed could not read the store: %s", error)

    def _rest(self, poll: select.poll) -> None:
        if self._is_asked and not self._stand_back():
            return
        rang = poll.poll(POLL_S * 1000)
        if (self._wake_read, select.POLLIN) in rang:
            os.read(self._wake_read, 1)
        if not rang and self._listeners:
            try:
                self._tick()
            except Exception:
                log.exception("no worker could be started")

    def _stand_back(self) -> bool:
        """Leave the bell to those who wait alone, while there are such waits; for `POLL_S` at most.

        Returns:
            Whether they have told all that they had read.
        """
        self._is_asked, until, leads = False, time.monotonic() + POLL_S, -1
        self._reading.release()
        try:
            while leads != self._leads and time.monotonic() < until:
                leads = self._leads
                if self._waking.poll(PARK_S * 1000):
                    os.read(self._wake_read, 1)
                    break
        finally:
            self._reading.acquire()
        told, self._is_broken_off = not self._is_broken_off, False
        return told

    def _tell(self, events: Sequence[Event], known: Mapping[NodeId, list[Segment]] | None = None) -> None:
        done: dict[NodeId, None] = {}
        others: dict[Listener, NodeId] = {}
        for event in events:
            name = NodeId(event.node or event.run)
            for listener in self._listeners.get(name, ()):
                if listener.wants_values and event.state in TERMINAL:
                    done[name] = None
                else:
                    listener.happened(event)
                    others[listener] = name
        known = known or {}
        for listener, name in others.items():
            listener.caught_up(known.get(name, ()))
        if done:
            unknown = [node for node in done if node not in known]
            values = {**known, **(self._store.values(unknown) if unknown else {})}
            for node in done:
                for listener in self._listeners.get(node, ()):
                    if listener.wants_values:
                        listener.ended(values[node])

    def _all(self) -> list[Listener]:
        return [listener for several in list(self._listeners.values()) for listener in several]

    def _read_again(self) -> None:
        """The log was cut before we read it, or is another: look at every node itself."""
        self._ask_at = 0.0
        self.look_back()
        newest = self._store.events(-1)
        self._cursor = newest[0].cursor if newest else 0
        for node in list(self._listeners):
            self._look(node)

    def _stumble(self) -> None:
        """A listener raised: pass over what it could not bear, and let all the others look for themselves."""
        with self._lock:
            newest = self._store.events(-1)
            self._cursor = newest[0].cursor if newest else self._cursor
            for listener in self._all():
                with contextlib.suppress(Exception):
                    listener.look()


def run_lost(error: NoSuchRun) -> RunLost:
    """What it means that the store knows no run which it had acknowledged."""
    return RunLost(
        f"{error} It had acknowledged this run, and has forgotten it: its server was restarted without what"
        " it had stored, another took its place before it knew of everything, or its file was removed. Submit"
        " it again; `taskflow doctor` says what the store survives."
    )
