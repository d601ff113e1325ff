"""`Ranges`: many indexes in little memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

__all__ = ["Ranges"]


class Ranges:
    """A set of indexes, kept as ranges; those that touch become one."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.count = 0

    def add(self, lo: int, hi: int) -> None:
        """Add all of ``[lo, hi)``, whether some of them are there or not."""
        first = bisect_left(self._ends, lo)
        last = bisect_right(self._starts, hi)
        if first < last:
            lo, hi = min(lo, self._starts[first]), max(hi, self._ends[last - 1])
            self.count -= sum(self._ends[first:last]) - sum(self._starts[first:last])
        self._starts[first:last] = [lo]
        self._ends[first:last] = [hi]
        self.count += hi - lo

    def __contains__(self, index: int) -> bool:
        at = bisect_right(self._starts, index) - 1
        return at >= 0 and index < self._ends[at]
