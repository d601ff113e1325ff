"""Reads what a Redis server says on a connection, as far as it has come, in either version of its protocol.

The client library reads when it is asked for a reply. Who listens for messages reads whatever is there, which
may end in the middle of one.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Replies"]

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
        while (reply := _reply(data, at)) is not None:
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
