"""`ResultSet`: any results, as one."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from typing import Any

from taskflow.errors import WaitTimedOut
from taskflow.pools import context
from taskflow.result.single import AsyncResult
from taskflow.run import seconds_left

__all__ = ["ResultSet"]


class ResultSet:
    """Results of whatever was sent, in order, each once; waiting waits for them all.

    Args:
        results: What it begins with.

    Example:
        ``ResultSet([add.delay(1, 1), add.delay(2, 2)]).get()`` is ``[2, 4]``.
    """

    def __init__(self, results: Iterable[AsyncResult] = (), **_: Any) -> None:
        self._become(results)

    @property
    def results(self) -> list[AsyncResult]:
        """The results, in order."""
        return self._results

    # ── what is in it ────────────────────────────────────────────────────────────────

    def add(self, result: AsyncResult) -> None:
        """Put a result at the end, unless it is there."""
        self.update([result])

    def update(self, results: Iterable[AsyncResult]) -> None:
        """Put several at the end."""
        self._become([*self.results, *results])

    def remove(self, result: AsyncResult | str) -> None:
        """Take a result out; it may be named by its id.

        Raises:
            KeyError: It is not there.
        """
        if result not in self.results:
            raise KeyError(str(result))
        self._become([one for one in self.results if one != result])

    def discard(self, result: AsyncResult | str) -> None:
        """Take a result out, if it is there."""
        with suppress(KeyError):
            self.remove(result)

    def clear(self) -> None:
        """Take all out."""
        self._become([])

    def _become(self, results: Iterable[AsyncResult]) -> None:
        self._results = list(dict.fromkeys(results))

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[AsyncResult]:
        return iter(self.results)

    def __getitem__(self, index: int) -> AsyncResult:
        return self.results[index]

    def __contains__(self, result: object) -> bool:
        return result in self.results

    def __eq__(self, other: object) -> bool:
        return self.results == other.results if isinstance(other, ResultSet) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(result.id for result in self.results)}]>"

    # ── how they stand ───────────────────────────────────────────────────────────────

    def ready(self) -> bool:
        """Whether all have ended."""
        return all(result.ready() for result in self.results)

    def successful(self) -> bool:
        """Whether all gave a value."""
        return all(result.successful() for result in self.results)

    def failed(self) -> bool:
        """Whether any has failed."""
        return any(result.failed() for result in self.results)

    def waiting(self) -> bool:
        """Whether any has not ended."""
        return not self.ready()

    def completed_count(self) -> int:
        """How many gave a value so far."""
        return sum(result.successful() for result in self.results)

    # ── waiting ──────────────────────────────────────────────────────────────────────

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> list[Any]:
        """Wait for all values, in order.

        Args:
            timeout: Seconds to wait at most, for all together.
            propagate: Raise what one of them raised; else exceptions stand in their places.
            interval: Taken for Celery's sake: nothing is polled.
            no_ack: Taken for Celery's sake.
            follow_parents: Taken for Celery's sake.
            callback: Called with the id and the value of each, in order.
            on_message: Called with what is known of each, when it has ended.
            on_interval: Taken for Celery's sake.
            disable_sync_subtasks: Taken for Celery's sake: waiting inside a task lends its slot.

        Raises:
            WaitTimedOut: The wait ended, some tasks did not.
            TaskError: One gave no value; when it raised, its own exception is raised instead.
        """
        __tracebackhide__ = True
        deadline = None if timeout is None else time.monotonic() + timeout
        found = []
        for result in self.results:  # a comprehension is a frame of its own before Python 3.12
            left = seconds_left(deadline)
            found.append(result.get(left, propagate, callback=callback, on_message=on_message))
        return found

    def join(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], object] | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> list[Any]:
        """The values of its results, one after the other; see `get`."""
        __tracebackhide__ = True
        return self.get(timeout, propagate, callback=callback, on_message=on_message)

    def join_native(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], object] | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> list[Any]:
        """The same as `join`: there is one way."""
        return self.join(timeout, propagate, callback=callback, on_message=on_message)

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The results as they end: id, and what Celery tells of a task (``status``, ``result``, …).

        Raises:
            WaitTimedOut: After `timeout` seconds some had not ended.
        """
        for result in self._as_they_end(timeout):
            told = result.told(result.get(propagate=False))
            if on_message is not None:
                on_message(told)
            yield result.id, told

    def _as_they_end(self, timeout: float | None) -> Iterator[AsyncResult]:
        ended: queue.SimpleQueue[AsyncResult] = queue.SimpleQueue()
        results = list(self.results)
        for result in results:
            result.when_over(lambda result=result: ended.put(result))  # type: ignore[misc]
        deadline = None if timeout is None else time.monotonic() + timeout
        for left in range(len(results), 0, -1):
            engine = results[0]._engine
            for one in results:
                if one._engine.inline and ended.empty():
                    one._engine.drive(lambda: not ended.empty(), seconds_left(deadline))
            try:
                with context.lend():
                    yield ended.get(timeout=seconds_left(deadline))
            except queue.Empty:
                raise WaitTimedOut(f"{left} results are not there yet. {engine.why_waiting()}") from None

    def __await__(self) -> Generator[Any, None, list[Any]]:
        """Wait for all values without blocking the event loop."""
        return self._all().__await__()

    async def _all(self) -> list[Any]:
        return [await result for result in self.results]

    def maybe_throw(
        self, callback: Callable[[str, Any], object] | None = None, propagate: bool = True
    ) -> Any:
        """Raise what any of those that ended has raised."""
        for result in self.results:
            result.maybe_throw(propagate, callback)

    maybe_reraise = maybe_throw

    def then(
        self,
        callback: Callable[[Any], object],
        on_error: Callable[[Any], object] | None = None,
        weak: bool = False,
    ) -> Any:
        """Call a function with this set when all of it has ended: in a thread of the client, or now.

        Args:
            callback: Called when all gave a value.
            on_error: Called when one has not.
            weak: Taken for Celery's sake.
        """
        left, lock = len(self.results), threading.Lock()

        def one() -> None:
            nonlocal left
            with lock:
                left -= 1
                over = left == 0
            if over:
                self._tell(callback, on_error)

        for result in list(self.results):
            result.when_over(one)
        if not self.results:
            callback(self)
        return self

    def _tell(self, callback: Callable[[Any], object], on_error: Callable[[Any], object] | None) -> None:
        if self.successful():
            callback(self)
        elif on_error is not None:
            on_error(self)

    @property
    def supports_native_join(self) -> bool:
        """Always true: several results are waited for together."""
        return True

    @property
    def app(self) -> Any:
        """The app that its first result was sent by, if it was one."""
        return self.results[0].app if self.results else None

    @property
    def backend(self) -> Any:
        """Where its first result is; `None` of an empty set."""
        return self.results[0].backend if self.results else None

    # ── control ──────────────────────────────────────────────────────────────────────

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: Any = None,
        wait: bool = False,
        timeout: float | None = None,
        *,
        reason: str = "revoked",
    ) -> bool:
        """Cancel all; see `AsyncResult.revoke`."""
        changed = [result.revoke(terminate=terminate, reason=reason) for result in self.results]
        if wait:
            deadline = None if timeout is None else time.monotonic() + timeout
            for result in self.results:
                result._wait_over(seconds_left(deadline))
        return any(changed)

    def forget(self) -> None:
        """Remove the runs they are part of from the store.

        Raises:
            UsageError: One has not ended.
        """
        for result in {result.run_id: result for result in self.results}.values():
            result.forget()
