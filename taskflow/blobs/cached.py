"""Blobs of a server, with a copy of the larger ones in files of this host: each comes here once.

The files are mapped by all processes of the user, and the oldest go when there are too many.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from taskflow.blobs.files import FileBlobs
from taskflow.blobs.redis import RedisBlobs
from taskflow.errors import QueueFull, ResultExpired, StoreError
from taskflow.links.redis import RedisLink, parse
from taskflow.ports import Blobs

__all__ = ["CachedBlobs", "cached"]

LEAST_BYTES = 64 << 10
MOST_BYTES = 4 << 30
_LOOK_EVERY_BYTES = 64 << 20


def cached(url: str, link: RedisLink | None = None) -> CachedBlobs:
    """The blobs of a store on a server; it is reached by `link`, or when the first blob is asked for."""
    address = parse(url)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(
        repr((address.kind, address.hosts, address.path, address.prefix)).encode()
    ).hexdigest()
    far = RedisBlobs((lambda: RedisLink(url, 20.0)) if link is None else (lambda: link))
    return CachedBlobs(far, FileBlobs(cache / "taskflow" / "blobs" / name[:16]))


class CachedBlobs:
    """Blobs that are far, and copies of the larger ones near.

    Args:
        far: Where they are.
        near: Where the copies are.
        most_bytes: About how many bytes of copies are kept.
    """

    guarded = False

    def __init__(self, far: Blobs, near: FileBlobs, most_bytes: int = MOST_BYTES) -> None:
        self._far, self._near, self._most_bytes = far, near, most_bytes
        self._since_look = _LOOK_EVERY_BYTES

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        """Keep the parts under a name; nothing happens when the name is there."""
        self._far.put(name, parts)
        if sum(memoryview(part).nbytes for part in parts) >= LEAST_BYTES:
            self._copy(name, parts)

    def open(self, name: str, /) -> memoryview:
        """The bytes; writing to the view changes no one else's.

        Raises:
            ResultExpired: There is no such blob any more.
        """
        with suppress(ResultExpired, StoreError):
            return self._near.open(name)
        view = self._far.open(name)
        if view.nbytes < LEAST_BYTES or not self._copy(name, [view]):
            return view
        with suppress(ResultExpired, StoreError):
            view = self._near.open(name)  # mapped: the pages are shared with the other children
        return view

    def has(self, name: str, /) -> bool:
        """Whether the name is there; a name that is found is kept for at least another hour."""
        return self._far.has(name)

    def sweep(self, keep: Collection[str], /, *, age_s: float) -> int:
        """See `ports.Blobs`; the copies stay as long as there is room."""
        return self._far.sweep(keep, age_s=age_s)

    def _copy(self, name: str, parts: Sequence[bytes | memoryview]) -> bool:
        """Keep a copy; a full disk is no reason to fail."""
        try:
            self._near.put(name, parts)
        except (QueueFull, StoreError):
            return False
        self._since_look += sum(memoryview(part).nbytes for part in parts)
        if self._since_look >= min(_LOOK_EVERY_BYTES, self._most_bytes):
            self._since_look = 0
            self._near.shrink(self._most_bytes)
        return True
