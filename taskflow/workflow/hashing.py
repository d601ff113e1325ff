"""A hash of keys that is the same in every process, whatever PYTHONHASHSEED says."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from numbers import Number
from pathlib import PurePath
from typing import Any

from taskflow.errors import UsageError

__all__ = ["key_hash"]

_MASK = (1 << 64) - 1


def key_hash(key: Any) -> int:
    """Hash a key: keys that are equal have the same hash, as with `hash`, and in every process.

    Numbers, text, bytes, `None`, tuples and frozensets hash by value; other objects by their class
    and what `pickle` would rebuild them from.

    Raises:
        UsageError: The key has no such hash.

    Example:
        >>> key_hash("a"), key_hash(1) == key_hash(1.0) == key_hash(True)
        (3904355907, True)
    """
    known = _HASHES.get(type(key))
    return known(key) if known is not None else _any(key)


def _any(key: Any) -> int:
    if isinstance(key, Number):  # Python gives equal numbers of all types one hash, without a seed
        return hash(key) & _MASK
    for kind, known in _HASHES.items():
        if isinstance(key, kind):
            return known(key)
    return _rebuilt(key)


def _text(key: str) -> int:
    return zlib.crc32(key.encode("utf-8", "surrogatepass"))


def _number(key: float) -> int:
    return hash(key) & _MASK


def _sequence(key: Any) -> int:
    mixed = len(key)
    for part in key:
        mixed = (mixed * 1_000_003 ^ key_hash(part)) & _MASK
    return mixed


def _set(key: frozenset[Any]) -> int:
    mixed = len(key)
    for part in key:
        mixed ^= (key_hash(part) * 0x9E37_79B9_7F4A_7C15) & _MASK
    return mixed


def _rebuilt(key: Any) -> int:
    """Hash the parts that `pickle` would rebuild it from: its bytes may differ for equal objects."""
    kind = type(key)
    try:
        hash(key)
        parts = key.__reduce_ex__(4)
        return _sequence((kind.__module__, kind.__qualname__, *map(_frozen, parts[1:3])))
    except (TypeError, RecursionError, UsageError) as error:
        raise UsageError(
            f"The key {key!r:.80} has no hash that is the same in every process:"
            " use text, numbers, or tuples of them."
        ) from error


def _frozen(part: Any) -> Any:
    if isinstance(part, dict):
        return tuple((name, _frozen(value)) for name, value in part.items())
    if isinstance(part, list | tuple):
        return tuple(map(_frozen, part))
    if isinstance(part, type):
        return f"{part.__module__}.{part.__qualname__}"
    if isinstance(part, set):
        return frozenset(part)
    return part


_HASHES: dict[type, Callable[[Any], int]] = {
    str: _text,
    int: _number,
    float: _number,
    bool: _number,
    bytes: zlib.crc32,
    type(None): lambda _: 0,
    tuple: _sequence,
    frozenset: _set,
    PurePath: lambda path: _text(str(path)),  # equal paths may be pickled in other pieces
}
