"""A large blob comes to a file of this host: piece by piece, once for all processes, never seen by halves."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from taskflow.blobs.files import PARTIAL, TEMPORARY, mapped, opened
from taskflow.errors import ResultExpired

__all__ = ["Pieces", "fetched"]

Pieces = Callable[[int], Iterator[bytes]]
"""Gives the bytes from a place on that is a multiple of `PIECE_BYTES`."""

PIECE_BYTES = 8 << 20
LOOK_S = 0.05
PATIENCE_S = 10.0


def fetched(path: str, size: int, pieces: Pieces) -> memoryview | None:
    """Write the pieces to a file, and map it.

    The first process that comes fetches, others wait for it. A fetch that was broken off is gone
    on with. Of a process that brings nothing for ten seconds nothing is expected any more.

    Args:
        path: Where the file is to be.
        size: Bytes of the whole.
        pieces: Where they come from.

    Returns:
        The whole; `None` when another process has brought it meanwhile.

    Raises:
        OSError: It cannot be written; the disk may be full.
        ResultExpired: It was removed while it was read.
    """
    folder, name = os.path.split(path)
    partial = os.path.join(folder, PARTIAL + name)
    seen, since = -1, time.monotonic()
    while True:
        fd = opened(partial, os.O_RDWR)
        try:
            if _is_ours(fd, partial):
                if os.path.exists(path):  # it came between our last look and now
                    os.unlink(partial)
                    return None
                return _fill(fd, partial, path, size, pieces)
            now_there = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if os.path.exists(path):
            return None
        if now_there != seen:
            seen, since = now_there, time.monotonic()
        elif time.monotonic() > since + PATIENCE_S:
            return _alone(folder, path, size, pieces)
        time.sleep(LOOK_S)


def _is_ours(fd: int, path: str) -> bool:
    """Whether nobody else writes to the file, and it still has its name."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # also where there are no locks: then each fetches alone, after a while
        return False
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    return False


def _alone(folder: str, path: str, size: int, pieces: Pieces) -> memoryview:
    own = os.path.join(folder, TEMPORARY + secrets.token_hex(8))
    fd = opened(own, os.O_RDWR | os.O_EXCL)
    try:
        return _fill(fd, own, path, size, pieces)
    except BaseException:
        with suppress(OSError):
            os.unlink(own)
        raise
    finally:
        os.close(fd)


def _fill(fd: int, name: str, path: str, size: int, pieces: Pieces) -> memoryview:
    """Write what is missing, give the file its name, and map it."""
    at = min(os.fstat(fd).st_size, size) // PIECE_BYTES * PIECE_BYTES
    try:
        os.ftruncate(fd, at)
        os.lseek(fd, at, os.SEEK_SET)
        for piece in pieces(at) if at < size else ():
            at += _write(fd, piece)
        if at != size:
            raise ResultExpired(
                f"A blob was {size:,} bytes, and {at:,} came: it was removed.", expired_at=0.0
            )
        os.rename(name, path)
    except (OSError, ResultExpired):
        with suppress(OSError):
            os.unlink(name)
        raise
    return mapped(fd)


def _write(fd: int, piece: bytes) -> int:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(fd, rest) :]
    return len(piece)
