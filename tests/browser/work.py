"""Functions that the workers of these tests call."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["fails_at_odd", "gated"]


def gated(index: int, gate: str) -> int:
    """Ends when the gate is opened."""
    while not Path(gate).exists():
        time.sleep(0.02)
    return index


def fails_at_odd(index: int, gate: str, words: str = "") -> int:
    """The same, but odd ones fail."""
    if gated(index, gate) % 2:
        raise ValueError(f"odd numbers are not wanted {words}")
    return index
