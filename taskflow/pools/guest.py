"""Runs messages as a guest, in a worker process of an engine that is already there: Dask, Ray, Celery.

::

    agent (our worker) ── message ──► engine ──► run(): a seat of this process runs the items
          ▲                                            │ what cannot wait: progress, output, outcomes
          └──────────── answer ◄───────────────────────┴─► Ground.speak

The process belongs to the engine. What comes is verified here, by the key of this machine, before anything of
it is loaded. Large data is found in this order: what came before, what came with the message, the place of
the store where this process sees it. What is not found is asked for: the message comes again, with the data.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import marshal
import os
import signal
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from taskflow.errors import ConfigError, ResultExpired, SoftTimeLimitExceeded, TaskCancelled
from taskflow.pools import bars, capture, context
from taskflow.pools.opener import opener
from taskflow.pools.outcomes import Reports
from taskflow.pools.slot import Slot
from taskflow.pools.stash import Stash
from taskflow.pools.verdict import Why, of_kill
from taskflow.pools.wire import CANCEL, LANE_BYTES, SOFT, WISH_SIGNAL, Lane, Say
from taskflow.records import Kind

if TYPE_CHECKING:
    from taskflow.ports import Blobs

__all__ = [
    "MISSING",
    "Answer",
    "Ground",
    "Limits",
    "Terms",
    "Versions",
    "answer",
    "cancel",
    "run",
    "terms_of",
    "versions",
]

MISSING = -1
"""(MISSING, number, entry, lo, hi): these items did not begin, for data that is not here."""

_LOOK_S = 0.1
_STREAM_S = 0.5
_LAST_WORD_S = 0.2
_AFTER_S = 1.0
_KEPT_BYTES = 256 << 20

Limits = tuple[float | None, float | None]
"""Soft and hard, seconds; of each item of a message."""


class Terms(NamedTuple):
    """What a guest must know of those who sent it; the same for all messages of an agent.

    Args:
        url: The store, for tasks that open a client.
        place: Where the blobs of the store are: a URL, or a directory.
        mark: Device and number of that directory, by which it is known again; `None` of a URL.
        worker: The agent's name.
        key: The fingerprint of its key.
        path: Its `sys.path`, used where `mark` tells that this is the same host.
        accept, allow: As of `taskflow.pools.template.Setup`.
    """

    url: str
    place: str
    mark: tuple[int, int] | None
    worker: str
    key: str
    path: tuple[str, ...] = ()
    accept: tuple[str, ...] = ("pickle",)
    allow: tuple[str, ...] = ()


def terms_of(
    url: str, place: str, worker: str, accept: Sequence[str] = ("pickle",), allow: Sequence[str] = ()
) -> Terms:
    """What an agent tells its guests; a place in files is made when it is not there.

    Raises:
        ConfigError: The key cannot be used, or others could touch the place.
    """
    key = ""
    if "pickle" in accept:
        from taskflow.codec import Keyring

        key = Keyring.load().fingerprint()
    if "://" not in place:
        _opened(place)
    path = tuple(name or os.getcwd() for name in sys.path)
    return Terms(url, place, _mark(place), worker, key, path, tuple(accept), tuple(allow))


class Answer(NamedTuple):
    """What came of a message: records (`taskflow.pools.wire.Say`), data that it lacked, data that it made."""

    records: list[tuple[Any, ...]]
    missing: list[str]
    made: dict[str, bytes]


class Ground(Protocol):
    """What the engine offers to a guest."""

    alone: bool
    """The process runs nothing beside a message: its end is the end of this message only. Signals reach what
    runs in its main thread."""

    def speak(self, records: bytes, /) -> bool:
        """Tell the agent something while the message runs; `False` when there is no way to."""
        ...

    def want(self, more: int, /) -> None:
        """The message only waits (+1), or goes on (-1): another may run meanwhile."""
        ...


class Versions(NamedTuple):
    """What must be the same here and there."""

    python: str
    taskflow: str
    key: str

    def unlike(self, there: Versions) -> str:
        """In words, what another process has that does not fit to this one, and the cure; else nothing."""
        if there.python != self.python:
            return f"it has Python {there.python}, and here is {self.python}: functions cannot travel"
        if there.taskflow != self.taskflow:
            return f"it has taskflow {there.taskflow}, and here is {self.taskflow}: install the same"
        if there.key != self.key:
            return (
                f"it has the key {there.key}, and here is {self.key}: what `taskflow key export` prints here"
                " belongs in its $TASKFLOW_KEY"
            )
        return ""


def versions() -> Versions:
    """Of this process; called in the engine's workers before anything is sent to them."""
    import taskflow
    from taskflow.codec import Keyring

    return Versions("{}.{}".format(*sys.version_info), taskflow.__version__, Keyring.load().fingerprint())


def run(message: bytes, ground: Ground, given: Mapping[str, bytes] = MappingProxyType({})) -> bytes:
    """Run a message of an agent, in the calling thread.

    Args:
        message: Marshalled: terms, limits, and the packet (`taskflow.pools.packing.packet`).
        ground: Of the engine.
        given: Large data by name, as it came.

    Returns:
        A marshalled `Answer`.
    """
    return marshal.dumps(tuple(answer(message, ground, given)), 2)


def answer(message: bytes, ground: Ground, given: Mapping[str, bytes] = MappingProxyType({})) -> Answer:
    """As `run`, for an engine that keeps what was made apart from the rest."""
    terms, limits, packet = marshal.loads(message)
    guest = _guest(Terms(*terms))
    guest.larder.give(given)
    return guest.run(packet, tuple(limits), ground)


def cancel(number: int) -> bool:
    """Raise `TaskCancelled` in the item that runs of a message; whether the message runs here."""
    for guest in list(_guests.values()):
        for seat in guest.busy():
            if seat.number == number:
                seat.wish(CANCEL)
                return True
    return False


_guests: dict[Terms, _Guest] = {}
_lock = threading.Lock()
_seat: ContextVar[_Seat | None] = ContextVar("taskflow_seat", default=None)


def _guest(terms: Terms) -> _Guest:
    with _lock:
        guest = _guests.get(terms)
        if guest is None:
            guest = _guests[terms] = _Guest(terms)
        return guest


class _Guest:
    """What the seats of one process share."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        here = terms.mark is None or _mark(terms.place) == terms.mark
        self.larder = _Larder(_opened(terms.place) if here else None)
        if here and terms.mark is not None:
            sys.path += [name for name in terms.path if name not in sys.path]
        self.codec = opener(self.larder, terms.accept, terms.allow)
        bars.install()
        self.stash = Stash()
        self._free: list[_Seat] = []
        self._busy: dict[int, _Seat] = {}
        self._lock = threading.Lock()
        self._watch: threading.Thread | None = None
        self._wake = threading.Event()

    def busy(self) -> list[_Seat]:
        """The seats that run something."""
        with self._lock:
            return list(self._busy.values())

    def run(self, packet: tuple[Any, ...], limits: Limits, ground: Ground) -> Answer:
        """Run a packet in a free seat."""
        with self._lock:
            seat = self._free.pop() if self._free else _Seat(self)
            seat.sit(packet[0], limits, ground)
            self._busy[id(seat)] = seat
            if self._watch is None:
                self._watch = threading.Thread(target=self._look, name="taskflow-guest", daemon=True)
                self._watch.start()
        self._wake.set()
        try:
            return seat.run(packet)
        finally:
            with self._lock:
                del self._busy[id(seat)]
                self._free.append(seat)

    def _look(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_LOOK_S)
            with self._lock:
                busy = list(self._busy.values())
                if not busy:
                    self._wake.clear()
            for seat in busy:
                with suppress(Exception):  # It may have stood up just now.
                    seat.look(time.monotonic())


class _Seat:
    """A slot, and how it is heard and interrupted here."""

    def __init__(self, guest: _Guest) -> None:
        self._guest = guest
        self._lane = Lane(memoryview(bytearray(LANE_BYTES)))
        self._slot = Slot(
            guest.codec,
            self._lane,
            Reports(self._hear),
            guest.stash,
            worker=guest.terms.worker,
            url=guest.terms.url,
            want=self._lend,
        )
        self._ground: Ground | None = None
        self._speaking = threading.Lock()
        self.made: dict[str, bytes] = {}
        self.missing: list[str] = []
        self.number = 0

    @property
    def calling(self) -> bool:
        """Whether user code runs."""
        return self._slot.calling

    def sit(self, number: int, limits: Limits, ground: Ground) -> None:
        """Get ready for a message."""
        self.number, self._limits, self._ground = number, limits, ground
        self.made, self.missing = {}, []
        self._records: list[tuple[Any, ...]] = []
        self._said = self._lane.ints[Lane.SAID]
        self._printed: tuple[Any, int] = (None, 0)
        self._softened: Any = None
        self._began = self._spoke_at = time.monotonic()
        self._thread = threading.current_thread()
        self._kills = ground.alone and limits[1] is not None
        self._signalled = ground.alone and self._thread is threading.main_thread()

    def run(self, packet: tuple[Any, ...]) -> Answer:
        """Run a packet to its end."""
        before, token = context.place(), _seat.set(self)
        context.enter(self._slot)
        capture.route()
        old = signal.signal(WISH_SIGNAL, lambda *_: self._slot.obey()) if self._signalled else None
        if self._kills and self._limits[1] is not None:
            # For what never lets go of the interpreter; whoever has a hard limit comes one by one.
            faulthandler.dump_traceback_later(self._limits[1] + _AFTER_S, exit=True)
        try:
            self._slot.run(packet)
        finally:
            if self._kills:
                faulthandler.cancel_dump_traceback_later()
            if old is not None:
                signal.signal(WISH_SIGNAL, old)
            context.enter(before)
            _seat.reset(token)
        with self._speaking:
            self._hear_said()
            return Answer(self._records, self.missing, self.made)

    # ── what it says ────────────────────────────────────────────────────────────────

    def _hear(self, records: Iterable[tuple[Any, ...]]) -> None:
        """Keep records for the answer; tell at once what cannot wait, and now and then all."""
        with self._speaking:
            urgent = False
            for record in records:
                if record[0] == Say.SAID:
                    self._hear_said()
                elif record[0] == Say.LEND:
                    self._records.append((Say.LEND, self.number, record[1]))
                elif record[0] != Say.RETIRE:
                    self._records.append(self._excused(record))
                urgent = urgent or record[0] in (Say.NOTE, Say.LEND, Say.BACK, Say.SAID)
            now = time.monotonic()
            if urgent or now - self._spoke_at > _STREAM_S:
                self._tell(now)

    def _tell(self, now: float) -> None:
        if self._records and not self.made and self._ground is not None:
            self._spoke_at = now
            if self._ground.speak(marshal.dumps(self._records, 2)):
                self._records = []

    def _hear_said(self) -> None:
        count = self._lane.ints[Lane.SAID]
        if count != self._said and (data := self._lane.said()) is not None:
            self._said = count
            *item, said = marshal.loads(data)
            for kind, (told, value) in said.items():
                self._records.append((Say.NOTE, *item, kind, told, value))

    def _excused(self, record: tuple[Any, ...]) -> tuple[Any, ...]:
        """An item that failed before it began, for data that can be had, did not fail."""
        if self.missing and record[0] == Say.OUTCOME and record[5] in (Kind.FAILED, Kind.RETRY):
            return (MISSING, *record[1:5])
        return record

    def _lend(self, more: int) -> None:
        if self._ground is not None:
            self._ground.want(more)

    # ── what is wanted of it ────────────────────────────────────────────────────────

    def wish(self, what: int) -> None:
        """Interrupt the item that runs."""
        slot, running = self._slot, self._lane.running
        if running is None:
            return
        self._lane.wish(what, running)
        slot.alarm.append("wish")
        if self._signalled:
            signal.pthread_kill(threading.main_thread().ident or 0, WISH_SIGNAL)
        elif slot.calling and (what := self._lane.take_wish()):
            slot.order(what)
            kind = SoftTimeLimitExceeded if what == SOFT else TaskCancelled
            ident = ctypes.c_ulong(self._thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(kind))

    def look(self, now: float) -> None:
        """See to limits and output of what runs; called by another thread, again and again."""
        running = self._lane.running
        if running is None:
            return
        soft, hard = self._limits
        elapsed = now - self._lane.since
        if soft is not None and elapsed >= soft and self._softened != running:
            self._softened = running
            self.wish(SOFT)
        if hard is not None and self._kills and elapsed >= hard:
            self._end(running, hard, elapsed)
        with self._speaking:
            self._hear_said()
            if elapsed >= _STREAM_S:
                self._stream(running)
            if self._records and now - self._spoke_at > _LOOK_S:
                self._tell(now)

    def _stream(self, running: tuple[int, int, int]) -> None:
        last, seen = self._printed
        seen = seen if last == running else 0
        printed = self._lane.ints[Lane.PRINTED]
        if printed > seen:
            told = json.dumps({"text": self._lane.printed(seen)})
            self._records.append((Say.NOTE, *running, "log", told, None))
        self._printed = running, printed

    def _end(self, running: tuple[int, int, int], hard: float, elapsed: float) -> None:
        """Its time is over: this process ends, and with it what runs here."""
        kind, failure = of_kill(Why.TIME, {"limit_s": hard})
        number, at, index = running
        log = self._lane.printed() or None
        error = failure.to_json() if failure is not None else None
        started = time.time() - elapsed
        self._records.append(
            (Say.OUTCOME, number, at, index, index + 1, str(kind), None, error, 0.0, started, elapsed, log,
             False, None)
        )  # fmt: skip
        self._tell(time.monotonic())
        time.sleep(_LAST_WORD_S)
        os._exit(1)


class _Larder:
    """The blobs of a guest: those that came with messages, and the store's own where it can be reached.

    Args:
        far: The place of the store; `None` where this process does not see it.
    """

    guarded = False

    def __init__(self, far: Blobs | None) -> None:
        self._far = far
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def give(self, given: Mapping[str, bytes]) -> None:
        """Keep data that came with a message; the longest unused goes."""
        with self._lock:
            for name, data in given.items():
                if name not in self._kept:
                    self._kept[name] = data
                    self._bytes += len(data)
            while self._bytes > _KEPT_BYTES and len(self._kept) > max(1, len(given)):
                self._bytes -= len(self._kept.popitem(last=False)[1])

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        if self._far is not None:
            self._far.put(name, parts)
            return
        data = b"".join(parts)
        self.give({name: data})
        if (seat := _seat.get()) is None:
            raise ConfigError("Large data can be kept by the task itself only, not by a thread that it made.")
        seat.made[name] = data

    def open(self, name: str, /) -> memoryview:
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return memoryview(bytearray(self._kept[name]))
        if self._far is not None:
            return self._far.open(name)
        if (seat := _seat.get()) is not None and not seat.calling:
            seat.missing.append(name)
        raise ResultExpired(
            f"Data {name[:12]} of the store is not here: this process of the cluster does not see the store."
        )

    def has(self, name: str, /) -> bool:
        with self._lock:
            if name in self._kept:
                return True
        return self._far is not None and self._far.has(name)

    def drop(self, name: str, /) -> None:
        with self._lock:
            self._bytes -= len(self._kept.pop(name, b""))
        if self._far is not None:
            self._far.drop(name)

    def sweep(self, keep: Collection[str], /, *, age_s: float) -> int:
        return 0


def _mark(place: str) -> tuple[int, int] | None:
    """By which a directory is known again; `None` when it is not here."""
    with suppress(OSError):
        found = os.stat(place)
        return found.st_dev, found.st_ino
    return None


def _opened(place: str) -> Blobs:
    from taskflow.blobs import open_blobs

    return open_blobs(place)
