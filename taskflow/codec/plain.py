"""What plain pickle does as well as cloudpickle, and many times as fast: atoms, and little around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from taskflow.codec.pickling import ATOMS, Inputs, Position, Reference

__all__ = ["CONTAINERS", "SMALL", "Gaps", "fits", "is_plain", "literal"]

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


class Gaps(NamedTuple):
    """Arguments with nothing where references stood.

    Args:
        args: By position; with a list for each tuple that has a gap.
        kwargs: By name.
        asked: Of each gap in which argument it is, where if that is a list, and which input belongs there.
        tuples: The arguments that were tuples.
    """

    args: list[Any]
    kwargs: dict[str, Any]
    asked: list[tuple[int | str, int | None, int, int | None]]
    tuples: list[int | str]

    @classmethod
    def of(cls, args: Iterable[Any], kwargs: Mapping[str, Any], position: Position) -> Gaps | None:
        """Ask `position` of all references, if nothing but atoms and lists and tuples is around them."""
        made = cls([*args], {**kwargs}, [], [])
        places: Any = (made.args, enumerate(made.args)), (made.kwargs, [*made.kwargs.items()])
        for holder, entries in places:
            for key, value in entries:
                kind = type(value)
                if kind in ATOMS:
                    continue
                if issubclass(kind, Reference):
                    made.asked.append((key, None, position(value), value.index))
                    holder[key] = None
                elif kind not in _SEQUENCES or not made._open(holder, key, value, position):
                    return None
        return made

    def _open(self, holder: Any, key: int | str, parts: Sequence[Any], position: Position) -> bool:
        """The same for the parts of an argument; `False` when there is more among them."""
        left = list(parts)
        for at, part in enumerate(parts):
            kind = type(part)
            if kind in ATOMS:
                continue
            if not issubclass(kind, Reference):
                return False
            self.asked.append((key, at, position(part), part.index))
            left[at] = None
        if type(parts) is tuple:
            self.tuples.append(key)
        holder[key] = left
        return True

    def filled(self, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, with the inputs where references stood."""
        args, kwargs = self.args, self.kwargs
        for key, at, position, index in self.asked:
            holder: Any = kwargs if type(key) is str else args
            if at is None:
                holder[key] = inputs(position, index)
            else:
                holder[key][at] = inputs(position, index)
        for key in self.tuples:
            holder = kwargs if type(key) is str else args
            holder[key] = tuple(holder[key])
        return tuple(args), kwargs


def fits(objects: Iterable[Any], most: int) -> bool:
    """Whether the texts among atoms have no more than so many characters and bytes together."""
    return sum(len(obj) for obj in objects if type(obj) in _TEXTS) <= most
