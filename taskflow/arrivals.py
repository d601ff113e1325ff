"""`Arrivals`: handles, each when it has ended; for ``for`` and for ``async for``."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from taskflow.errors import WaitTimedOut
from taskflow.pools import context

if TYPE_CHECKING:
    from taskflow.engine import Engine

__all__ = ["Arrivals"]

T = TypeVar("T")


class Arrivals(Iterator[T], AsyncIterator[T]):
    """What somebody waits for, one after another as it ends, however it ends.

    It is iterated plainly, or with ``async for``, which blocks no event loop. Its ``len`` is how many are
    still to come, so a bar around it knows how long it is.

    Args:
        things: Gives what comes, each with the handle whose end brings it: a future, or a run.
        timeout: Seconds until waiting raises `WaitTimedOut`, from the first wait.
        whole: What is cancelled when a wait is given up; the handles by default.
    """

    def __init__(
        self,
        things: Callable[[], Iterable[tuple[T, Any]]],
        timeout: float | None = None,
        whole: Any = None,
    ) -> None:
        self._things = things
        self._timeout = timeout
        self._whole = whole
        self._handles: list[Any] | None = None
        self._engines: list[Engine] = []
        self._left = 0
        self._deadline: float | None = None
        self._changed = threading.Condition()
        self._ended: deque[T] = deque()
        self._told: list[Callable[[], object]] = []

    def __len__(self) -> int:
        self._begin()
        return self._left

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        __tracebackhide__ = True
        self._begin()
        if not self._left:
            raise StopIteration
        if not self._ended:
            self._wait()
        return self._give()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        __tracebackhide__ = True
        import asyncio

        if self._handles is None:
            await asyncio.to_thread(self._begin)
        if not self._left:
            raise StopAsyncIteration
        if not self._ended:
            await self._come()
        return self._give()

    def _begin(self) -> None:
        if self._handles is not None:
            return
        things = list(self._things())
        self._handles = [handle for _, handle in things]
        self._engines = list(dict.fromkeys(handle._engine for handle in self._handles))
        self._left = len(things)
        self._deadline = None if self._timeout is None else time.monotonic() + self._timeout
        for thing, handle in things:
            is_future = isinstance(handle, concurrent.futures.Future)
            (handle.add_done_callback if is_future else handle.when_over)(partial(self._over, thing))

    def _over(self, thing: T, *_: Any) -> None:
        with self._changed:
            self._ended.append(thing)
            self._changed.notify_all()
            told, self._told = self._told, []
        for tell in told:
            tell()

    def _give(self) -> T:
        self._left -= 1
        return self._ended.popleft()

    # ── waiting ──────────────────────────────────────────────────────────────────────

    def _wait(self) -> None:
        __tracebackhide__ = True
        try:
            came = any(self._drive(engine) for engine in self._engines if engine.inline) or self._hold()
        except KeyboardInterrupt:
            for engine in self._engines:
                engine.interrupted([handle for handle in self._pending() if handle._engine is engine])
            raise KeyboardInterrupt from None  # where in the wait it came is of no interest
        if not came:
            raise self._timed_out()

    def _drive(self, engine: Engine) -> bool:
        engine.drive(lambda: bool(self._ended), self._left_s())
        return bool(self._ended)

    def _hold(self) -> bool:
        for engine in self._engines:
            engine.flush(wait=False)
        with context.lend(), self._changed:
            engine = self._promising()
            return not engine.inline and engine.hold(self._changed, lambda: bool(self._ended), self._left_s())

    async def _come(self) -> None:
        __tracebackhide__ = True
        import asyncio

        from taskflow.awaiting import comes

        if any(self._drive(engine) for engine in self._engines if engine.inline):
            return
        engine = self._promising()
        if engine.inline or not await comes(engine, self._when_next, self._give_up, self._left_s()):
            raise await asyncio.to_thread(self._timed_out)

    def _when_next(self, tell: Callable[[], object]) -> None:
        with self._changed:
            if not self._ended:
                self._told.append(tell)
                return
        tell()

    def _promising(self) -> Engine:
        """Who may still bring the next one."""
        others = [engine for engine in self._engines if not engine.inline]
        return next((one for one in others if not one.is_hopeless), (others or self._engines)[0])

    def _pending(self) -> list[Any]:
        """What is cancelled when nobody waits any more."""
        handles = (self._handles or []) if self._whole is None else [self._whole]
        return [handle for handle in handles if not handle.done()]

    def _give_up(self) -> None:
        for handle in self._pending():
            handle.cancel()

    def _left_s(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _timed_out(self) -> WaitTimedOut:
        after = "" if self._timeout is None else f" after {self._timeout:g} s"
        why = self._promising().why_waiting()
        return WaitTimedOut(f"{self._left} of {len(self._handles or [])} had not ended{after}. {why}")
