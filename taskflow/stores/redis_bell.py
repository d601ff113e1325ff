"""The doorbell of a Redis store: a subscription, whose socket is readable when something was published."""

from __future__ import annotations

import os
import socket
import ssl
import time
from contextlib import suppress
from typing import Any

from taskflow.links.redis import RedisLink

__all__ = ["RedisBell"]

_AGAIN_S = 0.5


class RedisBell:
    """One listener's bell; see `ports.Bell`.

    What is said on the channel does not matter, so nothing is parsed. A connection that was lost is made anew
    on the same descriptor, and rings once; until then it is silent, and listeners poll as they always do.
    """

    def __init__(self, link: RedisLink, topic: str) -> None:
        self._link = link
        self._channel = link.key(topic)
        self._pubsub: Any = None
        self._quiet, self._loud = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._fd = os.dup(self._quiet)
        self._again_at = 0.0
        link.ask(lambda _: self._subscribe())

    def fileno(self) -> int:
        """Readable when it rang."""
        self._mend()
        return self._fd

    def hush(self) -> None:
        """Be silent until it rings again."""
        self._mend()
        if self._pubsub is None:
            return
        try:
            _drain(self._pubsub.connection._sock)
        except (OSError, AttributeError):
            self._lose()
            self._mend()

    def close(self) -> None:
        """Stop listening."""
        self._lose()
        for fd in (self._fd, self._quiet, self._loud):
            os.close(fd)

    def _mend(self) -> None:
        if self._pubsub is None and time.monotonic() >= self._again_at:
            self._again_at = time.monotonic() + _AGAIN_S
            with suppress(Exception):  # it is away: the store says so to those who ask it
                self._subscribe()
                self._ring()

    def _subscribe(self) -> None:
        pubsub = self._link.connected().pubsub()
        try:
            pubsub.subscribe(self._channel)
            while (told := pubsub.get_message(timeout=3.0)) is None or told["type"] != "subscribe":
                if told is None:
                    raise TimeoutError("no answer to a subscription")
            os.dup2(pubsub.connection._sock.fileno(), self._fd, inheritable=False)
        except BaseException:
            pubsub.close()
            raise
        self._pubsub = pubsub

    def _ring(self) -> None:
        """Let the server say something: what was published meanwhile was not heard."""
        connection = self._pubsub.connection
        connection.send_packed_command(connection.pack_command("PING"), check_health=False)

    def _lose(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        os.dup2(self._quiet, self._fd, inheritable=False)
        if pubsub is not None:
            with suppress(Exception):
                pubsub.close()


def _drain(sock: socket.socket) -> None:
    """Read what there is.

    Raises:
        OSError: The connection is lost.
    """
    before = sock.gettimeout()
    sock.settimeout(0.0)
    try:
        while True:
            if not sock.recv(65536):
                raise ConnectionResetError("the server closed the subscription")
    except (BlockingIOError, ssl.SSLWantReadError):
        return
    finally:
        with suppress(OSError):
            sock.settimeout(before)
