"""The seam between our pool of a cluster and the engine that runs there: what is sent, what is heard."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from taskflow.pools.guest import Limits
from taskflow.ports import Promises

__all__ = ["Engine", "Mailbox", "Packet"]


class Packet(NamedTuple):
    """What an engine is given to run: ``taskflow.pools.guest.run(message, ground, given)``.

    Args:
        number: Its name in this pool; unlike that of any other pool.
        message: For the guest.
        limits: Soft and hard, seconds, of each item; an engine that keeps them itself may add some.
        label: What a person reads.
        priority: Of what is in it, 0 to 255.
        given: Large data by name, for guests that do not have it: an engine may keep it on the cluster.
            `None` for what has stayed there (`Mailbox.answer`), when it still has it.
        alone: It may have ended a process: nothing else is to run beside it, so that it is known whose end
            it was.
    """

    number: int
    message: bytes
    limits: Limits
    label: str
    priority: int
    given: Mapping[str, bytes | None]
    alone: bool


class Engine(Protocol):
    """A cluster, as the pool needs it. What it hears it puts into the `Mailbox` that it was made with.
    Where a message costs it more than most it has a `message_s`: how much work to put into one.

    An engine of clusters that can grow has ``wish(slots)`` as well: so many are wanted, and when that is less
    than there are, no more.
    """

    kind: str
    """What people call it."""

    @property
    def promises(self) -> Promises:
        """What it keeps, as the cluster is now."""
        ...

    def slots(self) -> int:
        """How many messages the cluster could run at once for us, 0 while it is away; does not wait."""
        ...

    def send(self, packet: Packet, /) -> None:
        """Have a message run somewhere, once. What comes of it goes to the mailbox, also that it cannot."""
        ...

    def cancel(self, number: int, /, *, force: bool) -> None:
        """Drop a message that does not run yet; else interrupt it (`taskflow.pools.guest.cancel`), or end it
        by force where that is possible. Whether it did is heard: an answer, ``dropped`` or ``lost``."""
        ...

    def close(self) -> None:
        """Leave the cluster as it was."""
        ...


class Mailbox:
    """What an engine heard, from any thread, until the pool looks."""

    def __init__(self) -> None:
        self._posts: deque[tuple[Any, ...]] = deque()
        self._lock = threading.Lock()
        self._rung = False
        self._read, self._write = os.pipe()
        for fd in (self._read, self._write):
            os.set_blocking(fd, False)

    @property
    def fd(self) -> int:
        """Readable when there is something."""
        return self._read

    def answer(self, number: int, answer: bytes, stays: Collection[str] = ()) -> None:
        """A message has been run: what `taskflow.pools.guest.run` gave.

        Args:
            number: The message.
            answer: A marshalled `taskflow.pools.guest.Answer`.
            stays: The names of what it made that the cluster has kept, for what runs there next.
        """
        self._put("answer", number, answer, stays)

    def said(self, records: bytes) -> None:
        """What a guest spoke while it ran."""
        self._put("said", records)

    def dropped(self, number: int) -> None:
        """A message was cancelled before it began, or was ended because that was wanted."""
        self._put("dropped", number)

    def lost(
        self, number: int, why: str, *, began: bool = True, error: str = "WorkerLost", sure: bool = True
    ) -> None:
        """The process or node that had a message is gone.

        Args:
            number: The message.
            why: A sentence.
            began: It may have begun.
            error: ``"OOMKilled"`` when memory ran out.
            sure: No other message may have been the end of it.
        """
        self._put("lost", number, why, began, error, sure)

    def changed(self) -> None:
        """There are more slots, or fewer."""
        self._put("changed")

    def take(self) -> list[tuple[Any, ...]]:
        """All that came since the last time."""
        with self._lock:
            if self._rung:
                self._rung = False
                with suppress(BlockingIOError):
                    os.read(self._read, 16)
            posts, self._posts = list(self._posts), deque()
        return posts

    def wait(self, wait_s: float) -> None:
        """Sleep until there is something."""
        import select

        select.select([self._read], [], [], wait_s)

    def close(self) -> None:
        """Hear nothing more."""
        with self._lock:
            self._rung = True
            os.close(self._read)
            os.close(self._write)

    def _put(self, *post: Any) -> None:
        with self._lock:
            self._posts.append(post)
            if not self._rung:
                self._rung = True
                with suppress(OSError):
                    os.write(self._write, b"!")
