"""Blobs in this process's memory, for the store that lives there."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from taskflow.errors import ResultExpired

__all__ = ["MemoryBlobs"]


class MemoryBlobs:
    """Bytes by name, in a dictionary."""

    guarded = True

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        """Keep the parts under a name, unless the name is there."""
        if name not in self._blobs:
            self._blobs[name] = b"".join(parts)

    def open(self, name: str, /) -> memoryview:
        """A private copy of the bytes, so that writing changes no one else's."""
        try:
            return memoryview(bytearray(self._blobs[name]))
        except KeyError:
            raise ResultExpired(f"blob {name} is not there any more", expired_at=0.0) from None

    def has(self, name: str, /) -> bool:
        """Whether the name is there."""
        return name in self._blobs

    def drop(self, name: str, /) -> None:
        """Nothing to do: it is no copy."""

    def sweep(self, keep: Collection[str], /, *, age_s: float) -> int:
        """Delete what is not named in `keep`."""
        gone = [name for name in self._blobs if name not in keep]
        return sum(len(self._blobs.pop(name)) for name in gone)
