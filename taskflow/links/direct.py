"""Commands asked of a Redis server on connections of redis-py, without its detours.

For one command redis-py takes a connection out of its pool, looks whether it is still good, counts and times
what it does, and puts it back: more work than asking is. Here a connection is kept between commands, and goes
through the pool again once a second, which looks after it as before.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from functools import lru_cache
from io import BufferedReader, RawIOBase
from typing import Any

import redis
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError

from taskflow.links.resp import Refusal, read

__all__ = ["Direct", "packed"]

KEPT_S = 1.0
"""A connection goes back to the pool when it was taken out of it so long ago."""
READ_BYTES = 64 * 1024
_FOR = () if redis.VERSION >= (5, 3) else ("FCALL",)
"""What older releases of redis-py have to be told when they give a connection."""

Word = bytes | str | int


class Direct:
    """Asks what a client of redis-py would ask, on its connections.

    They count as being in use, so that who closes the client closes them. Any number of threads may ask.

    Args:
        client: A client that gives bytes.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self._pool = client.connection_pool
        self._kept: list[_Kept] = []

    def ask(self, *command: Word) -> Any:
        """The answer to a command.

        Raises:
            ResponseError: What the server refuses, in its words.
            redis.exceptions.ConnectionError: The connection is lost; TimeoutError: the server is silent.
        """
        kept = self._take()
        try:
            answer = kept.ask(command)
        except BaseException:
            # Nobody knows what it would bring next; and the server may have another role by now.
            kept.connection.disconnect()
            self._let_go(kept)
            raise
        self._kept.append(kept)
        return answer

    def _take(self) -> _Kept:
        kept: _Kept | None
        try:
            kept = self._kept.pop()
        except IndexError:
            kept = None
        if kept is not None:
            if kept.is_good():
                return kept
            self._let_go(kept)
        return _Kept(self._pool.get_connection(*_FOR))

    def _let_go(self, kept: _Kept) -> None:
        kept.file.close()
        self._pool.release(kept.connection)


class _Received(RawIOBase):
    """What comes from a socket, with no code of Python in between."""

    def __init__(self, sock: Any) -> None:
        super().__init__()
        self.readinto = sock.recv_into  # type: ignore[method-assign]

    def readable(self) -> bool:
        return True


class _Kept:
    """A connection that was taken out of the pool a moment ago."""

    __slots__ = ("_heard", "_pid", "_send", "_until", "connection", "file")

    def __init__(self, connection: Any) -> None:
        sock = connection._sock
        if sock is None:
            raise ConnectionLost("The connection was closed.")
        self.connection = connection
        # Not `makefile`: a socket with such a file stays open when redis-py closes it.
        self.file = BufferedReader(_Received(sock), READ_BYTES)
        self._send = sock.sendall
        self._pid, self._until = os.getpid(), time.monotonic() + KEPT_S
        self._heard = select.poll()
        self._heard.register(sock, select.POLLIN)

    def is_good(self) -> bool:
        """Whether it need not be looked after: the server has neither closed it nor said anything unasked."""
        return time.monotonic() < self._until and self._pid == os.getpid() and not self._heard.poll(0)

    def ask(self, command: Sequence[Word]) -> Any:
        """See `Direct.ask`."""
        data = packed(command)
        try:
            self._send(data)
            return read(self.file)
        except Refusal as error:
            raise ResponseError(str(error)) from None
        except TimeoutError:
            raise
        except (OSError, EOFError, ValueError) as error:
            raise ConnectionLost(str(error)) from error


def packed(command: Sequence[Word]) -> bytes:
    r"""A command as it is sent.

    Example:
        >>> packed(("GET", b"key", 7))
        b'*3\r\n$3\r\nGET\r\n$3\r\nkey\r\n$1\r\n7\r\n'
    """
    words = [b"*%d\r\n" % len(command)]
    for word in command:
        words.append(_WORD % (len(word), word) if type(word) is bytes else _known(word))
    return b"".join(words)


_WORD = b"$%d\r\n%b\r\n"


@lru_cache(maxsize=1024)
def _known(word: str | int) -> bytes:
    """Names are said again and again."""
    said = str(word).encode()
    return _WORD % (len(said), said)
