"""`Future`: a real `concurrent.futures.Future` for a durable task, or for one item of a map."""

from __future__ import annotations

import concurrent.futures
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from taskflow.codec import Reference
from taskflow.errors import StoreError, TaskCancelled, WaitTimedOut
from taskflow.ids import NodeId, RunId
from taskflow.observe import showing
from taskflow.observe.progress import Progress, progress_of
from taskflow.observe.showing import bundle, shown_by
from taskflow.pools import context
from taskflow.records import Event, Failure, ItemView, Segment
from taskflow.states import State

if TYPE_CHECKING:
    from types import TracebackType

    from taskflow.engine import Engine

__all__ = ["Future", "decode"]

R = TypeVar("R")

_PENDING, _RUNNING = "PENDING", "RUNNING"
_CANCELLED = ("CANCELLED", "CANCELLED_AND_NOTIFIED")
_OVER = ("FINISHED", *_CANCELLED)


class _Far(NamedTuple):
    """Stands for a value that is on a server."""

    segment: Segment


class Future(concurrent.futures.Future[R], Reference):
    """The result of a task that may not be there yet.

    Everything that takes a `concurrent.futures.Future` takes this one: `concurrent.futures.wait`,
    `asyncio.wrap_future`, callbacks. It can be awaited, and passed to another task, which then waits
    for it where it runs.

    Attributes:
        run_id: The run it belongs to.
        node_id: Its node.
        index: Which item of an array node, or `None` for a call.
        is_single: Whether it is an item only because its call was sent together with others: what is done to
            it concerns none of those.
    """

    wants_values = True
    is_single = False
    # What most futures never set: of thousands of calls few are waited for one by one, or fail.
    _stand: threading.Condition | None = None
    _others: tuple[list[Any], list[Callable[..., object]]] | None = None
    _result: R | None = None
    _exception: BaseException | None = None
    _trace: TracebackType | None = None
    _reason = ""
    _stopped = _is_told = False

    def __init__(
        self, engine: Engine, run: RunId, node: NodeId, index: int | None = None, label: str = ""
    ) -> None:
        # What the base class does, but for what is made when it is needed.
        self._lock = threading.RLock()
        self._state = _PENDING
        self._engine = engine
        self.run_id = run
        self.node_id = node
        self.index = index
        self.label = label

    # ── what the base class has, for less ────────────────────────────────────────────

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        """What the base class and those who wait stand by; made for the first of them.

        With its methods it is more than the rest of a future, to make and for the garbage collector.
        """
        with self._lock:
            if self._stand is None:
                self._stand = threading.Condition(self._lock)
            return self._stand

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        """Those of `concurrent.futures.wait`."""
        return self._those_told()[0]

    @property
    def _done_callbacks(self) -> list[Callable[..., object]]:
        """What is called when it is done."""
        return self._those_told()[1]

    def _those_told(self) -> tuple[list[Any], list[Callable[..., object]]]:
        with self._lock:
            if self._others is None:
                self._others = [], []
            return self._others

    def done(self) -> bool:
        """Whether it has ended, or was cancelled."""
        return self._state in _OVER

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state in _CANCELLED

    # ── names ────────────────────────────────────────────────────────────────────────

    @property
    def id(self) -> str:
        """What names the task in every process: ``client.future(id)`` finds it again.

        The task is in the store when this returns.
        """
        self._engine.flush()
        return self.node_id if self.index is None else f"{self.node_id}[{self.index}]"

    @property
    def state(self) -> State:
        """Where the task stands, read from the store."""
        self._engine.flush()
        item = self._item()
        return item.state if item is not None else State.SKIPPED

    @property
    def progress(self) -> Progress | None:
        """How far the task says it is, by ``taskflow.progress``, ``report`` or ``update_state``; `None` when
        it said nothing, or does not run. Read from the store."""
        self._engine.flush()
        return progress_of(self._item())

    def _item(self) -> ItemView | None:
        index = self.index or 0
        found = self._engine.store.items(self.node_id)
        return next((item for item in found if item.lo <= index < item.hi), None)

    def running(self) -> bool:
        """Whether a worker runs it now; asks the store, for a start is not told at once."""
        engine = self._engine
        reachable = self._state == _PENDING and engine.pid == os.getpid() and not engine.closed
        if reachable and self.state is State.RUNNING:
            self.begun()
        return super().running()

    @property
    def url(self) -> str:
        """The store it belongs to: only tasks of the same store can take it as an argument."""
        return self._engine.url

    @property
    def logs(self) -> str:
        """What the task printed and logged."""
        self._engine.flush()
        return "".join(text for _, text in self._engine.store.logs(self.node_id, index=self.index or 0))

    # ── waiting ──────────────────────────────────────────────────────────────────────

    def result(self, timeout: float | None = None) -> R:
        """The task's value.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            WaitTimedOut: The wait ended, the task did not.
            TaskError: The task gave no value; when it raised, its own exception is raised instead.
        """
        __tracebackhide__ = True  # asked for by the shells and test runners that show tracebacks
        if self._state != "FINISHED":
            self._wait(timeout)
        self._fetch()
        self._tell()
        error = self._exception
        if error is None:
            return self._result  # type: ignore[return-value]
        try:
            # As it came: each time it is raised, Python puts the frames that it passes before those it has.
            raise error.with_traceback(self._trace)
        finally:
            del self, error  # the frames are kept by what they raise: as the standard library does it

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, or `None`; waits and raises as `result` does."""
        __tracebackhide__ = True
        self._wait(timeout)
        self._fetch()
        return super().exception(0)

    def _wait(self, timeout: float | None) -> None:
        """Return when it has ended with a value or an error, raise when it was cancelled."""
        __tracebackhide__ = True
        if not self.done():
            try:
                self._block(timeout)
            except KeyboardInterrupt:
                self._engine.interrupted([self])
                raise KeyboardInterrupt from None  # where in the wait it came is of no interest
        if self.cancelled():
            raise TaskCancelled(
                f"{self.label or self.node_id} was cancelled: {self._reason}", reason=self._reason
            )

    def _tell(self) -> None:
        """In a notebook, print under the cell what the task has printed; once."""
        shower = showing.shower()
        if shower is not None and not self._is_told:
            self._is_told = True
            shower.ended(self)

    def _fetch(self) -> None:
        """Have a value here that stayed on the server until somebody asks for it."""
        far: Any = self._result
        if type(far) is _Far:
            value, error = decode(self._engine, far.segment, self.index)
            with self._lock:
                if self._result is far:
                    self._result, self._exception = value, error
                    self._trace = None if error is None else error.__traceback__

    def _block(self, timeout: float | None) -> None:
        engine = self._engine
        engine.flush(wait=False)
        if engine.inline:
            engine.drive(self.done, timeout)
            if not self.done():
                raise self._timed_out(timeout)
            return
        # Not by `super().exception`: that gives the TimeoutError of a task as if the wait had ended.
        with context.lend():
            until = None if timeout is None else time.monotonic() + timeout
            if self._others is None or not any(self._others):  # they are told by another thread than this
                engine.feed.lead(self.node_id, self, self.done, timeout)
                if self.done():
                    return
            with self._lock:
                if not engine.hold(self._condition, self.done, until and until - time.monotonic()):
                    raise self._timed_out(timeout)

    def _timed_out(self, timeout: float | None) -> WaitTimedOut:
        after = "" if timeout is None else f" after {timeout:g} s"
        return WaitTimedOut(f"{self.label or 'the task'} had not ended{after}. {self._engine.why_waiting()}")

    def __await__(self) -> Generator[Any, None, R]:
        """Wait without blocking the event loop; a task that is cancelled meanwhile cancels this one."""
        return self._awaited().__await__()

    async def _awaited(self) -> R:
        __tracebackhide__ = True
        import asyncio

        from taskflow.awaiting import comes

        engine = self._engine
        if engine.inline:
            self._wait(None)
        elif not self.done() and not await comes(engine, self.add_done_callback, self.cancel):
            raise await asyncio.to_thread(self._timed_out, None)
        if type(self._result) is _Far:
            await asyncio.to_thread(self._fetch)
        return self.result(0)

    # ── control ──────────────────────────────────────────────────────────────────────

    def cancel(self) -> bool:
        """Cancel the task, also when it runs already: its child is stopped.

        Returns:
            Whether it will give no value; `False` when it had ended.
        """
        if self.done():
            return self.cancelled()
        self._engine.flush()
        if not self._engine.store.cancel(self.node_id, index=self.index, reason="cancelled by its future"):
            return False
        self._cancelled("cancelled by its future")
        return True

    def stop(self, *, running: bool) -> None:
        """See `feed.Listener`."""
        if running or not self.running():
            self.cancel()

    def retry(self, fn: Callable[..., R] | None = None) -> Future[R]:
        """Submit the task anew, after it failed; the new task's future.

        Args:
            fn: The function as it was edited, with the same parameters; the same one by default. Of a map,
                all items that failed run again with it.

        Raises:
            TaskflowError: It has not failed.
        """
        return self._engine.retry(self, fn)

    def debug(self, *, fn: Callable[..., Any] | None = None, post_mortem: bool = True) -> Any:
        """Run the call once more, here and now, with what it was given; a debugger opens where it raises.

        It runs in this thread: breakpoints work. Nothing is written to the store; the task stays as it is.

        Args:
            fn: Run this in place of the function that was sent: the one that you have just edited.
            post_mortem: Open a debugger; without it what the call raises is simply raised, for ``%debug``.

        Returns:
            What the call gave.

        Raises:
            UsageError: What it needs is not there yet, or never will be.
            Exception: What the call raised, after the debugger was left.
        """
        __tracebackhide__ = True
        from taskflow.debugging import debug

        self._engine.flush()
        return debug(
            self._engine.store, self._engine.codec, self.node_id, self.index, fn, post_mortem=post_mortem
        )

    def _cancelled(self, reason: str) -> None:
        with self._lock:
            if self._state not in (_PENDING, _RUNNING):
                return
            self._reason = reason
            self._state = _PENDING
            self._stopped = True
        self._engine.feed.unwatch(self.node_id, self)
        if super().cancel():
            self.set_running_or_notify_cancel()

    # ── Listener ─────────────────────────────────────────────────────────────────────

    def happened(self, event: Event, /) -> None:
        """See `feed.Listener`."""
        if event.state is State.RUNNING:
            self.begun()

    def caught_up(self, known: Sequence[Segment], /) -> None:
        """See `feed.Listener`."""

    def begun(self) -> None:
        """A worker has taken it up."""
        with self._lock:
            if self._state == _PENDING and not self._stopped:
                self._state = _RUNNING

    def ended(self, segments: Sequence[Segment], /) -> None:
        """See `feed.Listener`."""
        if segments:
            self._engine.feed.unwatch(self.node_id, self)
            self.settle(segments[0])

    def look(self) -> None:
        """See `feed.Listener`."""
        self.ended(self._engine.store.values([self.node_id])[self.node_id])

    def settle(self, segment: Segment) -> None:
        """Take the outcome."""
        if self._state not in (_PENDING, _RUNNING):
            return
        if segment.state is State.CANCELLED:
            self._cancelled(Failure.from_json(segment.error or "{}").message)
            return
        if segment.state is State.SUCCEEDED and self._engine.codec.is_far(segment):
            self.take(_Far(segment), None)
        else:
            self.take(*decode(self._engine, segment, self.index))

    def take(self, value: Any, error: BaseException | None) -> None:
        """Take its value, or what was raised; nothing when it was cancelled in this moment."""
        with self._lock:
            if self._state in _OVER:
                return
            self._result, self._exception = value, error
            self._trace = None if error is None else error.__traceback__
            self._state = "FINISHED"
            for waiter in self._others[0] if self._others is not None else ():
                (waiter.add_result if error is None else waiter.add_exception)(self)
            if self._stand is not None:
                self._stand.notify_all()
        if self._others is not None:
            self._invoke_callbacks()  # type: ignore[attr-defined]  # of the standard library

    def fail(self, error: BaseException) -> None:
        """The task never reached the store."""
        self._engine.feed.unwatch(self.node_id, self)
        if not self.done():
            self.take(None, error)

    def lost(self, error: StoreError, /) -> None:
        """See `feed.Listener`."""
        self.fail(error)

    # ── showing ──────────────────────────────────────────────────────────────────────

    def _ipython_display_(self) -> None:
        if self.index is not None:
            raise NotImplementedError
        shown_by(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """How it stands; of an item of a map only in text: the map shows the rest."""
        self._engine.flush()
        if self.index is not None:
            return {"text/plain": repr(self)}
        return bundle(self._engine.store, self.run_id, repr(self))

    def __repr__(self) -> str:
        return f"<Future {self.label or 'task'} {self.node_id[:13]}… {self._state.lower()}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Future travels only as an argument of a task: pass it to submit(), do not capture it"
        )


def decode(engine: Engine, segment: Segment, index: int | None) -> tuple[Any, BaseException | None]:
    """The value of a segment (of one item of it, when `index` is given) or its exception."""
    try:
        if segment.state is not State.SUCCEEDED:
            return None, engine.causes.told(engine.codec.segment_error(segment, frames=True), segment.node)
        found = engine.codec.load_segment(segment)
        return (found if index is None else found[index - segment.lo]), None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - rebuilding an object runs the user's code
        return None, error
