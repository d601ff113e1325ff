"""How quick functions are, as it was measured."""

from __future__ import annotations

__all__ = ["Paces"]

_LEAST_S = 1e-8


class Paces(dict[str, float]):
    """Seconds an item takes, by function, of a core of its own.

    Attributes:
        crowding: How many times as long it takes because others run on the same core.
    """

    crowding = 1.0

    def learn(self, fn: str, items: int, took_s: float) -> None:
        """Take a measurement into account: slower at once, quicker only bit by bit.

        Args:
            fn: The function.
            items: How many items were measured.
            took_s: What they took together, on the wall.
        """
        pace = max(_LEAST_S, took_s / items / self.crowding)
        known = self.get(fn)
        if known is not None:
            weight = 0.5 if pace > known else min(0.5, 0.05 * items)
            pace = known + weight * (pace - known)
        self[fn] = pace
