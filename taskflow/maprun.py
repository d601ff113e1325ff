"""`MapRun`: the results of a map, in order, and the handle of its run."""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, get_args

from taskflow.codec import Reference
from taskflow.errors import ConfigError, TaskCancelled, UsageError, WorkerLost, nearest
from taskflow.future import Future, decode
from taskflow.ids import NodeId, RunId
from taskflow.observe import showing
from taskflow.ranges import Ranges
from taskflow.records import Event, Failure, ItemView, NodeView, Segment
from taskflow.states import TERMINAL, State
from taskflow.tables import rows_or_frame
from taskflow.waiting import Waiting

if TYPE_CHECKING:
    from taskflow.arrivals import Arrivals
    from taskflow.engine import Engine
    from taskflow.stream import Stream

__all__ = ["Errors", "MapRun", "check_errors"]

R = TypeVar("R")
Errors = Literal["raise", "skip", "return"]

_NOBODY: Future[Any] = object.__new__(Future)  # another thread was here before
_WINDOW = 65_536
_NEAR_ITEMS = 64


class MapRun(Waiting, Iterator[R], Reference):
    """Results of a map in order; iterating waits for the next one.

    It releases each result as it is handed out, so that a long map takes constant memory; what stays
    is in the store. A failed item raises when its turn comes; iterating further goes on with the next.

    A map over a generator has no `len` while that is read. It is read as results are taken; `wait`,
    `results`, `width`, `futures`, ``await`` and tasks that take the map as an argument let it be read to its
    end.

    Attributes:
        id: The run; ``client.attach(id)`` finds it again in another process.
    """

    index = None

    def __init__(
        self,
        engine: Engine,
        run: RunId,
        node: NodeId,
        width: int | None,
        label: str = "",
        *,
        feeder: NodeId | None = None,
        stream: Stream | None = None,
    ) -> None:
        super().__init__(engine, run)
        self._feeder = feeder
        self._stream = stream
        self._told_end = False
        self.node_id = node
        self.label = label
        self._width = width
        self._next = 0
        self._ended = Ranges()
        self._over = width == 0
        self._waiting: dict[int, Future[R] | None] = {}  # `None`: nobody has asked for the future yet
        self._kept: dict[int, tuple[Any, BaseException | None]] = {}  # what those gave meanwhile
        self._unread: list[tuple[int, int]] = []
        self._futures: weakref.WeakValueDictionary[int, Future[R]] = weakref.WeakValueDictionary()
        self._window: list[Segment] = []
        self._values: Iterator[R] = iter(())
        self._deadline: float | None = None

    @property
    def url(self) -> str:
        """The store it belongs to: only tasks of the same store can take it as an argument."""
        return self._engine.url

    def give_up_after(self, timeout: float) -> None:
        """Let iterating raise `WaitTimedOut` from so many seconds on."""
        self._deadline = time.monotonic() + timeout

    @property
    def width(self) -> int:
        """How many items there are; waits while that depends on another node, or on an iterator."""
        if self._width is None:
            self.is_needed()
            self._block(lambda: self._known_width() is not None, None)
            self._width = self._known_width()
        return self._width or 0

    def _known_width(self) -> int | None:
        self._engine.flush()
        node = self._node()
        if node.growing:
            return None
        return node.width if node.state not in TERMINAL else node.width or 0

    def _node(self) -> NodeView:
        return next(n for n in self._engine.store.snapshot(self.id)[0].nodes if n.id == self.node_id)

    def __len__(self) -> int:
        if self._feeder is not None and self._width is None:
            self._width = self._known_width()
            if self._width is None:
                raise TypeError(
                    f"{self!r} has no length yet: its iterator is still read. `run.width` waits for its end,"
                    " `run.progress.total` is how many items there are so far."
                )
        return self.width

    def __bool__(self) -> bool:
        return self._width != 0

    def is_needed(self) -> None:
        """Somebody waits for all of it: an iterator that it maps is read to its end."""
        if self._stream is not None:
            self._stream.want()

    # ── Listener ─────────────────────────────────────────────────────────────────────

    def happened(self, event: Event, /) -> None:
        """See `feed.Listener`."""
        if event.state not in TERMINAL:
            if event.state is State.RUNNING:
                self._begun = True
                for index in self._waiting_in(event.lo, event.hi):
                    future = self._waiting.get(index)
                    if future is not None:
                        future.begun()
            if self._width is None:
                self._note([])
            return
        if event.lo == event.hi:
            self._finish()
            return
        if self._waiting_in(event.lo, event.hi):
            self._unread.append((event.lo, event.hi))
        self._note([(event.lo, event.hi)])

    def caught_up(self, known: Sequence[Segment], /) -> None:
        """See `feed.Listener`: what ended near each other is read together."""
        if not self._unread:
            return
        self._settle(known)
        unread = sorted(part for part in self._unread if self._waiting_in(*part))
        self._unread = []
        at = 0
        while at < len(unread):
            lo, hi = unread[at]
            while at < len(unread) and unread[at][0] <= hi + _NEAR_ITEMS:
                hi, at = max(hi, unread[at][1]), at + 1
            self._settle(self._engine.store.values([self.node_id], lo=lo, hi=hi)[self.node_id])

    def ended(self, segments: Sequence[Segment], /) -> None:
        """See `feed.Listener`."""
        self._note([(segment.lo, segment.hi) for segment in segments])
        self._settle(segments)

    def look(self) -> None:
        """See `feed.Listener`."""
        self.ended(self._engine.store.values([self.node_id])[self.node_id])
        view, _ = self._engine.store.snapshot(self.id)
        if any(node.state in TERMINAL for node in view.nodes if node.id == self.node_id):
            self._finish()

    def _note(self, ranges: Sequence[tuple[int, int]]) -> None:
        with self._changed:
            for lo, hi in ranges:
                self._ended.add(lo, hi)
        self._wake()
        if self._stream is not None:
            self._stream.have_ended(self._ended.count)
        if self._width is not None and self._ended.count >= self._width:
            self._finish()

    def lost(self, error: BaseException, /) -> None:
        """See `feed.Listener`."""
        super().lost(error)
        for index in list(self._waiting):
            future = self._waiting.pop(index, None)
            if future is not None:
                future.take(None, error)

    def _leave_feed(self) -> None:
        self._engine.feed.unwatch(self.node_id, self)
        if self._stream is not None:
            self._stream.stop()

    def _finish(self) -> None:
        self.caught_up(())
        self._leave_feed()
        self._end()
        if waiting := list(self._waiting):  # whoever comes later sees that it is over, and looks himself
            self._settle(self._engine.store.values([self.node_id])[self.node_id])
            self._settle_those_that_never_were(waiting)

    def _settle_those_that_never_were(self, indexes: Iterable[int]) -> None:
        """Of these nothing is stored: their node was skipped or cancelled as a whole."""
        for index in indexes:
            future = self._waiting.pop(index, None)
            if future is not None:
                future.take(None, self._without_outcome(index))

    def _waiting_in(self, lo: int, hi: int) -> list[int]:
        """Items of a range that somebody waits for, or may ask for."""
        waiting = self._waiting
        if not waiting:
            return []
        if hi - lo < len(waiting):
            return [index for index in range(lo, hi) if index in waiting]
        return [index for index in list(waiting) if lo <= index < hi]

    def _settle(self, segments: Sequence[Segment]) -> None:
        """Hand the outcomes to the futures that wait for them."""
        for segment in segments:
            indexes = self._waiting_in(segment.lo, segment.hi)
            if not indexes:
                continue
            found = [self._waiting.pop(index, _NOBODY) for index in indexes]
            if segment.state is State.CANCELLED or (
                segment.hi - segment.lo == 1
                and segment.state is State.SUCCEEDED
                and self._engine.codec.is_far(segment)
            ):
                for future in found:
                    if future is not None and future is not _NOBODY:
                        future.settle(segment)
                continue
            values, error = decode(self._engine, segment, None)
            for index, future in zip(indexes, found, strict=True):
                value = None if error is not None else values[index - segment.lo]
                if future is None:
                    self._kept[index] = value, error
                elif future is not _NOBODY:
                    future.take(value, error)

    # ── iterating ────────────────────────────────────────────────────────────────────

    def __iter__(self) -> Iterator[R]:
        """The results from here on, by way of their lists: so they are handed out several times as fast.

        What has not been handed out is still here, for `next` and for another ``for``.
        """
        return chain.from_iterable(self._lists())

    def _lists(self) -> Iterator[Iterator[R]]:
        __tracebackhide__ = True
        yield self._values
        while self._shown_going_on():
            yield self._values

    def _shown_going_on(self) -> bool:
        __tracebackhide__ = True
        with showing.during(self):
            return self._go_on()

    def __next__(self) -> R:
        __tracebackhide__ = True
        while True:
            for value in self._values:
                return value
            if not self._go_on():
                raise StopIteration

    def _go_on(self) -> bool:
        """Have the values behind those that were handed out; `False` when there are none."""
        __tracebackhide__ = True
        index = self._next
        left = self._left_s()
        if not self._comes(index, left):
            if not self._told_end and (error := self._early_end()) is not None:
                self._told_end = True
                raise error
            return False
        segment = self._segment(index, left)
        self._next = index + 1
        values, error = decode(self._engine, segment, None)
        if error is not None:
            raise error
        self._next = segment.hi
        self._values = iter(values[index - segment.lo :])
        return True

    def _left_s(self) -> float | None:
        """Seconds until iterating gives up."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _comes(self, index: int, timeout: float | None) -> bool:
        """Whether there is such an item; where that is not known, waits until it has ended."""
        if self._width is None and self._feeder is not None:
            if self._stream is not None:
                self._stream.handed(index, self._ended.count)
            self._wait_for(index, timeout)
            if not self._over:
                return True
            self._width = self._known_width()
        return index < self.width

    def _early_end(self) -> BaseException | None:
        """Why items are missing at the end of a map over an iterator: what that raised, for one."""
        if self._stream is not None and self._stream.error is not None:
            return self._stream.error
        if self._feeder is None:
            return None
        found = self._engine.store.values([self._feeder])[self._feeder]
        if not found:  # only a cancel ends a map before its iterator is closed
            told = f"{self.label} was cancelled after {self.width:,} items of its iterator."
            return TaskCancelled(told, reason="the map was cancelled")
        if found[0].state is State.SUCCEEDED:
            return None
        if found[0].state not in (State.DEAD, State.EXPIRED):
            return decode(self._engine, found[0], None)[1]
        return WorkerLost(
            f"The iterator of {self.label} was lost with the client that read it, after {self.width:,} items."
        )

    def _segment(self, index: int, timeout: float | None) -> Segment:
        """The segment that holds an item, when that has ended; reads a window of them at a time."""
        while self._window and self._window[0].hi <= index:
            self._window.pop(0)
        if not (self._window and self._window[0].lo <= index):
            self._wait_for(index, timeout)
            self._window = self._engine.store.values([self.node_id], lo=index, hi=index + _WINDOW)[
                self.node_id
            ]
            self._window = [s for s in self._window if s.hi > index]
            if not self._window or self._window[0].lo > index:
                raise self._without_outcome(index)
        return self._window[0]

    def _without_outcome(self, index: int) -> BaseException:
        found = [item for item in self._engine.store.items(self.node_id) if item.lo <= index < item.hi]
        failure = Failure.from_json((found[0].error if found else None) or '{"kind": "skipped"}')
        engine = self._engine
        return engine.causes.told(engine.codec.exception(failure, None, self.node_id, index, 0), self.node_id)

    def _has(self, index: int) -> bool:
        return self._over or index in self._ended

    def _wait_for(self, index: int, timeout: float | None) -> None:
        self._block(lambda: self._has(index), timeout)

    # ── all at once ──────────────────────────────────────────────────────────────────

    def wait(self, timeout: float | None = None, *, progress: bool | None = None) -> MapRun[R]:
        """Wait until every item has ended, however; shows progress in a terminal.

        Raises:
            WaitTimedOut: The wait ended, the map did not.
        """
        __tracebackhide__ = True
        if not self._over:
            self.is_needed()
        return super().wait(timeout, progress=progress is not False)

    def results(self, errors: Errors = "raise") -> list[Any]:
        """All results in order.

        Args:
            errors: ``"raise"`` raises what the first failed item raised; ``"skip"`` leaves failed items
                out; ``"return"`` puts their exceptions in their place. What an iterator raised comes last.
        """
        __tracebackhide__ = True
        check_errors(errors)
        self.wait()
        found: list[Any] = []
        end = self._early_end() if self._feeder is not None else None
        for segment in self._segments() if end is None or self.width else ():
            values, error = decode(self._engine, segment, None)
            if error is None:
                found += values
            elif errors == "raise":
                raise error
            elif errors == "return":
                found += [error] * (segment.hi - segment.lo)
        if end is not None and errors == "raise":
            raise end
        return found if end is None or errors == "skip" else [*found, end]

    def _segments(self) -> list[Segment]:
        """All outcomes, in order.

        Raises:
            UpstreamFailed: There are none, for the map was never begun.
        """
        segments = self._engine.store.values([self.node_id])[self.node_id]
        if not segments and self._width != 0 and not self._known_width_is_zero():
            raise self._without_outcome(0)
        return segments

    def _known_width_is_zero(self) -> bool:
        node = self._node()
        return node.width == 0 and node.state is State.SUCCEEDED

    def __await__(self) -> Generator[Any, None, list[Any]]:
        """Wait for all results without blocking the event loop."""
        self.is_needed()
        return self._awaited(self.results).__await__()

    # ── iterating in an event loop ───────────────────────────────────────────────────

    def __aiter__(self) -> AsyncIterator[R]:
        """The results from here on, for ``async for``; see `__iter__`."""
        return self

    async def __anext__(self) -> R:
        __tracebackhide__ = True
        while True:
            for value in self._values:
                return value
            if not await self._goes_on():
                raise StopAsyncIteration

    async def _goes_on(self) -> bool:
        """The same as `_go_on`, which is asked only when nothing has to be waited for."""
        __tracebackhide__ = True
        import asyncio

        if self._engine.inline:
            return self._go_on()
        index = self._next
        if self._stream is not None:
            self._stream.handed(index, self._ended.count)
        async with showing.awaited(self):
            while not self._is_known(index):
                await self._come(partial(self._when, lambda: self._is_known(index)), self._left_s())
        return await asyncio.to_thread(self._go_on)

    def _is_known(self, index: int) -> bool:
        """Whether an item has ended, or is none."""
        return self._has(index) or (self._width is not None and index >= self._width)

    def partial(self) -> Any:
        """What has ended so far, as a table: ``index``, ``state``, ``value``, ``error``."""
        self._engine.flush()
        rows: list[dict[str, Any]] = []
        for segment in self._engine.store.values([self.node_id])[self.node_id]:
            values, error = decode(self._engine, segment, None)
            for index in range(segment.lo, segment.hi):
                value = None if error is not None else values[index - segment.lo]
                rows.append({"index": index, "state": str(segment.state), "value": value, "error": error})
        return rows_or_frame(rows)

    # ── items ────────────────────────────────────────────────────────────────────────

    def __getitem__(self, index: int) -> Future[R]:
        """The future of one item."""
        if index >= 0 and self._width is None and self._feeder is not None:
            self._block(lambda: self._is_there(index), None)
            return self._future(index) if index < (self._node().width or 0) else self._none_such(index)
        if index < 0:
            index += self.width
        if not 0 <= index < self.width:
            self._none_such(index)
        return self._future(index)

    def _is_there(self, index: int) -> bool:
        if self._stream is not None:
            self._stream.want(index + 1)
        node = self._node()
        return not node.growing or index < (node.width or 0)

    def _none_such(self, index: int) -> NoReturn:
        raise IndexError(f"item {index} of a map of {self.width}")

    @property
    def futures(self) -> list[Future[R]]:
        """A future for each item, in order."""
        return self._futures_of(range(self.width))

    def _future(self, index: int) -> Future[R]:
        return self._futures_of(range(index, index + 1))[0]

    def _futures_of(self, indexes: range) -> list[Future[R]]:
        """The futures of some items; while one is kept, the same one is given again."""
        self._check_known()
        found = []
        ended = []
        for index in indexes:
            future = self._futures.get(index)
            if future is None:
                future = Future(self._engine, self.id, self.node_id, index, self.label)
                self._futures[index] = self._waiting[index] = future
                if self._has(index):  # asked for after it is among those that wait: the feed may be here too
                    ended.append(index)
            found.append(future)
        if ended:
            over = self._over  # before it is looked: what ended meanwhile is the feed's to tell
            values = self._engine.store.values([self.node_id], lo=ended[0], hi=ended[-1] + 1)
            self._settle(values[self.node_id])
            self._settle_those_that_never_were(ended if over else ())
        return found

    def as_completed(self, timeout: float | None = None) -> Arrivals[Future[R]]:
        """The futures of all items, each when it has ended; for ``for`` and ``async for``.

        Args:
            timeout: Seconds to wait at most for all of them; then `WaitTimedOut` is raised.
        """
        from taskflow.arrivals import Arrivals

        return Arrivals(lambda: [(future, future) for future in self.futures], timeout, whole=self)

    def items(self) -> list[ItemView]:
        """The rows of the result table; items with one story share a row."""
        self._engine.flush()
        return self._engine.store.items(self.node_id)

    @property
    def failed(self) -> list[tuple[int, Failure]]:
        """Items that ended without a value so far: index and what happened."""
        bad = [item for item in self.items() if item.state in TERMINAL and item.state is not State.SUCCEEDED]
        return [(i, Failure.from_json(item.error or "{}")) for item in bad for i in range(item.lo, item.hi)]

    def to_frame(self) -> Any:
        """One row for each item: index, state, attempts, worker, times, error (a DataFrame with pandas)."""
        rows = []
        for item in self.items():
            failure = Failure.from_json(item.error) if item.error else None
            for index in range(item.lo, item.hi):
                rows.append(
                    {
                        "index": index,
                        "state": str(item.state),
                        "attempts": item.attempts,
                        "worker": item.worker,
                        "started_at": item.started_at,
                        "took_s": None if item.took_s is None else item.took_s / (item.hi - item.lo),
                        "error": str(failure) if failure else None,
                    }
                )
        return rows_or_frame(rows)

    @property
    def logs(self) -> dict[int, str]:
        """What the items printed and logged, by index."""
        found: dict[int, str] = {}
        for index, text in self._engine.store.logs(self.node_id):
            found[index] = found.get(index, "") + text
        return found

    # ── control ──────────────────────────────────────────────────────────────────────

    def retry_failed(self, fn: Callable[..., R] | None = None) -> MapRun[R]:
        """Run the items that gave no value again; the new run has the results of the others already.

        Args:
            fn: The function as it was edited, with the same parameters; the same one by default.

        Returns:
            The new run; this one, when nothing has failed.

        Raises:
            UsageError: With `fn`: the map has not ended, or it is a step of a larger run.

        Example:
            ``run = run.retry_failed(parse)``, after `parse` was fixed
        """
        if fn is not None:
            return self._mended(fn)
        new, names = self._engine.rerun(self.id)
        if self.node_id not in names:
            return self
        again: MapRun[R] = MapRun(self._engine, new, NodeId(names[self.node_id]), self._width, self.label)
        self._engine.feed.catch_up(again.node_id, again)
        self._engine.begin()
        return again

    def _mended(self, fn: Callable[..., R]) -> MapRun[R]:
        plan = self._engine.mended(self.id, self.node_id, fn)
        if plan is None:
            return self
        (node,) = plan.nodes
        again: MapRun[R] = MapRun(self._engine, plan.run, node.id, node.width, self.label)
        self._engine.feed.watch(node.id, again)
        self._engine.send(plan)
        return again

    def debug(
        self, index: int | None = None, *, fn: Callable[..., Any] | None = None, post_mortem: bool = True
    ) -> Any:
        """Run one item once more, here and now; a debugger opens where it raises: see `Future.debug`.

        Args:
            index: Which item; the first that failed by default.
            fn: Run this in place of the function that was sent: the one that you have just edited.
            post_mortem: Open a debugger.

        Raises:
            UsageError: No item has failed, and none was named.

        Example:
            ``run.debug(3)``, and after editing the function ``run.debug(3, fn=parse)``
        """
        __tracebackhide__ = True
        if index is None:
            index = next((failed for failed, _ in self.failed), None)
            if index is None:
                raise UsageError(f"No item of {self!r} has failed: say which one to run, as in run.debug(0).")
        return self[index].debug(fn=fn, post_mortem=post_mortem)

    def reduce(self, fn: Callable[[Any, Any], Any], *, tree: int | bool = True) -> Future[Any]:
        """Fold all results with a function of two, on workers.

        Args:
            fn: Makes one value of two; it must be associative, the order is kept.
            tree: Fold so many at a time, as a tree of calls, each as soon as its items are there; `True`
                takes a suitable number, `False` folds all in one call when the last is there.

        Raises:
            ConfigError: The number is below 2.
        """
        if not isinstance(tree, bool) and tree < 2:
            raise ConfigError(f"tree={tree} is not possible: a call must fold 2 values or more.")
        self.is_needed()
        return self._engine.fold(fn, self.node_id, self._known_width(), tree=tree)

    def __repr__(self) -> str:
        width = "?" if self._width is None else format(self._width, ",")
        return f"<MapRun {self.label} {self.id[:13]}… {self._ended.count:,} of {width} ended>"


def check_errors(errors: str) -> None:
    """Refuse what says nothing of failures.

    Raises:
        ConfigError: It is none of `Errors`; the nearest is named.
    """
    if errors not in (known := get_args(Errors)):
        raise ConfigError(f"errors={errors!r} is not known.{nearest(errors, known)}")
