"""What happens in a store, as it happens: for monitors, and for code that reacts.

It is read, not sent: the store keeps its events, and who was away goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator

from taskflow.errors import ResultExpired
from taskflow.ports import Store
from taskflow.records import Event

__all__ = ["Events"]

POLL_S = 1.0
BATCH = 1000


class Events:
    """The events of a store, one after another; iterating waits for the next.

    It can be iterated plainly and with ``async for``, and closed by a ``with`` block. Each event says which
    items of which node of which run moved to which state; see `taskflow.records.Event`. Ends come at once,
    that something began to run within a second.

    Args:
        store: Where they happen.
        after: The cursor of an event: those behind it come first, as far as the store still has them. By
            default those that happen from now on.

    Attributes:
        cursor: That of the last event that was given: to go on from there later.
        missed: Whether the store had forgotten some of them.
    """

    def __init__(self, store: Store, after: int | None = None) -> None:
        self._store = store
        self._bell = store.listen("watch")
        newest = store.events(-1) if after is None else []
        self.cursor = self._read_to = newest[0].cursor if newest else after or 0
        self.missed = False
        self._next: deque[Event] = deque()
        self._lock = threading.Lock()
        self._closing, self._close = os.pipe()
        self._closed = False

    def take(self, timeout: float | None = None) -> list[Event]:
        """All that has happened since the last event that was given; waits until there is something.

        Args:
            timeout: Seconds to wait at most; 0 does not wait, `None` waits for ever.

        Returns:
            Nothing when the time was over, or it was closed.
        """
        found = [*self._next] or self._wait(timeout)
        self._next.clear()
        self.cursor = found[-1].cursor if found else self.cursor
        return found

    def _wait(self, timeout: float | None) -> list[Event]:
        end = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while not self._closed:
                self._bell.hush()
                found = self._read()
                left = POLL_S if end is None else min(POLL_S, end - time.monotonic())
                if found or left <= 0:
                    return found
                select.select([self._bell.fileno(), self._closing], [], [], left)
        return []

    def _read(self) -> list[Event]:
        try:
            found = self._store.events(self._read_to, limit=BATCH)
        except ResultExpired:
            self.missed = True
            found = self._store.events(-1)
        self._read_to = found[-1].cursor if found else self._read_to
        return found

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        while not self._next:
            if self._closed:
                raise StopIteration
            self._next.extend(self._wait(POLL_S))
        return self._give()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._next:
            if self._closed:
                raise StopAsyncIteration
            self._next.extend(await asyncio.to_thread(self._wait, POLL_S))
        return self._give()

    def _give(self) -> Event:
        event = self._next.popleft()
        self.cursor = event.cursor
        return event

    def close(self) -> None:
        """Stop listening; from any thread. Who waits for the next event comes to the end."""
        if self._closed:
            return
        self._closed = True
        os.write(self._close, b"!")
        with self._lock:
            self._bell.close()
            os.close(self._closing)
            os.close(self._close)

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the interpreter ends
            self.close()
