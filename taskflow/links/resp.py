"""Reads what a Redis server says on a connection, in either version of its protocol.

Who has asked waits for the reply (`read`). Who listens for messages reads whatever is there, which may end in
the middle of one (`Replies`).
"""

from __future__ import annotations

from io import BufferedIOBase
from typing import Any

__all__ = ["Refusal", "Replies", "read"]

_LINES = b"+-:_,#("
_BLOCKS = b"$=!"
_LISTS = b"*>~"


class Replies:
    r"""Takes bytes as they come, gives the replies that are whole.

    Example:
        >>> replies = Replies()
        >>> replies.take(b"*3\r\n$7\r\nmessage\r\n$4\r\nwo")
        []
        >>> replies.take(b"rk\r\n$2\r\nhi\r\n+PONG\r\n")
        [[b'message', b'work', b'hi'], b'PONG']
    """

    def __init__(self) -> None:
        self._left = b""

    def take(self, more: bytes) -> list[Any]:
        """What is whole now.

        Raises:
            ValueError: It is not what a server says.
        """
        data = self._left + more
        at, found = 0, []
        while at < len(data) and (reply := _reply(data, at)) is not None:
            value, at = reply
            found.append(value)
        self._left = data[at:]
        return found


def _reply(data: bytes, at: int) -> tuple[Any, int] | None:
    """One reply and where the next begins; `None` when it is not whole."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, body, at = data[at], data[at + 1 : end], end + 2
    if kind in _LINES:
        return body, at
    if kind in _BLOCKS:
        end = at + int(body)
        if end < at:
            return None, at
        return (data[at:end], end + 2) if len(data) >= end + 2 else None
    if kind not in _LISTS:
        raise ValueError(f"a reply of a Redis server does not begin with {bytes((kind,))!r}")
    values = []
    for _ in range(int(body)):
        reply = _reply(data, at)
        if reply is None:
            return None
        value, at = reply
        values.append(value)
    return values, at


class Refusal(Exception):
    """What a server says in place of an answer."""


def read(file: BufferedIOBase) -> Any:
    r"""Wait for the next reply; what the server says unasked is passed over.

    Raises:
        Refusal: The server refuses.
        EOFError: The connection was closed.
        ValueError: It is not what a server says.

    Example:
        >>> import io
        >>> read(io.BytesIO(b"*2\r\n$2\r\nhi\r\n:7\r\n"))
        [b'hi', b'7']
    """
    while True:
        line = file.readline()
        kind = line[:1]
        reply = _rest(file, line)
        if kind != b">":
            break
    if kind in (b"-", b"!"):
        raise Refusal(reply.decode(errors="replace"))
    return reply


def _rest(file: BufferedIOBase, line: bytes) -> Any:
    """The reply that begins with a line."""
    if line[-2:] != b"\r\n":
        raise EOFError("Connection closed by server.")
    kind = line[0]
    if kind in _LINES:
        return line[1:-2]
    if kind not in _BLOCKS and kind not in _LISTS:
        raise ValueError(f"a reply of a Redis server does not begin with {line[:1]!r}")
    size = int(line[1:-2])
    if kind in _LISTS:
        return [_rest(file, file.readline()) for _ in range(size)]
    if size < 0:
        return None
    block = file.read(size)
    if len(block) < size or file.read(2) != b"\r\n":
        raise EOFError("Connection closed by server.")
    return block
