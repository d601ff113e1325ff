"""How the items of a map stand, one byte each: what a grid of little squares is painted from."""

from __future__ import annotations

from collections.abc import Iterable

from taskflow.records import Event, ItemView
from taskflow.states import State

__all__ = ["CODES", "Cells"]

CODES: dict[State, int] = {
    State.BLOCKED: 0,
    State.QUEUED: 0,
    State.RUNNING: 1,
    State.SUCCEEDED: 2,
    State.FAILED: 3,
    State.DEAD: 3,
    State.EXPIRED: 3,
    State.CANCELLED: 4,
    State.SKIPPED: 4,
    State.WAITING: 5,
}
"""What a byte says; several states look the same."""

MOST = 2_000
_TOLD_FIRST = (3, 1, 5, 4)


class Cells:
    """The items of one array node.

    Args:
        width: How many items there are.
        items: How they stand.
        most: How many squares there may be; of more items several share one.

    Attributes:
        per_cell: Items in a square.

    Example:
        >>> cells = Cells(5, [])
        >>> cells.add(Event(1, 0.0, "r", "n", 1, 3, State.SUCCEEDED))
        >>> cells.states().hex()
        '0002020000'
    """

    def __init__(self, width: int, items: Iterable[ItemView], *, most: int = MOST) -> None:
        self.per_cell = max(1, -(-width // most))
        self._states = bytearray(width)
        for item in items:
            self._states[item.lo : item.hi] = bytes([CODES[item.state]]) * (item.hi - item.lo)
        self._cells = bytearray(-(-width // self.per_cell))
        self._tell(0, len(self._cells))

    def add(self, event: Event) -> None:
        """Take an event of the node."""
        hi = min(event.hi, len(self._states))
        if event.lo < hi:
            self._states[event.lo : hi] = bytes([CODES[event.state]]) * (hi - event.lo)
            self._tell(event.lo // self.per_cell, -(-hi // self.per_cell))

    def states(self) -> bytes:
        """One byte for each square. Of several items the worst is told: failed, running, waiting, cancelled;
        a square has succeeded when all of its items have."""
        return bytes(self._cells)

    def _tell(self, lo: int, hi: int) -> None:
        if self.per_cell == 1:
            self._cells[lo:hi] = self._states[lo:hi]
            return
        for cell in range(lo, hi):
            self._cells[cell] = _of(self._states[cell * self.per_cell : (cell + 1) * self.per_cell])


def _of(states: bytearray) -> int:
    for code in _TOLD_FIRST:
        if code in states:
            return code
    return 2 if 0 not in states else 1 if 2 in states else 0
