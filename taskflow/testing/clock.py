"""Time that stands still until a test moves it."""

from __future__ import annotations

__all__ = ["ManualClock"]


class ManualClock:
    """A `Clock` that only `advance` moves.

    Example:
        >>> clock = ManualClock(100.0)
        >>> clock.advance(5)
        >>> clock.now()
        105.0
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
