"""How a slot runs the items of a message: calls one by one, ranges in blocks.

Quick items are run in blocks between which the clock is read and the surroundings are looked after; what an
item printed or changed ends its block, so it is known whose it was.
"""

from __future__ import annotations

import inspect
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from taskflow.errors import InternalError, SoftTimeLimitExceeded, TaskCancelled
from taskflow.pools.capture import Leak
from taskflow.pools.inputs import Inputs
from taskflow.pools.outcomes import Outcomes, Reports
from taskflow.pools.stash import Stash
from taskflow.pools.wire import BACK, CANCEL, SOFT, Lane
from taskflow.records import Growth, Kind

if TYPE_CHECKING:
    from taskflow.codec import Codec

__all__ = ["EXPAND", "STAR", "Running", "is_coroutine_function"]

STAR = "*"
EXPAND, EXPAND_FN = "**expand", "**expand_fn"
"""Keywords with a meaning, as agreed in `taskflow.plan`."""

_QUICK_S = 0.0002
_BLOCK_ITEMS = 128
_SHARED_KEPT = 8
_ENTRY, _INDEX, _START = Lane.ENTRY, Lane.INDEX, Lane.START


class Running(Outcomes):
    """The part of a slot that calls.

    Args:
        codec, lane, reports, leak, url, worker: As for `Outcomes`.
        stash: Pages, shared by the slots of the process.
    """

    def __init__(
        self,
        codec: Codec,
        lane: Lane,
        reports: Reports,
        leak: Leak | None,
        url: str,
        stash: Stash,
        worker: str = "",
    ) -> None:
        super().__init__(codec, lane, reports, leak, url, worker)
        self._stash = stash
        self._inputs = Inputs(codec)
        self._shared: OrderedDict[tuple[str, str], tuple[Any, ...]] = OrderedDict()
        self._block_size = ("", 1)

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

    def _group(self, first: int, head: tuple[Any, ...], entries: list[tuple[Any, ...]]) -> None:
        self._head = head
        at = 0
        while at < len(entries) and self.cut is None:
            entry = self._entry = entries[at]
            self._begin(first + at, entry[1])
            try:
                loaded = self._load_function(head[0])
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

    def _load_function(self, fn: str) -> Any:
        """The function; from here on this slot speaks as its calls do, sealed or by name."""
        codec = self._codecs.of(fn)
        if codec is not self._codec:
            self._codec, self._inputs = codec, Inputs(codec)
        return codec.load_function(fn)

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
        load_args, dump_result, ignored = codec.load_args, codec.dump_result, self._head[8]
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
                if given:
                    args = self._inputs.join(given, args)
                if kwargs and EXPAND in kwargs:
                    self._expand(first + at, loaded, entry, args, kwargs)
                    return at + 1
                self.calling = True
                if alarm:
                    self.obey()
                result = call(*args, **kwargs)
                if result.__class__ is CoroutineType:
                    result = _awaited(result)
                self.calling = False
                value = dump_result(node, lo, hi, fence, None if ignored else result)
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
        log, growth = self._aftermath(), self._growing.take()
        if log is not None or growth is not None:
            value, took = self._values.pop(), self._tooks.pop()
            begun = self._begun + sum(self._tooks)
            lo, hi = self._entry[1], self._entry[2]
            self._emit_calls()
            self._emit(at, lo, hi, Kind.SUCCEEDED, value, began=begun, took=took, log=log, growth=growth)
            self._first, self._begun = at + 1, time.monotonic()
        if self._reports.are_late(time.monotonic()):
            self._emit_calls()
            self._reports.flush()
            self._first, self._begun = at + 1, time.monotonic()

    def _expand(
        self, at: int, loaded: Any, entry: tuple[Any, ...], args: Any, kwargs: dict[str, Any]
    ) -> None:
        """Run the call that makes the items of an array node, see `taskflow.plan`."""
        from taskflow.plan import pages

        target, fn = kwargs.pop(EXPAND), kwargs.pop(EXPAND_FN)
        node, lo, hi, fence = entry[:4]
        self.calling = True
        result = loaded.fn(*args, **kwargs)
        made = list(pages(self._codec, fn, result))
        self.calling = False
        width = made[-1].hi if made else 0
        value = self._codec.dump_result(node, lo, hi, fence, width)
        log = self._aftermath()
        grown = Growth(widths={target: (width, tuple(made))})
        self._emit(at, lo, hi, Kind.SUCCEEDED, value, log=log, growth=grown)

    # ── ranges ──────────────────────────────────────────────────────────────────────

    def _range(self, at: int, loaded: Any, entry: tuple[Any, ...]) -> None:
        node, lo, hi = entry[:3]
        call = self._item_call(loaded, entry)
        items = self._stash.items(self._codec, self._head[0], node, lo, hi)
        if items is None:
            # A message before this one carried the page and was taken back.
            self._emit(at, lo, hi, Kind.RELEASED)
            return
        limited, index = self._head[6], lo
        fn, size = self._block_size
        size = size if fn == self._head[0] else 1
        out = self._ended = []
        self._ended_at, self._ended_lo = at, lo
        while index < hi and (self.cut is None or self.cut > (at, index)):
            begun = self.lane.reals[_START] = time.monotonic()
            index, error = self._block(call, items, lo, index, 1 if limited else size, out)
            now = time.monotonic()
            took = now - begun
            if self.cut is not None and self.cut[0] == at and self.cut[1] > 0:
                hi = min(hi, self.cut[1])
                if index >= hi:  # what ran behind the cut, and how it ended, is another's by now
                    index, error = hi, None
            done, base = index if error is None else index + 1, self._ended_lo
            del out[index - base :]
            log = self._aftermath() if self.alarm or took > _QUICK_S or error is not None else None
            growth = self._growing.take() if error is None else None
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
            elif log is not None or growth is not None:
                self._emit_range(at, base, index - 1, out[:-1], loaded)
                self._emit_range(at, index - 1, index, out[-1:], loaded, log, growth)
            elif len(out) >= self.report_items or self._reports.are_late(now):
                self._emit_range(at, base, index, out, loaded)
                self._reports.flush_late(now)
            else:
                size = min(_BLOCK_ITEMS, size * 2) if took < _QUICK_S else max(1, size // 4)
                continue
            index = self._ended_lo = done
            out = self._ended = []
        self._block_size = self._head[0], size
        self._ended = []
        self._emit_range(at, self._ended_lo, index, out, loaded)

    def _block(
        self, call: Callable[[Any], Any], items: Sequence[Any], lo: int, index: int, size: int, out: list[Any]
    ) -> tuple[int, BaseException | None]:
        """Run up to `size` items; gives the index behind the last that succeeded, and what stopped it."""
        ints, alarm, append = self.lane.ints, self.alarm, out.append
        ints[_INDEX] = index
        try:
            self.calling = True
            if alarm:
                self.obey()
                alarm.clear()
                if self.cut is not None and self.cut[1] > 0:
                    size = min(size, self.cut[1] - index)
            if size <= 0:
                self.calling = False
                return index, None
            for ints[_INDEX], item in enumerate(items[index - lo : index - lo + size], index):
                append(call(item))
                if alarm:
                    break
            self.calling = False
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is an outcome
            self.calling = False
            return ints[_INDEX], error
        return ints[_INDEX] + 1, None

    def _item_call(self, loaded: Any, entry: tuple[Any, ...]) -> Callable[[Any], Any]:
        """What to call with an item: the function, with the arguments that all items share."""
        node, packed, given = entry[0], entry[7], entry[8]
        shared = self._shared.get((fn := self._head[0], node))
        if shared is None:
            args, kwargs = self._codec.load_args(fn, packed, self._inputs.of(given))
            args = self._inputs.join(given, args)
            shared = self._shared[fn, node] = (args, kwargs, bool(kwargs.pop(STAR, False)))
            while len(self._shared) > _SHARED_KEPT:
                self._shared.popitem(last=False)
        args, kwargs, star = shared
        call = loaded.fn
        if is_coroutine_function(call):
            plain = call
            call = lambda *a, **k: _awaited(plain(*a, **k))  # noqa: E731
        if star:
            return lambda item: call(*item, *args, **kwargs)
        return (lambda item: call(item, *args, **kwargs)) if args or kwargs else call


def is_coroutine_function(fn: Any) -> bool:
    """Whether calling it gives a coroutine; looks through partials and callable objects."""
    while hasattr(fn, "func") and not inspect.iscoroutinefunction(fn):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def _awaited(coroutine: Any) -> Any:
    import asyncio

    return asyncio.run(coroutine)


def _no_inputs(position: int, index: int | None) -> Any:
    raise InternalError(f"input {position} was not given")
