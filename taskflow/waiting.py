"""`Waiting`: what every handle of a run can do while the run goes on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from taskflow.errors import NoSuchRun, ResultExpired, WaitTimedOut
from taskflow.feed import run_lost
from taskflow.ids import RunId
from taskflow.observe import showing
from taskflow.observe.showing import bundle, shown_by
from taskflow.pools import context
from taskflow.records import RunView
from taskflow.states import State

if TYPE_CHECKING:
    from taskflow.engine import Engine
    from taskflow.observe.board import Board
    from taskflow.observe.terminal import Bars

__all__ = ["Waiting"]

DRAW_S = 0.1


class Waiting:
    """A run that somebody has a handle of.

    Attributes:
        run_id: The run in the store.
    """

    wants_values = False

    def __init__(self, engine: Engine, run: RunId) -> None:
        self.run_id = run
        self._engine = engine
        self._changed = threading.Condition()
        self._begun = False
        self._over = False
        self._lost: BaseException | None = None
        self._on_end: list[Callable[[], object]] = []
        self._on_news: list[Callable[[], object]] = []

    @property
    def id(self) -> RunId:
        """The id of the run; ``client.attach(id)`` finds it again in another process."""
        return self.run_id

    # ── how it stands ────────────────────────────────────────────────────────────────

    @property
    def progress(self) -> RunView:
        """The run with its nodes, as it stands."""
        self._engine.flush()
        return self._engine.store.snapshot(self.run_id)[0]

    @property
    def state(self) -> State:
        """The state of the run."""
        return self.progress.state

    def running(self) -> bool:
        """Whether anything of it has started, and not all has ended."""
        return self._begun and not self._over

    def done(self) -> bool:
        """Whether all of it has ended."""
        return self._over

    def cancel(self) -> bool:
        """Cancel what has not ended; `True` when there was anything to cancel."""
        self._engine.flush()
        return self._engine.store.cancel(self.run_id, reason="cancelled by its handle")

    def stop(self, *, running: bool) -> None:
        """See `feed.Listener`."""
        if running or not self.running():
            self.cancel()

    # ── waiting ──────────────────────────────────────────────────────────────────────

    def wait(self, timeout: float | None = None, *, progress: bool = False) -> Self:
        """Wait until all of it has ended, however; may show progress, in a terminal or under the cell.

        Raises:
            WaitTimedOut: The wait ended, the run did not.
            RunLost: The store has forgotten the run: its server was restarted without what it had stored.
        """
        __tracebackhide__ = True
        if progress and showing.shower() is not None:
            with showing.during(self):
                self._block(self.done, timeout)
            return self
        if progress and not self._over:
            from taskflow.observe.terminal import Bars

            with Bars() as bars:
                if bars.live:
                    self._draw(bars, timeout)
                    return self
        self._block(self.done, timeout)
        return self

    def when_over(self, tell: Callable[[], object]) -> None:
        """Call a function when all of it has ended: in a thread of the client, or now if that is so."""
        with self._changed:
            if not self._over:
                self._on_end.append(tell)
                return
        tell()

    def lost(self, error: BaseException, /) -> None:
        """See `feed.Listener`: whoever waits is told."""
        self._lost = error
        self._leave_feed()
        self._end()

    def _leave_feed(self) -> None:
        """Hear nothing more of it."""
        raise NotImplementedError

    def _check_known(self) -> None:
        """Raise what the store said when it was found to have forgotten the run."""
        if self._lost is not None:
            raise type(self._lost)(str(self._lost), **vars(self._lost))

    def _end(self) -> None:
        """All of it has ended: wake those who wait, and tell those who asked."""
        with self._changed:
            self._over = True
            told, self._on_end = self._on_end, []
        self._wake()
        for tell in told:
            tell()

    def _wake(self) -> None:
        """Something has happened: let those who wait look."""
        with self._changed:
            self._changed.notify_all()
            told, self._on_news = self._on_news, []
        for tell in told:
            tell()

    def _when(self, true: Callable[[], bool], tell: Callable[[], object]) -> None:
        """Call a function when the next thing has happened, or now if something is true."""
        with self._changed:
            if not (self._over or true()):
                self._on_news.append(tell)
                return
        tell()

    def _block(self, done: Callable[[], bool], timeout: float | None) -> None:
        __tracebackhide__ = True
        if self._lost is None and not done():
            self._hold(done, timeout)
        self._check_known()

    def _hold(self, done: Callable[[], bool], timeout: float | None) -> None:
        __tracebackhide__ = True
        engine = self._engine
        engine.flush()
        try:
            if engine.inline:
                engine.drive(done, timeout)
                if not done():
                    raise self._timed_out(timeout)
                return
            with context.lend(), self._changed:
                if not engine.hold(self._changed, lambda: self._lost is not None or done(), timeout):
                    raise self._timed_out(timeout)
        except KeyboardInterrupt:
            engine.interrupted([self])
            raise KeyboardInterrupt from None  # where in the wait it came is of no interest

    def _timed_out(self, timeout: float | None) -> WaitTimedOut:
        after = "" if timeout is None else f" after {timeout:g} s"
        return WaitTimedOut(f"{self!r} had not ended{after}. {self._engine.why_waiting()}")

    async def _awaited(self, result: Callable[[], Any]) -> Any:
        """The result, in an event loop; looking for it asks the store, so that is done beside the loop."""
        __tracebackhide__ = True
        import asyncio

        if self._engine.inline:
            return result()
        async with showing.awaited(self):
            await self._come(self.when_over)
        return await asyncio.to_thread(result)

    async def _come(self, tell: Callable[..., object], timeout: float | None = None) -> None:
        """Wait in an event loop until `tell` calls back."""
        __tracebackhide__ = True
        import asyncio

        from taskflow.awaiting import comes

        if not await comes(self._engine, tell, self.cancel, timeout):
            raise await asyncio.to_thread(self._timed_out, timeout)

    # ── showing ──────────────────────────────────────────────────────────────────────

    def _ipython_display_(self) -> None:
        shown_by(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """How it stands, where taskflow is not loaded: text, HTML, and a snapshot for JupyterLab."""
        self._engine.flush()
        return bundle(self._engine.store, self.run_id, repr(self))

    # ── drawing ──────────────────────────────────────────────────────────────────────

    def _draw(self, bars: Bars, timeout: float | None) -> None:
        """Draw the progress until all has ended: from a snapshot, and the events after it."""
        from taskflow.observe.board import Board

        deadline = None if timeout is None else time.monotonic() + timeout
        board = Board()
        self._engine.flush()
        cursor = self._show(board)
        while True:
            over = self._over
            cursor = self._follow(board, cursor)
            bars.update(board.stages(time.time()))
            if over:
                return
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                self._block(self.done, 0)
            if self._engine.is_hopeless:
                raise self._timed_out(timeout)
            with contextlib.suppress(WaitTimedOut):
                self._block(self.done, DRAW_S if left is None else min(DRAW_S, left))

    def _show(self, board: Board) -> int:
        try:
            view, cursor = self._engine.store.snapshot(self.run_id)
        except NoSuchRun as error:
            raise run_lost(error) from error
        board.show(view, now=time.time(), cursor=cursor)
        return cursor

    def _follow(self, board: Board, cursor: int) -> int:
        try:
            while events := self._engine.store.events(cursor):
                cursor = events[-1].cursor
                for event in events:
                    board.add(event)
        except ResultExpired:  # not all of them are kept
            return self._show(board)
        return self._show(board) if board.stale else cursor
