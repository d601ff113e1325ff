"""Runs items one after another, in the process, thread or loop that user code is given.

A slot takes messages (see `taskflow.pools.wire`), loads what they need, calls, and reports. It never
touches the store. Quick items are run in blocks between which the clock is read and the surroundings
are looked after; what an item printed or changed ends its block, so it is known whose it was.
"""

from __future__ import annotations

import inspect
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

from taskflow import faults
from taskflow.errors import InternalError, SoftTimeLimitExceeded, TaskCancelled
from taskflow.ids import NodeId, RunId
from taskflow.policy import roll
from taskflow.pools.capture import Leak
from taskflow.pools.context import Request
from taskflow.pools.inputs import Inputs
from taskflow.pools.surroundings import Surroundings
from taskflow.pools.wire import BACK, CANCEL, PAGES_KEPT, SOFT, Lane, Say
from taskflow.records import Kind

if TYPE_CHECKING:
    from taskflow.codec import Codec

__all__ = ["Reports", "Slot", "Stash", "Step", "is_coroutine_function"]

_STAR, _EXPAND, _EXPAND_FN = "*", "**expand", "**expand_fn"
"""Keywords with a meaning, as agreed in `taskflow.plan`."""

_QUICK_S = 0.0002
_FLUSH_S = 0.05
_BLOCK_ITEMS = 128
_SHARED_KEPT = 8
_LOADED_KEPT = 8
_ENTRY, _INDEX, _START = Lane.ENTRY, Lane.INDEX, Lane.START


class Reports:
    """Records on their way to the pool; safe from several threads and from a signal handler."""

    def __init__(self, send: Callable[[list[tuple[Any, ...]]], object]) -> None:
        self._send = send
        self._lock = threading.RLock()
        self._records: list[tuple[Any, ...]] = []
        self._bytes = 0
        self.flushed_at = 0.0

    def add(self, record: tuple[Any, ...], size: int = 0) -> None:
        """Keep a record until the next flush; a few dozen kilobytes are enough for one."""
        self._records.append(record)
        self._bytes += size
        if self._bytes > 65_536:
            self.flush()

    def flush(self) -> None:
        """Send what is there."""
        with self._lock:
            records, self._records, self._bytes = self._records, [], 0
            if records:
                faults.point("child.after_run")
                self._send(records)
        self.flushed_at = time.monotonic()


class Stash:
    """What the slots of one process share: pages as they came, and loaded items of those in use.

    An item is given out once: whoever asks for it again, after a failure, gets a new object.
    """

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[str, int], tuple[int, bytes]] = OrderedDict()
        self._loaded: OrderedDict[tuple[str, int], tuple[int, list[Any]]] = OrderedDict()

    def keep(self, pages: Iterable[tuple[str, int, int, bytes]]) -> None:
        """Keep pages; the oldest go."""
        for node, lo, hi, items in pages:
            self._pages.pop((node, lo), None)
            self._pages[node, lo] = (hi, items)
            if len(self._pages) > PAGES_KEPT:
                self._pages.popitem(last=False)

    def items(self, codec: Codec, fn: str, node: str, lo: int, hi: int) -> list[Any] | None:
        """Items ``[lo, hi)`` of an array node, or `None` when a page of them is not here."""
        found: list[Any] = []
        while lo < hi:
            key = next((k for k, v in self._pages.items() if k[0] == node and k[1] <= lo < v[0]), None)
            if key is None:
                return None
            begin, (end, value) = key[1], self._pages[key]
            given, items = self._loaded.pop(key, (end, []))
            if lo < given:
                items = codec.load_items(fn, begin, value)
            found += items[lo - begin : hi - begin]
            if hi < end:
                self._loaded[key] = hi, items
            if len(self._loaded) > _LOADED_KEPT:
                self._loaded.popitem(last=False)
            lo = end
        return found


class Step(NamedTuple):
    """One item, ready to be called."""

    call: Callable[[], Any]
    loaded: Any
    at: int
    item: int


class Slot:
    """One place where items run, one at a time.

    Args:
        codec: Turns bytes into objects and back.
        lane: Where the pool sees what runs.
        reports: Where outcomes go.
        stash: Pages, shared by the slots of the process.
        number: Of the lane.
        leak: Output that bypassed Python; `None` where several slots share a process.
        want: Called with +1 and -1 where lending a slot needs another one in this process.
        worker, url: For `Request`.

    Attributes:
        alarm: Not empty when the item that runs needs a look.
        surroundings: What to restore; `None` where several slots share a process.
        calling: Whether user code runs.
        retiring: Whether this process should take no more.
        cancelled: Whether the running item was told to end.
    """

    def __init__(
        self,
        codec: Codec,
        lane: Lane,
        reports: Reports,
        stash: Stash,
        *,
        number: int = 0,
        leak: Leak | None = None,
        want: Callable[[int], None] | None = None,
        worker: str = "",
        url: str = "",
    ) -> None:
        self._codec = codec
        self.lane = lane
        self._reports = reports
        self._stash = stash
        self.number = number
        self.alarm: list[str] = []
        self.surroundings: Surroundings | None = None
        self._want = want
        self._leak = leak
        self._worker = worker
        self._url = url
        self._inputs = Inputs(codec)
        self._shared: OrderedDict[str, tuple[Any, ...]] = OrderedDict()
        self._head: tuple[Any, ...] = ()
        self._entry: tuple[Any, ...] = ()
        self._number = 0
        self.cut: tuple[int, int] | None = None
        self._values: list[bytes] = []
        self._tooks: list[float] = []
        self._first = 0
        self._begun = 0.0
        self._block_size = ("", 1)
        self._is_copy = False
        self.calling = False
        self.retiring = False
        self.cancelled = False

    # ── asked from inside the task ──────────────────────────────────────────────────

    def request(self) -> Request | None:
        """The item that runs."""
        running = self.lane.running
        if running is None or not self._entry:
            return None
        _, run, label, queue, _, width, _, seed = self._head
        node, lo, _, fence, attempt, delivery, _, _, _ = self._entry
        index = max(lo, running[2])
        return Request(
            NodeId(node),
            RunId(run),
            index,
            attempt,
            delivery,
            fence,
            label,
            queue,
            self._worker,
            self._url,
            width,
            seed,
        )

    def lend(self) -> None:
        """Hand back what waits behind this item, and say that it only waits."""
        self.hand_back()
        self._lend(1)

    def resume(self) -> None:
        """Say that it goes on."""
        self._lend(-1)

    def _lend(self, more: int) -> None:
        self._reports.add((Say.LEND, more))
        self._reports.flush()
        if self._want is not None:
            self._want(more)

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """Tell the pool something of this item."""
        running = self.lane.running
        if running is not None:
            self._reports.add((Say.NOTE, *running, kind, json.dumps(dict(data), default=str)))
            self._reports.flush()

    def leave(self) -> None:
        """This process is a copy that user code forked: it ends with the task, and says nothing."""
        self._is_copy = True
        self.alarm.append("fork")

    def print(self, data: bytes) -> None:
        """Keep output of this item."""
        self.lane.print(data)
        self.alarm.append("print")

    def hand_back(self) -> None:
        """Give the rest of the message back to the pool, from the next item on."""
        running = self.lane.running
        if running is None or self.cut is not None:
            return
        number, entry, index = running
        array, hi = self._head[4], self._entry[2]
        self.cut = (entry, index + 1) if array and index + 1 < hi else (entry + 1, -1)
        self.alarm.append("back")
        self._emit_calls()
        self._reports.add((Say.BACK, number, *self.cut))
        self._reports.flush()

    def obey(self) -> None:
        """Do what the pool wants of the item that runs; called in the thread of the slot.

        Raises:
            SoftTimeLimitExceeded: Its time is up.
            TaskCancelled: It was cancelled.
        """
        if not self.calling:
            self.alarm.append("wish")  # It is looked at when the call begins.
            return
        what = self.lane.take_wish()
        if what == BACK:
            self.hand_back()
        elif what:
            raise self.order(what)

    def order(self, what: int) -> BaseException:
        """The exception that a wish of the pool becomes inside the task."""
        if what == SOFT:
            return SoftTimeLimitExceeded(
                "The soft time limit of this task is over: clean up, then return or raise."
            )
        self.cancelled = what == CANCEL
        return TaskCancelled("This task was cancelled.")

    # ── a message ───────────────────────────────────────────────────────────────────

    def run(self, message: tuple[Any, ...]) -> None:
        """Run all items of a message and report each, then that it is done."""
        with self.message(message) as groups:
            faults.point("child.before_run")
            first = 0
            for head, entries in groups:
                self._group(first, head, entries)
                first += len(entries)
                if self.cut is not None:
                    break

    @contextmanager
    def message(self, message: tuple[Any, ...]) -> Iterator[list[tuple[Any, ...]]]:
        """The groups of a message, which is done at the end of the ``with`` block."""
        number, groups, pages = message
        self._stash.keep(pages)
        self._number, self.cut = number, None
        self.lane.ints[Lane.ENTRY] = self.lane.ints[Lane.INDEX] = 0
        self.lane.reals[Lane.START] = time.monotonic()
        self.lane.ints[Lane.NUMBER] = number
        try:
            yield groups
        finally:
            self.lane.ints[Lane.NUMBER] = 0
            self._entry = ()
        self._reports.add((Say.DONE, number))
        self._reports.flush()

    def steps(self, at: int, head: tuple[Any, ...], entry: tuple[Any, ...]) -> Iterator[Step]:
        """The items of an entry, one by one, for who calls them otherwise than `run` does."""
        self._head, self._entry = head, entry
        node, lo, hi = entry[:3]
        self._begin(at, lo)
        try:
            loaded = self._codec.load_function(head[0])
            args, kwargs = self._codec.load_args(head[0], entry[7], self._inputs.of(entry[8]))
            if _EXPAND in kwargs:
                self._expand(at, loaded, entry, args, kwargs)
                return
            star = kwargs.pop(_STAR, False)
            items = self._stash.items(self._codec, head[0], node, lo, hi) if head[4] else [()]
            star = star or not head[4]
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is an outcome
            self._fail_rest(at, [entry], at, error)
            return
        if items is None:
            self._emit(at, lo, hi, Kind.RELEASED)
            return
        for index, item in enumerate(items, lo):
            if self.cancelled or (self.cut is not None and self.cut <= (at, index)):
                break
            self._begin(at, index)
            yield Step(partial(loaded.fn, *(item if star else (item,)), *args, **kwargs), loaded, at, index)
        if self.cancelled:
            self._cancel_rest(at, index, hi)

    def finish(self, step: Step, result: Any, error: BaseException | None) -> None:
        """Report how a step ended, and all that is waiting to be."""
        log = self._aftermath()
        if error is not None:
            self._fail(step.at, step.item, error, step.loaded, log)
        else:
            self._emit_range(step.at, step.item, step.item + 1, [result], step.loaded, log)
        self._reports.flush()

    def _group(self, first: int, head: tuple[Any, ...], entries: list[tuple[Any, ...]]) -> None:
        self._head = head
        at = 0
        while at < len(entries) and self.cut is None:
            entry = self._entry = entries[at]
            self._begin(first + at, entry[1])
            try:
                loaded = self._codec.load_function(head[0])
                if self.surroundings is not None:
                    self.surroundings.settle(loaded.cwd)
                if head[4]:
                    self._range(first + at, loaded, entry)
                    at += 1
                else:
                    at = self._calls(first, loaded, entries, at)
            except BaseException as error:  # noqa: BLE001 - whatever user code raises is an outcome
                self.calling = False
                self._emit_calls()
                self._fail_rest(self.lane.ints[Lane.ENTRY], entries, first, error)
                at = self.lane.ints[Lane.ENTRY] - first + 1

    def _begin(self, entry: int, index: int) -> None:
        lane = self.lane
        lane.ints[Lane.ENTRY] = entry
        lane.ints[Lane.INDEX] = index
        self._begun = lane.reals[Lane.START] = time.monotonic()

    def _fail_rest(self, at: int, entries: list[tuple[Any, ...]], first: int, error: BaseException) -> None:
        """Nothing of this entry can run: its function, arguments or items cannot be had."""
        entry = self._entry = entries[at - first]
        lo, hi = (max(entry[1], self.lane.ints[Lane.INDEX]), entry[2]) if self._head[4] else entry[1:3]
        for index in range(lo, hi):
            self._fail(at, index, error, None)

    # ── calls ───────────────────────────────────────────────────────────────────────

    def _calls(self, first: int, loaded: Any, entries: list[tuple[Any, ...]], at: int) -> int:
        """Run calls from `at` on until one needs a look; returns the one to go on with."""
        fn, call, codec, clock, alarm = self._head[0], loaded.fn, self._codec, time.monotonic, self.alarm
        load_args, dump_result = codec.load_args, codec.dump_result
        ints, reals = self.lane.ints, self.lane.reals
        values, tooks = self._values, self._tooks
        self._first, then = first + at, clock()
        self._begun = then
        for entry in entries[at:] if at else entries:
            self._entry = entry
            reals[_START] = then
            ints[_ENTRY] = first + at
            ints[_INDEX] = entry[1]
            node, lo, hi, fence, _, _, _, packed, given = entry
            try:
                args, kwargs = load_args(fn, packed, self._inputs.of(given) if given else _no_inputs)
                if kwargs and _EXPAND in kwargs:
                    self._expand(first + at, loaded, entry, args, kwargs)
                    return at + 1
                self.calling = True
                if alarm:
                    self.obey()
                result = call(*args, **kwargs)
                if result.__class__ is CoroutineType:
                    result = _awaited(result)
                self.calling = False
                value = dump_result(node, lo, hi, fence, result)
            except BaseException as error:  # noqa: BLE001 - whatever user code raises is an outcome
                self.calling = False
                self._emit_calls()
                self._fail(first + at, lo, error, loaded)
                return at + 1
            del result, args, kwargs  # They may be large.
            now = clock()
            values.append(value)
            tooks.append(now - then)
            at += 1
            if alarm or now - then > _QUICK_S:
                self.cancelled = False
                self._look(first + at - 1)
                now = clock()
                if self.cut is not None:
                    break
            then = now
        self._emit_calls()
        return at

    def _look(self, at: int) -> None:
        """After an item that took a while, or did something that needs a look."""
        log = self._aftermath()
        if log is not None:
            value, took = self._values.pop(), self._tooks.pop()
            begun = self._begun + sum(self._tooks)
            lo, hi = self._entry[1], self._entry[2]
            self._emit_calls()
            self._emit(at, lo, hi, Kind.SUCCEEDED, value, began=begun, took=took, log=log)
            self._first, self._begun = at + 1, time.monotonic()
        if time.monotonic() - self._reports.flushed_at > _FLUSH_S:
            self._emit_calls()
            self._reports.flush()
            self._first, self._begun = at + 1, time.monotonic()

    def _emit_calls(self) -> None:
        if not self._values:
            return
        values, tooks = self._values[:], self._tooks[:]
        self._values.clear()
        self._tooks.clear()
        record = (Say.CALLS, self._number, self._first, values, _wall(self._begun), tooks)
        self._first += len(values)
        self._reports.add(record, sum(map(len, values)) + 32 * len(values))

    def _expand(
        self, at: int, loaded: Any, entry: tuple[Any, ...], args: Any, kwargs: dict[str, Any]
    ) -> None:
        """Run the call that makes the items of an array node, see `taskflow.plan`."""
        from taskflow.plan import pages

        target, fn = kwargs.pop(_EXPAND), kwargs.pop(_EXPAND_FN)
        node, lo, hi, fence = entry[:4]
        self.calling = True
        result = loaded.fn(*args, **kwargs)
        made = [tuple(page) for page in pages(self._codec, fn, result)]
        self.calling = False
        width = made[-1][1] if made else 0
        value = self._codec.dump_result(node, lo, hi, fence, width)
        log = self._aftermath()
        self._emit(at, lo, hi, Kind.SUCCEEDED, value, log=log, growth=(target, width, made))

    # ── ranges ──────────────────────────────────────────────────────────────────────

    def _range(self, at: int, loaded: Any, entry: tuple[Any, ...]) -> None:
        node, lo, hi = entry[:3]
        call = self._item_call(loaded, entry)
        items = self._stash.items(self._codec, self._head[0], node, lo, hi)
        if items is None:
            # A message before this one carried the page and was taken back.
            self._emit(at, lo, hi, Kind.RELEASED)
            return
        limited, base, index = self._head[6], lo, lo
        fn, size = self._block_size
        size = size if fn == self._head[0] else 1
        out: list[Any] = []
        while index < hi and (self.cut is None or self.cut > (at, index)):
            begun = self.lane.reals[_START] = time.monotonic()
            index, error = self._block(call, items, lo, index, 1 if limited else size, out)
            now = time.monotonic()
            took = now - begun
            if self.cut is not None and self.cut[0] == at and self.cut[1] > 0:
                hi = min(hi, self.cut[1])
            done = index if error is None else index + 1
            del out[index - base :]
            log = self._aftermath() if self.alarm or took > _QUICK_S or error is not None else None
            if error is not None:
                self._emit_range(at, base, index, out, loaded)
                self._fail(at, index, error, loaded, log)
                if self.cancelled:
                    self._cancel_rest(at, done, hi)
                    return
            elif self.cancelled:
                self._emit_range(at, base, index, out, loaded)
                self._cancel_rest(at, done, hi)
                return
            elif log is not None:
                self._emit_range(at, base, index - 1, out[:-1], loaded)
                self._emit_range(at, index - 1, index, out[-1:], loaded, log)
            elif now - self._reports.flushed_at > _FLUSH_S:
                self._emit_range(at, base, index, out, loaded)
                self._reports.flush()
            else:
                size = min(_BLOCK_ITEMS, size * 2) if took < _QUICK_S else max(1, size // 4)
                continue
            base = index = done
            out = []
        self._block_size = self._head[0], size
        self._emit_range(at, base, index, out, loaded)

    def _block(
        self, call: Callable[[Any], Any], items: list[Any], lo: int, index: int, size: int, out: list[Any]
    ) -> tuple[int, BaseException | None]:
        """Run up to `size` items; gives the index behind the last that succeeded, and what stopped it."""
        ints, alarm, append = self.lane.ints, self.alarm, out.append
        try:
            self.calling = True
            if alarm:
                self.obey()
                alarm.clear()
            for item in items[index - lo : index - lo + size]:
                ints[_INDEX] = index
                append(call(item))
                index += 1
                if alarm:
                    break
            self.calling = False
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is an outcome
            self.calling = False
            return index, error
        return index, None

    def _item_call(self, loaded: Any, entry: tuple[Any, ...]) -> Callable[[Any], Any]:
        """What to call with an item: the function, with the arguments that all items share."""
        node, packed, given = entry[0], entry[7], entry[8]
        shared = self._shared.get(node)
        if shared is None:
            args, kwargs = self._codec.load_args(self._head[0], packed, self._inputs.of(given))
            shared = self._shared[node] = (args, kwargs, bool(kwargs.pop(_STAR, False)))
            while len(self._shared) > _SHARED_KEPT:
                self._shared.popitem(last=False)
        args, kwargs, star = shared
        fn = loaded.fn
        if is_coroutine_function(fn):
            plain = fn
            fn = lambda *a, **k: _awaited(plain(*a, **k))  # noqa: E731
        if star:
            return lambda item: fn(*item, *args, **kwargs)
        return (lambda item: fn(item, *args, **kwargs)) if args or kwargs else fn

    def _emit_range(
        self, at: int, lo: int, hi: int, results: list[Any], loaded: Any, log: str | None = None
    ) -> None:
        if lo >= hi:
            return
        node, fence = self._entry[0], self._entry[3]
        began, self._begun = self._begun, time.monotonic()
        took = self._begun - began
        try:
            value = self._codec.dump_result(node, lo, hi, fence, results if self._head[4] else results[0])
        except BaseException as error:  # noqa: BLE001 - a result that cannot travel fails its item
            if hi - lo == 1:
                self._fail(at, lo, error, None, log)
                return
            for index, result in enumerate(results, lo):
                self._emit_range(at, index, index + 1, [result], loaded, log)
            return
        self._emit(at, lo, hi, Kind.SUCCEEDED, value, began=began, took=took, log=log)

    def _cancel_rest(self, at: int, lo: int, hi: int) -> None:
        self.cancelled = False
        for index in range(lo, hi):
            self._emit(at, index, index + 1, Kind.CANCELLED)

    # ── outcomes ────────────────────────────────────────────────────────────────────

    def _aftermath(self) -> str | None:
        """Put the surroundings back and collect the output of the last item."""
        if self._is_copy:
            os._exit(0)
        if self.surroundings is not None:
            self.surroundings.restore()
        else:
            self.alarm.clear()
        if self._leak is not None:
            data = self._leak.read()
            if data:
                self.lane.print(data)
        return self.lane.take_printed()

    def _fail(self, at: int, index: int, error: BaseException, loaded: Any, log: str | None = None) -> None:
        """Report an item that raised: to be retried, failed, or cancelled."""
        took = time.monotonic() - self.lane.reals[Lane.START]
        log = log or self._aftermath()
        node, _, _, fence, attempt, _, age_s, _, _ = self._entry
        kind, delay_s = Kind.FAILED, None
        if self.cancelled:
            kind = Kind.CANCELLED
        elif loaded is not None and loaded.retry is not None:
            delay_s, error = self._decide(loaded.retry, error, attempt, age_s + took)
            kind = Kind.FAILED if delay_s is None else Kind.RETRY
        failure = self._codec.failure(error, kind=str(kind))
        value = self._codec.dump_error(node, index, fence, error) if kind == Kind.FAILED else None
        self._emit(
            at, index, index + 1, kind, value, failure.to_json(), delay_s or 0.0, None, max(0.0, took), log
        )
        if isinstance(error, MemoryError):
            self.retiring = True
            self.hand_back()
        if not self._head[4]:
            self.cancelled = False

    @staticmethod
    def _decide(
        retry: Any, error: BaseException, attempt: int, age_s: float
    ) -> tuple[float | None, BaseException]:
        try:
            return retry.decide(error, attempt=attempt, age_s=age_s, roll=roll()), error
        except BaseException as worse:  # noqa: BLE001 - `retry_if` is user code
            worse.__context__ = error
            return None, worse

    def _emit(
        self,
        at: int,
        lo: int,
        hi: int,
        kind: Kind,
        value: bytes | None = None,
        error: str | None = None,
        delay_s: float = 0.0,
        began: float | None = None,
        took: float = 0.0,
        log: str | None = None,
        growth: tuple[Any, ...] | None = None,
    ) -> None:
        started = _wall(self.lane.reals[Lane.START] if began is None else began)
        record = (
            Say.OUTCOME,
            self._number,
            at,
            lo,
            hi,
            str(kind),
            value,
            error,
            delay_s,
            started,
            took,
            log,
            growth,
        )
        self._reports.add(record, len(value or b"") + len(error or "") + len(log or "") + 200)


def is_coroutine_function(fn: Any) -> bool:
    """Whether calling it gives a coroutine; looks through partials and callable objects."""
    while hasattr(fn, "func") and not inspect.iscoroutinefunction(fn):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def _awaited(coroutine: Any) -> Any:
    import asyncio

    return asyncio.run(coroutine)


def _wall(monotonic: float) -> float:
    return time.time() - (time.monotonic() - monotonic)


def _no_inputs(position: int, index: int | None) -> Any:
    raise InternalError(f"input {position} was not given")
