"""Blobs of a server, with a copy of the larger ones in files of this host: each comes here once.

The files are mapped by all processes of the user, and the longest unused go when there are too many.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from taskflow.blobs.apart import ApartBlobs
from taskflow.blobs.fetching import PIECE_BYTES, Pieces, fetched
from taskflow.blobs.files import FULL, FileBlobs, evict
from taskflow.blobs.redis import RedisBlobs
from taskflow.errors import ConfigError, QueueFull, ResultExpired, StoreError
from taskflow.links.redis import RedisLink, parse

__all__ = ["CachedBlobs", "cached"]

LEAST_BYTES = 64 << 10
MOST_BYTES = 4 << 30
UNUSED_S = 7 * 86_400.0
_LOOK_EVERY_BYTES = 64 << 20
_BOUND = "TASKFLOW_CACHE_MB"


def cached(url: str, link: RedisLink | None = None) -> CachedBlobs:
    """The blobs of a store on a server; it is reached by `link`, or when the first blob is asked for.

    Raises:
        ConfigError: ``TASKFLOW_CACHE_MB`` is no number.
    """
    address = parse(url)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskflow" / "blobs"
    name = hashlib.sha256(
        repr((address.kind, address.hosts, address.path, address.prefix)).encode()
    ).hexdigest()
    far = RedisBlobs((lambda: RedisLink(url, 20.0)) if link is None else (lambda: link))
    return CachedBlobs(ApartBlobs(far), home / name[:16], home, most_bytes=_bound())


class CachedBlobs:
    """Blobs that are far, and copies of the larger ones near.

    Args:
        far: Where they are.
        near: The directory of the copies; made when there is one.
        shared: The directory in which `near` lies beside those of other stores: the bound is that of all.
        most_bytes: About how many bytes of copies are kept.
    """

    guarded = False

    def __init__(
        self, far: ApartBlobs, near: Path, shared: Path | None = None, *, most_bytes: int = MOST_BYTES
    ) -> None:
        self.far = far
        self._directory, self._shared, self._most_bytes = near, shared, most_bytes
        self._files: FileBlobs | None = None
        self._since_look = _LOOK_EVERY_BYTES

    @property
    def _near(self) -> FileBlobs:
        if self._files is None:
            self._files = FileBlobs(self._directory)
        return self._files

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        """Keep the parts under a name; nothing happens when the name is there."""
        self.far.put(name, parts)
        size = sum(memoryview(part).nbytes for part in parts)
        if size >= LEAST_BYTES:
            with suppress(OSError, QueueFull, StoreError, ConfigError):  # it is only a copy
                self._make_room(size)
                self._near.put(name, parts)

    def open(self, name: str, /) -> memoryview:
        """The bytes; writing to the view changes no one else's.

        Raises:
            ResultExpired: There is no such blob any more.
            QueueFull: The disk of the copies is full.
        """
        if self._files is not None or self._directory.is_dir():
            with suppress(ResultExpired, StoreError):
                return self._near.open(name)
        size, pieces = self.far.find(name)
        return self._in_memory(size, pieces) if size < LEAST_BYTES else self._fetch(name, size, pieces)

    def has(self, name: str, /) -> bool:
        """Whether the name is there; a name that is found is kept for at least another hour."""
        return self.far.has(name)

    def drop(self, name: str, /) -> None:
        """Forget the copy: the next one who asks fetches it anew."""
        with suppress(FileNotFoundError):
            os.unlink(self._near.path(name))

    def sweep(self, keep: Collection[str], /, *, age_s: float) -> int:
        """See `ports.Blobs`; copies stay while there is room, and a week when nobody uses them."""
        self._evict(self._most_bytes)
        return self.far.sweep(keep, age_s=age_s)

    def _fetch(self, name: str, size: int, pieces: Pieces) -> memoryview:
        """Have a copy here, and map it: the pages are shared with the other processes.

        What is no larger than a piece does without a disk that is full.
        """
        self._make_room(size)
        try:
            return self._bring(name, size, pieces)
        except (OSError, ConfigError):
            self._evict(0)  # all that nobody uses at the moment
        try:
            return self._bring(name, size, pieces)
        except (OSError, ConfigError) as error:
            if size <= PIECE_BYTES:
                return self._in_memory(size, pieces)
            raise self._no_room(size, error) from error

    def _bring(self, name: str, size: int, pieces: Pieces) -> memoryview:
        view = fetched(self._near.path(name), size, pieces)
        return self._near.open(name) if view is None else view

    def _no_room(self, size: int, error: Exception) -> Exception:
        where = self._directory
        text = f"An object of {size / 1e6:,.0f} MB is needed here, and no copy of it can be kept in {where}"
        if getattr(error, "errno", None) in FULL:
            return QueueFull(
                f"{text}: the disk is full, also without all copies that nobody uses. Make room, or set"
                " XDG_CACHE_HOME to a directory on another disk."
            )
        return StoreError(f"{text} ({error}). Set XDG_CACHE_HOME to a directory that can be written.")

    @staticmethod
    def _in_memory(size: int, pieces: Pieces) -> memoryview:
        whole = bytearray()
        for piece in pieces(0) if size else ():
            whole += piece
        return memoryview(whole)

    def _make_room(self, size: int) -> None:
        """Look, now and then, whether there is too much."""
        self._since_look += size
        if self._since_look >= min(_LOOK_EVERY_BYTES, self._most_bytes):
            self._since_look = 0
            self._evict(max(0, self._most_bytes - size))

    def _evict(self, most_bytes: float) -> None:
        with suppress(OSError):
            roots = [self._directory] if self._shared is None else list(self._shared.iterdir())
            evict(map(os.fspath, roots), most_bytes, UNUSED_S)


def _bound() -> int:
    text = os.environ.get(_BOUND)
    if text is None:
        return MOST_BYTES
    if not text.isdecimal():
        raise ConfigError(f"{_BOUND}={text!r} is no number of megabytes.")
    return int(text) << 20
