"""What the five systems are given to do: plain functions, the same for all."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

ITEMS = range(20)
SEEN = Path(os.environ.get("SEEN") or tempfile.gettempdir()) / "seen"
"""A folder in which a function remembers that it was here before."""


def fetch(number: int) -> int:
    """Give the square of a number. Multiples of five need a second attempt, and 13 fails however often."""
    if number == 13:
        raise ValueError("13 cannot be fetched")
    seen = SEEN / str(number)
    if number % 5 == 0 and not seen.exists():
        SEEN.mkdir(exist_ok=True)
        seen.touch()
        raise ConnectionError(f"{number}: try again")
    return number * number


def slow(number: int) -> int:
    """Give the square of a number, after a moment."""
    time.sleep(0.1)
    return number * number


def report(total: int, largest: int) -> str:
    """Say what two other tasks have found."""
    return f"{total} in all, the largest is {largest}"
