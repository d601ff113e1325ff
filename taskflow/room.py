"""Waiting for room: what a client does while its store is full.

The store refuses, and keeps nothing of what it refused; so the same is handed over again after a pause, until
there is room or the time is up. Nobody waits silently: a line in the log says what is full, and whether
anybody works there.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextvars import ContextVar
from typing import Literal, TypeAlias, TypeVar

from taskflow.errors import QueueFull, TaskflowError
from taskflow.ports import Blobs

__all__ = ["PatientBlobs", "Patiently", "Room", "WhenFull"]

T = TypeVar("T")
log = logging.getLogger(__name__)

WhenFull: TypeAlias = "Literal['wait', 'raise'] | float"
PAUSE_S = 0.1
TOLD_EVERY_S = 30.0


_when_full: ContextVar[WhenFull | None] = ContextVar("when_full", default=None)


class Patiently:
    """What is handed over inside of it, in this thread, waits so long for room."""

    __slots__ = ("_token", "_when_full")

    def __init__(self, when_full: WhenFull) -> None:
        self._when_full = when_full

    def __enter__(self) -> None:
        self._token = _when_full.set(self._when_full)

    def __exit__(self, *_: object) -> None:
        _when_full.reset(self._token)


class Room:
    """Waits of the clients of one store for room in it.

    Args:
        why: Says in a sentence what the wait depends on.
    """

    def __init__(self, why: Callable[[], str] = lambda: "") -> None:
        self._why = why
        self._told_at: float | None = None

    @property
    def is_patient(self) -> bool:
        """Whether what was handed over before may be waited for, however long that takes."""
        return _when_full.get() in (None, "wait")

    def attempt(self, verb: Callable[[], T]) -> T:
        """Call what may be refused for want of room, until it is not.

        Raises:
            QueueFull: The time is up.
        """
        since = time.monotonic()
        while True:
            try:
                answer = verb()
            except QueueFull as error:
                self.rest(error, since, _when_full.get() or "raise")
            else:
                return answer

    def rest(self, error: QueueFull, since: float, when_full: WhenFull = "wait") -> None:
        """Pause before the next attempt.

        Args:
            error: What the store said.
            since: When the wait began, on the monotonic clock.
            when_full: How long to wait at most.

        Raises:
            QueueFull: The time is up.
        """
        left = PAUSE_S
        if not isinstance(when_full, str):
            left = since + when_full - time.monotonic()
        if when_full == "raise" or left <= 0:
            raise error
        self._tell(error)
        time.sleep(min(left, PAUSE_S))

    def _tell(self, error: QueueFull) -> None:
        now = time.monotonic()
        if self._told_at is not None and now < self._told_at + TOLD_EVERY_S:
            return
        self._told_at = now
        why = ""
        with contextlib.suppress(TaskflowError):
            why = self._why()
        log.warning("%s Waiting for room; Ctrl-C ends the wait. %s", error, why, extra={"action": "wait"})


class PatientBlobs:
    """Blobs of a store; what is put there while a `Room` is waited for patiently waits too.

    Args:
        blobs: Where they are kept.
        room: Who waits.
    """

    def __init__(self, blobs: Blobs, room: Room) -> None:
        self._blobs = blobs
        self._room = room

    @property
    def guarded(self) -> bool:
        """See `Blobs.guarded`."""
        return self._blobs.guarded

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        """See `Blobs.put`."""
        self._room.attempt(lambda: self._blobs.put(name, parts))

    def open(self, name: str, /) -> memoryview:
        """See `Blobs.open`."""
        return self._blobs.open(name)

    def has(self, name: str, /) -> bool:
        """See `Blobs.has`."""
        return self._blobs.has(name)

    def drop(self, name: str, /) -> None:
        """See `Blobs.drop`."""
        self._blobs.drop(name)

    def sweep(self, keep: Collection[str], /, *, age_s: float) -> int:
        """See `Blobs.sweep`."""
        return self._blobs.sweep(keep, age_s=age_s)
