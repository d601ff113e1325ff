"""What plain pickle does as well as cloudpickle, and many times as fast: atoms, and little around them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taskflow.codec.pickling import ATOMS, Asked, Position, Reference

__all__ = ["CONTAINERS", "SMALL", "ask", "fits", "is_linked", "is_plain", "literal"]

_FEW = 16
_SEQUENCES = (list, tuple)
CONTAINERS = frozenset({list, tuple, dict, set, frozenset})
_TEXTS = frozenset({str, bytes})
SMALL = frozenset({int, float, bool, complex, type(None)})


def is_plain(objects: Any) -> bool:
    """Whether plain pickle does: nothing but atoms, in a container or, if it is small, in one more."""
    if isinstance(objects, dict):
        return ATOMS.issuperset(map(type, objects)) and is_plain(objects.values())
    if ATOMS.issuperset(map(type, objects)):
        return True
    return len(objects) <= _FEW and all(
        type(obj) in ATOMS or (type(obj) in _SEQUENCES and ATOMS.issuperset(map(type, obj)))
        for obj in objects
    )


def literal(obj: Any) -> str:
    """Text that is the same for equal objects, in every process: atoms, and containers of these.

    Raises:
        TypeError: It holds something else.
    """
    kind = type(obj)
    if kind in ATOMS:
        return repr(obj)
    if kind not in CONTAINERS:
        raise TypeError(f"{kind.__name__} has no such text")
    parts = [literal(part) for part in (obj.items() if kind is dict else obj)]
    return f"{kind.__name__}({','.join(parts if kind in _SEQUENCES else sorted(parts))})"


def is_linked(objects: Iterable[Any]) -> bool:
    """Whether there is nothing but atoms and references, and lists and tuples of these."""
    for obj in objects:
        kind = type(obj)
        if kind in _SEQUENCES:
            if not all(type(part) in ATOMS or issubclass(type(part), Reference) for part in obj):
                return False
        elif kind not in ATOMS and not issubclass(kind, Reference):
            return False
    return True


def ask(obj: Any, position: Position) -> Any:
    """The same with each reference replaced by what asks for it."""
    if type(obj) in _SEQUENCES:
        return type(obj)(ask(part, position) for part in obj)
    return Asked(position(obj), obj.index) if issubclass(type(obj), Reference) else obj


def fits(objects: Iterable[Any], most: int) -> bool:
    """Whether the texts among atoms have no more than so many characters and bytes together."""
    return sum(len(obj) for obj in objects if type(obj) in _TEXTS) <= most
