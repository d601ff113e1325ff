"""Results in few words, for a table of them."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskflow.codec.payload import value_bytes
from taskflow.future import decode
from taskflow.ids import NodeId
from taskflow.observe.asking import Preview
from taskflow.records import Segment
from taskflow.states import State

if TYPE_CHECKING:
    from taskflow.engine import Engine

__all__ = ["brief", "previews"]

SIZE_MOST_BYTES = 256 * 1024
CHARS = 80


def previews(engine: Engine) -> Preview:
    """What opens the results of an engine's store; large ones it only weighs."""

    def preview(node: NodeId, lo: int, hi: int) -> Sequence[str]:
        texts = [""] * (hi - lo)
        for segment in engine.store.values([node], lo=lo, hi=hi)[node]:
            for index, text in _texts(engine, segment, max(lo, segment.lo), min(hi, segment.hi)):
                texts[index - lo] = text
        return texts

    return preview


def _texts(engine: Engine, segment: Segment, lo: int, hi: int) -> list[tuple[int, str]]:
    if segment.state is not State.SUCCEEDED or segment.value is None:
        return []
    size = value_bytes(segment.value)
    if size > SIZE_MOST_BYTES:
        each = f"{size / max(1, segment.hi - segment.lo) / 1e6:,.1f} MB"
        return [(index, each) for index in range(lo, hi)]
    values, error = decode(engine, segment, None)
    if error is not None:
        return [(index, f"cannot be loaded here: {type(error).__name__}") for index in range(lo, hi)]
    if not segment.array:
        return [(lo, brief(values))]
    return [(index, brief(values[index - segment.lo])) for index in range(lo, hi)]


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = CHARS
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 8
        self.maxlevel = 3

    def repr_bytes(self, value: bytes, level: int) -> str:
        """Bytes, which are read by nobody when there are many."""
        return repr(value) if len(value) <= 16 else f"<{len(value):,} bytes>"


_brief = _Brief()


def brief(value: Any) -> str:
    """A value in at most 80 characters, whatever its `repr` does; tables and arrays by their shape.

    Example:
        >>> brief({"a": 1}), brief("x" * 200)[:4], len(brief(list(range(1000))))
        ("{'a': 1}", "'xxx", 29)
    """
    try:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and shape:
            sides = " × ".join(map(str, shape))
            dtype = getattr(value, "dtype", None)
            return f"{type(value).__name__} {sides}{'' if dtype is None else f' {dtype}'}"
        return " ".join(_brief.repr(value).split())[:CHARS]
    except Exception as error:  # noqa: BLE001 - the object's own code
        return f"<{type(value).__name__}: {type(error).__name__} in its repr>"
