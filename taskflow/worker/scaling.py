"""How many slots a worker needs, from how long work waits and how many slots nobody needed. Pure.

::

    slots ▲   no slot was spare for a while, and work has waited for as long  ─► half as many more
          │
          ▼   some were spare all the time, for long                          ─► without these

It says a number and ends nothing: a pool grows at once and shrinks as slots fall free.
"""

from __future__ import annotations

from math import inf

__all__ = ["IDLE_S", "WAIT_S", "Scaler"]

WAIT_S = 1.0
"""Work that waits for longer than this needs more slots."""
IDLE_S = 10.0
"""Slots that nobody needed for so long go."""


class Scaler:
    """Decides between two bounds; instants are seconds on the caller's steady clock.

    Args:
        least: Slots that there are at least.
        most: And at most.
        now: This moment.
        wait_s: See `WAIT_S`.
        idle_s: See `IDLE_S`.
    """

    def __init__(
        self, least: int, most: int, now: float, *, wait_s: float = WAIT_S, idle_s: float = IDLE_S
    ) -> None:
        self.least, self.most = least, most
        self._wait_s, self._idle_s = wait_s, idle_s
        self._spare_at = now
        self._began, self._fewest = now, inf

    def saw(self, now: float, spare: int) -> None:
        """So many slots have nothing to do, and there is nothing for them."""
        if spare > 0:
            self._spare_at = now
        self._fewest = min(self._fewest, spare)

    def is_pressed(self, now: float, slots: int) -> bool:
        """Whether more slots would help if work has waited: it is worth asking the store how long."""
        return slots < self.most and now >= self._spare_at + self._wait_s

    def slots(self, now: float, slots: int, waited_s: float | None) -> int:
        """How many there are to be.

        Args:
            now: This moment.
            slots: How many there are.
            waited_s: How long work has waited, as far as that was asked.
        """
        if not self.least <= slots <= self.most:
            self._begin(now)
            return min(max(slots, self.least), self.most)
        if self.is_pressed(now, slots) and waited_s is not None and waited_s >= self._wait_s:
            self._spare_at = now
            self._begin(now)
            return min(self.most, slots + max(1, slots // 2))
        if now < self._began + self._idle_s:
            return slots
        spare = 0 if self._fewest == inf else int(self._fewest)
        self._begin(now)
        return max(self.least, slots - spare)

    def _begin(self, now: float) -> None:
        self._began, self._fewest = now, inf
