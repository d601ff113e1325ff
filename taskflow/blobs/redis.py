"""Blobs on a Redis server: each a hash of pieces, written and read piece by piece.

One that nobody refers to yet, or any more, goes by itself after a day or an hour. Instead of pieces an entry
can say where else the bytes are (`blobs.apart`).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from taskflow.blobs.fetching import PIECE_BYTES, Pieces
from taskflow.errors import ResultExpired, UsageError
from taskflow.links.redis import RedisLink

__all__ = ["RedisBlobs"]

MOST_BYTES = 256 << 20
LARGE_BYTES = 16 << 20
UNUSED_S = 86_400
HELD_S = 3600
_APART = "give the store a place for what is large (?blobs=s3://bucket/prefix, ?blobs=file:///shared/folder)"

log = logging.getLogger(__name__)
_under_way = threading.BoundedSemaphore(4)
"""So many pieces may be on their way to servers at once, whatever the number of threads."""


class RedisBlobs:
    """Bytes by name, on the server of a store.

    Args:
        reach: Gives the way to the server, when the first blob is asked for.
    """

    guarded = False

    def __init__(self, reach: Callable[[], RedisLink]) -> None:
        self._reach = reach
        self._found: tuple[int, RedisLink] | None = None
        self._warned = False

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
                " write it to a file that the workers can read and pass the path, split it into items, or"
                f" {_APART}."
            )
        if self.has(name):
            return
        if size > LARGE_BYTES and not self._warned:
            self._warned = True
            log.warning(
                "an object of %.0f MB goes through Redis: better pass a path, or %s", size / 1e6, _APART
            )
        first = True
        for number, piece in enumerate(_pieces(parts)):
            with _under_way:
                self._keep(name, {str(number): piece}, HELD_S, first)  # half of a blob does not stay for long
            first = False
        self._keep(name, {"size": str(size).encode()}, UNUSED_S, first)

    def point(self, name: str, size: int, token: str) -> None:
        """Note that the bytes of a name are elsewhere, at a place of which `token` is the name."""
        self._keep(name, {"at": token.encode(), "size": str(size).encode()}, UNUSED_S, True)

    def tokens(self, names: Sequence[str]) -> list[str]:
        """Where the bytes of these names are elsewhere; an empty one for what is here, or not there."""

        def ask(client: Any) -> list[Any]:
            pipe = client.pipeline(transaction=False)
            for name in names:
                pipe.hget(self._key(name), "at")
            answers: list[Any] = pipe.execute()
            return answers

        return [(token or b"").decode() for token in self._link.ask(ask)]

    def _keep(self, name: str, fields: Mapping[str, bytes], seconds: int, first: bool) -> None:
        """Add a piece; what has no end of its time was put by others too, and a run needs it by now."""
        key = self._key(name)

        def ask(client: Any) -> None:
            pipe = client.pipeline(transaction=False)
            pipe.hset(key, mapping=fields)
            pipe.expire(key, seconds, xx=not first)
            pipe.execute()

        self._link.ask(ask)

    def open(self, name: str, /) -> memoryview:
        """The bytes; writing to the view changes no one else's.

        Raises:
            ResultExpired: There is no such blob any more.
        """
        _, _, pieces = self.find(name)
        whole = bytearray()
        for piece in pieces(0):
            whole += piece
        return memoryview(whole)

    def find(self, name: str) -> tuple[int, str, Pieces]:
        """The size of a blob, its token when the bytes are elsewhere, and what reads it from a piece on.

        Raises:
            ResultExpired: There is no such blob any more.
        """
        key = self._key(name)
        size, token, first = self._link.ask(lambda client: client.hmget(key, "size", "at", "0"))
        if size is None:
            raise ResultExpired(
                f"The blob {name} is not on {self._link.address.shown} any more.", expired_at=0.0
            )
        told, begun = int(size), [first]

        def pieces(at: int) -> Iterator[bytes]:
            number = at // PIECE_BYTES
            while at < told:
                piece = begun.pop() if begun and not number else self._piece(key, number)
                if not piece:
                    raise ResultExpired(f"The blob {name} was removed while it was read.", expired_at=0.0)
                yield piece
                at, number = at + len(piece), number + 1

        return told, (token or b"").decode(), pieces

    def _piece(self, key: str, number: int) -> bytes | None:
        piece: bytes | None = self._link.ask(lambda client: client.hget(key, str(number)))
        return piece

    @property
    def namespace(self) -> bytes:
        """What tells this store from others, for seals."""
        return self._link.key("blobs").encode()

    def remembered(self, field: str) -> bytes | None:
        """What the store remembers of itself under that name."""
        found: bytes | None = self._link.ask(lambda client: client.hget(self._link.key("meta"), field))
        return found

    def remember(self, field: str, value: bytes) -> None:
        """Let the store remember that; who comes first is right."""
        self._link.ask(lambda client: client.hsetnx(self._link.key("meta"), field, value))

    def again(self, name: str) -> None:
        """Let `once` be true again."""
        self._link.ask(lambda client: client.delete(self._link.key(name)))

    def once(self, name: str, seconds: int) -> bool:
        """Whether nobody has asked that for so long: for what one of many does now and then."""
        key = self._link.key(name)
        return bool(self._link.ask(lambda client: client.set(key, b"", nx=True, ex=seconds)))

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

    def drop(self, name: str, /) -> None:
        """Nothing to do: it is no copy."""

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
