"""`Run`: what the handles of workflows and canvases have in common."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskflow.errors import WaitTimedOut
from taskflow.future import Future, end_of
from taskflow.ids import NodeId, RunId
from taskflow.maprun import Errors, MapRun, follow
from taskflow.pools import context
from taskflow.records import Event, Failure, RunView, Segment
from taskflow.states import TERMINAL, State

if TYPE_CHECKING:
    from taskflow.engine import Engine

__all__ = ["LEFT_OUT", "Handle", "Run", "arrays_of", "outcome", "seconds_left"]

Handle = Future[Any] | MapRun[Any]


class Run:
    """A run as a whole: waits for its end, and makes handles of its nodes."""

    wants_values = False

    def __init__(self, engine: Engine, run: RunId, arrays: Mapping[NodeId, int | None]) -> None:
        self.id = run
        self._engine = engine
        self._arrays = arrays
        self._handles: dict[NodeId, Handle] = {}
        self._over = threading.Condition()
        self._ended = False
        self._begun = False
        self._on_end: list[Callable[[], object]] = []

    # ── Listener ─────────────────────────────────────────────────────────────────────

    def happened(self, event: Event, /) -> None:
        """See `feed.Listener`."""
        self._begun = True
        if event.state in TERMINAL:
            self._engine.feed.unwatch(NodeId(self.id), self)
            with self._over:
                self._ended = True
                self._over.notify_all()
                told, self._on_end = self._on_end, []
            for tell in told:
                tell()

    def when_over(self, tell: Callable[[], object]) -> None:
        """Call a function when every node has ended: in a thread of the client, or now if that is so."""
        with self._over:
            if not self._ended:
                self._on_end.append(tell)
                return
        tell()

    def running(self) -> bool:
        """Whether anything of it has started."""
        return self._begun and not self._ended

    def ended(self, segments: Sequence[Segment], /) -> None:
        """See `feed.Listener`: a run has no values of its own."""

    def look(self) -> None:
        """See `feed.Listener`."""
        view = self.progress
        if view.state in TERMINAL:
            self.happened(Event(0, 0.0, self.id, "", 0, 0, view.state))

    # ── what every run has ───────────────────────────────────────────────────────────

    @property
    def progress(self) -> RunView:
        """The run with its nodes, as it stands."""
        self._engine.flush()
        return self._engine.store.snapshot(self.id)[0]

    @property
    def state(self) -> State:
        """The state of the run."""
        return self.progress.state

    def done(self) -> bool:
        """Whether every node has ended."""
        return self._ended

    def cancel(self) -> bool:
        """Cancel what has not ended; `True` when there was anything to cancel."""
        self._engine.flush()
        return self._engine.store.cancel(self.id, reason="cancelled by its run")

    def wait(self, timeout: float | None = None, *, progress: bool = False) -> Any:
        """Wait until every node has ended, however; may show progress in a terminal.

        Raises:
            WaitTimedOut: The wait ended, the run did not.
        """
        if progress and not self._ended:
            from taskflow.observe.board import Board
            from taskflow.observe.terminal import Bars

            with Bars() as bars:
                if bars.live:
                    follow(self._engine, self.id, bars, Board(), self.done, self._block, timeout)
                    return self
        self._block(self.done, timeout)
        return self

    def _block(self, done: Callable[[], bool], timeout: float | None) -> None:
        if done():
            return
        engine = self._engine
        engine.flush()
        try:
            if engine.inline:
                engine.drive(done, timeout)
                if not done():
                    raise self._timed_out(timeout)
                return
            with context.lend(), self._over:
                if not self._over.wait_for(done, timeout):
                    raise self._timed_out(timeout)
        except KeyboardInterrupt:
            engine.interrupted([self.id])
            raise

    def _timed_out(self, timeout: float | None) -> WaitTimedOut:
        after = "" if timeout is None else f" after {timeout:g} s"
        return WaitTimedOut(f"{self!r} had not ended{after}. {self._engine.why_waiting()}")

    async def _awaited(self, result: Callable[[], Any]) -> Any:
        import asyncio

        self._engine.flush()
        if self._engine.inline:
            return result()
        try:
            await end_of(self.when_over)
        except asyncio.CancelledError:
            if self._engine.cancel_on_interrupt:
                self.cancel()
            raise
        return await asyncio.to_thread(result)

    def _handle(self, node: NodeId, label: str = "") -> Handle:
        handle = self._handles.get(node)
        if handle is None:
            if node in self._arrays:
                handle = MapRun(self._engine, self.id, node, self._arrays[node], label)
            else:
                handle = Future(self._engine, self.id, node, None, label)
            self._handles[node] = handle
            self._engine.flush()
            self._engine.feed.catch_up(node, handle)
        return handle

    def _value(self, node: NodeId, index: int | None, timeout: float | None) -> Any:
        handle = self._handle(node)
        if isinstance(handle, Future):
            return handle.result(timeout)
        if index is not None:
            return handle[index].result(timeout)
        return handle.wait(timeout, progress=False).results()

    @property
    def failures(self) -> list[tuple[str, int, Failure]]:
        """What ended without a value so far, apart from what was skipped: label, index, what happened."""
        found = []
        for node in self.progress.nodes:
            if any(node.counts.get(state) for state in _BAD):
                for item in self._engine.store.items(node.id):
                    if item.state in _BAD:
                        failure = Failure.from_json(item.error or "{}")
                        found += [(node.label, index, failure) for index in range(item.lo, item.hi)]
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id[:13]}…>"


_BAD = (State.FAILED, State.DEAD, State.EXPIRED, State.CANCELLED)


def seconds_left(deadline: float | None) -> float | None:
    """Until a deadline of the monotonic clock."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def arrays_of(view: RunView) -> dict[NodeId, int | None]:
    """The array nodes of a run, with their widths."""
    return {node.id: node.width for node in view.nodes if node.array}


LEFT_OUT = object()
"""Stands for what ``errors="skip"`` leaves out."""


def outcome(get: Callable[[], Any], errors: Errors) -> Any:
    """What a handle gives: its value, or, as `errors` says, its exception or `LEFT_OUT`."""
    try:
        return get()
    except WaitTimedOut:
        raise
    except (Exception, SystemExit, concurrent.futures.CancelledError) as error:
        if errors == "raise":
            raise
        return error if errors == "return" else LEFT_OUT
