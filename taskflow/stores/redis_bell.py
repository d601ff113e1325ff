"""The doorbell of a Redis store: a subscription, whose socket is readable when something was published."""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from taskflow.links.redis import RedisLink
from taskflow.links.resp import Replies
from taskflow.records import Heard

__all__ = ["RedisBell"]

Said = tuple[bytes, bytes]
"""A channel, and what was said on it."""

_AGAIN_S = 0.5
_SILENT_S = 5.0
_ANSWER_S = 1.0
_SUBSCRIBED_S = 3.0
_READ_BYTES = 65536


class RedisBell:
    """One listener's bell; see `ports.Bell`.

    A connection that was lost is made anew
    on the same descriptor, which is readable whenever that is to be tried, and once more when it is made:
    nobody knows what was published meanwhile. One that was silent for long is asked whether it still is one.
    """

    def __init__(
        self, link: RedisLink, topics: Sequence[str], understand: Callable[[Sequence[Said]], Heard]
    ) -> None:
        self._link = link
        self._understand = understand
        self._replies = Replies()
        self._channels = [link.key(topic) for topic in topics]
        self._pubsub: Any = None
        self._quiet, self._loud = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._fd = os.dup(self._quiet)
        self._timer: threading.Timer | None = None
        self._again_at = self._heard_at = 0.0
        link.ask(lambda _: self._subscribe())

    def fileno(self) -> int:
        """Readable when it rang."""
        self._mend()
        self._ask()
        return self._fd

    def hush(self) -> Heard:
        """Be silent until it rings again."""
        self._mend()
        if self._pubsub is None:
            return Heard()
        try:
            said = list(map(_said, self._replies.take(_drained(self._pubsub.connection._sock))))
        except (OSError, AttributeError, ValueError):
            self._lose()
            self._mend()
            return Heard()
        if said:
            self._heard_at = time.monotonic()
        messages = [one for one in said if one is not None]
        # The answer to a ping is none: a connection may have been made anew, and anything been missed.
        return self._understand(messages) if len(messages) == len(said) else Heard()

    def close(self) -> None:
        """Stop listening."""
        self._lose()
        self._stop_timer()
        for fd in (self._fd, self._quiet, self._loud):
            os.close(fd)

    def _ask(self) -> None:
        """See that a silent connection still is one: its end may never have been told."""
        if self._pubsub is None or time.monotonic() < self._heard_at + _SILENT_S:
            return
        self._ping()
        if self._pubsub is not None and not _is_readable(self._fd, min(_ANSWER_S, self._link.answer_s / 2)):
            self._lose()
            self._later()  # to connect may take long now, and who listens may have leases to give up first

    def _mend(self) -> None:
        if self._pubsub is None and time.monotonic() >= self._again_at:
            with suppress(BlockingIOError):
                os.read(self._quiet, 64)
            try:
                self._subscribe()
            except Exception:  # noqa: BLE001 - it is away: the store says so to those who ask it
                self._later()
            else:
                self._ping()

    def _ping(self) -> None:
        """Have it answer, which rings."""
        try:
            connection = self._pubsub.connection
            connection.send_packed_command(connection.pack_command("PING"), check_health=False)
        except Exception:  # noqa: BLE001 - see above
            self._lose()
            self._later()

    def _later(self) -> None:
        """Ring when it is time to try again, whoever sleeps."""
        self._again_at = time.monotonic() + _AGAIN_S
        self._stop_timer()
        self._timer = threading.Timer(_AGAIN_S, os.write, (self._loud, b"!"))
        self._timer.daemon = True
        self._timer.start()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()

    def _subscribe(self) -> None:
        pubsub, within_s = self._link.connected().pubsub(), min(_SUBSCRIBED_S, self._link.answer_s)
        try:
            pubsub.subscribe(*self._channels)
            for _ in self._channels:
                while (told := pubsub.get_message(timeout=within_s)) is None or told["type"] != "subscribe":
                    if told is None:
                        raise TimeoutError("no answer to a subscription")
            sock = pubsub.connection._sock
            sock.setblocking(False)
            os.dup2(sock.fileno(), self._fd, inheritable=False)
        except BaseException:
            pubsub.close()
            raise
        self._pubsub, self._replies = pubsub, Replies()
        self._heard_at = time.monotonic()

    def _lose(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        os.dup2(self._quiet, self._fd, inheritable=False)
        if pubsub is not None:
            with suppress(Exception):
                pubsub.close()


def _is_readable(fd: int, within_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(within_s * 1000))


def _said(reply: Any) -> Said | None:
    """Channel and text of a message; `None` for any other reply."""
    if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message":
        return reply[1], reply[2]
    return None


def _drained(sock: socket.socket) -> bytes:
    """What there is to read on a connection that does not wait; what is left of it rings again.

    Raises:
        OSError: The connection is lost.
    """
    parts = []
    try:
        while True:
            part = sock.recv(_READ_BYTES)
            if not part:
                raise ConnectionResetError("the server closed the subscription")
            parts.append(part)
            if len(part) < _READ_BYTES and not isinstance(sock, ssl.SSLSocket):
                break
    except (BlockingIOError, ssl.SSLWantReadError):
        pass
    return b"".join(parts)
