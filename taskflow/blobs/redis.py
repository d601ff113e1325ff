"""Blobs on a Redis server: each a hash of pieces, read piece by piece.

One that nobody refers to yet, or any more, goes by itself after a day or an hour.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from taskflow.errors import ResultExpired, UsageError
from taskflow.links.redis import RedisLink

__all__ = ["RedisBlobs"]

PIECE_BYTES = 8 << 20
MOST_BYTES = 256 << 20
UNUSED_S = 86_400
HELD_S = 3600


class RedisBlobs:
    """Bytes by name, on the server of a store.

    Args:
        reach: Gives the way to the server, when the first blob is asked for.
    """

    def __init__(self, reach: Callable[[], RedisLink]) -> None:
        self._reach = reach
        self._found: tuple[int, RedisLink] | None = None

    @property
    def _link(self) -> RedisLink:
        if self._found is None or self._found[0] != os.getpid():
            self._found = os.getpid(), self._reach()
        return self._found[1]

    def _key(self, name: str) -> str:
        return self._link.key(f"b:{name}")

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        """Keep the parts, one behind the other, under a name; nothing happens when the name is there.

        Raises:
            UsageError: They are too large for a server.
            QueueFull: The server is full.
        """
        size = sum(memoryview(part).nbytes for part in parts)
        if size > MOST_BYTES:
            raise UsageError(
                f"An object of {size / 1e6:,.0f} MB is too large for Redis (at most {MOST_BYTES >> 20} MB):"
                " write it to a file that the workers can read and pass the path, or split it into items."
            )
        if self.has(name):
            return
        first = True
        for number, piece in enumerate(_pieces(parts)):
            self._keep(name, str(number), piece, HELD_S, first)  # half of a blob does not stay for long
            first = False
        self._keep(name, "size", str(size).encode(), UNUSED_S, first)

    def _keep(self, name: str, field: str, value: bytes, seconds: int, first: bool) -> None:
        """Add a piece; what has no end of its time was put by others too, and a run needs it by now."""
        key = self._key(name)

        def ask(client: Any) -> None:
            pipe = client.pipeline(transaction=False)
            pipe.hset(key, field, value)
            pipe.expire(key, seconds, xx=not first)
            pipe.execute()

        self._link.ask(ask)

    def open(self, name: str, /) -> memoryview:
        """The bytes; writing to the view changes no one else's.

        Raises:
            ResultExpired: There is no such blob any more.
        """
        key = self._key(name)
        size, first = self._link.ask(lambda client: client.hmget(key, "size", "0"))
        if size is None:
            raise ResultExpired(
                f"The blob {name} is not on {self._link.address.shown} any more.", expired_at=0.0
            )
        view = memoryview(bytearray(int(size)))
        at, number, piece = 0, 0, first
        while at < len(view):
            if piece is None:
                raise ResultExpired(f"The blob {name} was removed while it was read.", expired_at=0.0)
            view[at : at + len(piece)] = piece
            at, number = at + len(piece), number + 1
            if at < len(view):
                piece = self._link.ask(lambda client, n=number: client.hget(key, str(n)))  # type: ignore[misc]
        return view

    def has(self, name: str, /) -> bool:
        """Whether the name is there; a name that is found is kept for at least another hour."""
        key = self._key(name)

        def ask(client: Any) -> list[Any]:
            pipe = client.pipeline(transaction=False)
            pipe.hexists(key, "size")
            pipe.expire(key, HELD_S, gt=True)
            answers: list[Any] = pipe.execute()
            return answers

        return bool(self._link.ask(ask)[0])

    def sweep(self, keep: Collection[str], /, *, age_s: float) -> int:
        """Nothing to do: what nobody refers to goes by itself."""
        return 0


def _pieces(parts: Sequence[bytes | memoryview]) -> Iterator[bytes]:
    """The parts in pieces of the same size, but for the last; at least one."""
    piece = bytearray()
    for part in parts:
        view = memoryview(part).cast("B")
        while view.nbytes:
            taken = view[: PIECE_BYTES - len(piece)]
            piece += taken
            view = view[taken.nbytes :]
            if len(piece) == PIECE_BYTES:
                yield bytes(piece)
                piece = bytearray()
    if piece:
        yield bytes(piece)
    elif not parts:
        yield b""
