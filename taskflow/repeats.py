"""Large arguments that are passed to one call after another: each is stored once."""

from __future__ import annotations

import sys
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from taskflow.errors import UsageError
from taskflow.ref import Ref

if TYPE_CHECKING:
    from taskflow.codec import Codec

__all__ = ["Once"]

LARGE_BYTES = 32 * 1024
_CONTAINERS = frozenset({bytes, bytearray, str, list, tuple, dict, set, frozenset})


class Once:
    """Gives for an argument what is to be sent in its place: itself, if it is small.

    An array, a table or a sparse matrix that comes again is known by its identity: what is written to it
    meanwhile reaches no later call. Other large objects are compared with what was stored. An array that is
    mapped from a file for writing, of whatever size, stands for that file: all calls write to it.

    Args:
        codec: Stores them.

    Example:
        ``once = Once(codec); [once(arg) for arg in args]``
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._known: dict[int, tuple[weakref.ref[Any], Any]] = {}

    def __call__(self, obj: Any) -> Any:
        """What is to be sent for an object.

        Raises:
            CannotPickle: It cannot travel.
            UsageError: It is a part of a mapped array that no other process can map.
        """
        key, known = id(obj), self._known
        if type(obj) in _CONTAINERS:
            return Ref(self._codec, obj) if sys.getsizeof(obj) >= LARGE_BYTES else obj
        if key in known and known[key][0]() is obj:
            return known[key][1]
        stored: Any = _InFile.of(obj)
        if stored is None:
            if _size_bytes(obj) < LARGE_BYTES:
                return obj
            stored = Ref(self._codec, obj)
        with suppress(TypeError):  # what cannot be referred to weakly is looked at again
            known[key] = weakref.ref(obj, lambda _: known.pop(key, None)), stored
        return stored


def _size_bytes(obj: Any) -> int:
    """About how many bytes an array, a table or a sparse matrix takes; 0 for whatever else."""
    module = type(obj).__module__.partition(".")[0]
    if module == "pandas" and hasattr(obj, "memory_usage"):
        usage = obj.memory_usage()
        return int(usage.sum() if hasattr(usage, "sum") else usage)
    if module == "polars" and hasattr(obj, "estimated_size"):
        return int(obj.estimated_size())
    size = getattr(obj, "nbytes", None)
    if size is None and module == "scipy":
        size = getattr(getattr(obj, "data", None), "nbytes", None)
    return size if isinstance(size, int) else 0


class _InFile:
    """An array in a file, to be written to: it travels as what `numpy.memmap` is called with."""

    def __init__(self, terms: tuple[Any, ...]) -> None:
        self._terms = terms

    @classmethod
    def of(cls, obj: Any) -> _InFile | None:
        """It for an array that is mapped for writing, or a part of one; `None` for others."""
        numpy = sys.modules.get("numpy")
        if numpy is None or not isinstance(obj, numpy.memmap) or obj.mode not in ("r+", "w+"):
            return None
        whole = obj
        while isinstance(whole.base, numpy.memmap):
            whole = whole.base
        if not (obj.flags.c_contiguous or obj.flags.f_contiguous):
            raise UsageError(
                "This part of a mapped array is in several pieces, and cannot be written to elsewhere: pass"
                " the whole, and take the part in the call."
            )
        offset = whole.offset + obj.ctypes.data - whole.ctypes.data
        order = "C" if obj.flags.c_contiguous else "F"
        return cls((str(whole.filename), obj.dtype, "r+", offset, obj.shape, order))

    def __reduce__(self) -> tuple[Any, ...]:
        import numpy

        return numpy.memmap, self._terms
