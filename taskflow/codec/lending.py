"""What was mapped from a blob, and not written to since, is there already: a value names it.

A column that a function adds to a DataFrame leaves the other columns where they were mapped. So its result is
the new column, and the place of the others in the blob that they came from.

The kernel knows what was written to: in a private mapping of a file, a page is one of the file, or a copy
that was made when it was first written to (Linux, `Documentation/admin-guide/mm/pagemap.rst`). Elsewhere
nothing is lent.
"""

from __future__ import annotations

import functools
import mmap
import os
import sys
import weakref
from typing import Any, NamedTuple

from taskflow.codec.pickling import Lent, Packed
from taskflow.codec.recent import keep

__all__ = ["Mappings", "worthwhile"]

_LEAST_BYTES = 256 * 1024
_MOST_MAPPINGS = 512
_LEAST_SHARE = 0.5
_SELF = "/proc/self/pagemap"
_ENTRY_BYTES = 8
_PRESENT, _SWAPPED, _OF_FILE = 1 << 63, 1 << 62, 1 << 61


class _Mapping(NamedTuple):
    memory: weakref.ref[mmap.mmap]
    size: int
    blob: Any


class Mappings:
    """The blobs that are mapped in this process; the last few hundred of them are known."""

    def __init__(self) -> None:
        self._known: dict[int, _Mapping] = {}

    def note(self, data: memoryview, blob: Any) -> None:
        """Remember where the bytes of a blob are, when they are mapped."""
        if isinstance(data.obj, mmap.mmap) and len(data) >= _LEAST_BYTES and _is_useful():
            mapping = _Mapping(weakref.ref(data.obj), len(data), blob)
            keep(self._known, _address(data), mapping, _MOST_MAPPINGS)

    def find(self, raw: memoryview) -> Lent | None:
        """Where the bytes of a buffer are, when they were mapped and are as they were."""
        if not self._known or raw.nbytes < _LEAST_BYTES:
            return None
        start = _address(raw)
        for at, (memory, size, blob) in list(self._known.items()):
            if at <= start and start + raw.nbytes <= at + size and memory() is not None:
                return Lent(blob, start - at, raw) if _is_as_read(start, raw.nbytes) else None
        return None


def worthwhile(packed: Packed) -> Packed:
    """The same, but for what is lent by a blob that is needed for little else than being kept."""
    taken: dict[str, int] = {}
    for loan in packed.lent.values():
        taken[loan.blob.name] = taken.get(loan.blob.name, 0) + loan.raw.nbytes
    return packed.without(
        {
            index
            for index, loan in packed.lent.items()
            if taken[loan.blob.name] < _LEAST_SHARE * loan.blob.size
        }
    )


def _address(view: memoryview) -> int:
    """Of its first byte."""
    import numpy as np

    return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0])


def _is_as_read(start: int, size: int) -> bool:
    """Whether all pages of a private mapping are those of its file, or not even looked at."""
    import numpy as np

    first, last = start // mmap.PAGESIZE, -(-(start + size) // mmap.PAGESIZE)
    try:
        with open(_SELF, "rb", buffering=0) as file:
            told = os.pread(file.fileno(), (last - first) * _ENTRY_BYTES, first * _ENTRY_BYTES)
    except OSError:
        return False
    pages = np.frombuffer(told, np.uint64)
    copied = (pages & _SWAPPED != 0) | ((pages & _PRESENT != 0) & (pages & _OF_FILE == 0))
    return len(pages) == last - first and not copied.any()


def _is_useful() -> bool:
    """Whether there are arrays in this process, and a kernel that tells."""
    return "numpy" in sys.modules and sys.platform.startswith("linux") and _tells_writes()


@functools.lru_cache(maxsize=1)
def _tells_writes() -> bool:
    """Whether a page that was written to is told: some sandboxes say zero of all pages."""
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page[0] = 1
    return not _is_as_read(_address(memoryview(page)), mmap.PAGESIZE)
