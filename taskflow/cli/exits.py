"""What the process says with its exit code."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Exit"]


class Exit(IntEnum):
    """Exit codes of ``taskflow``."""

    OK = 0
    FAILED = 1
    MISUSED = 2
    UNAVAILABLE = 69
    INTERRUPTED = 130
