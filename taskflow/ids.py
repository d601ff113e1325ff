"""Names of things: made by the client, unique everywhere, sortable by time."""

from __future__ import annotations

import os
import time
from typing import NewType

__all__ = ["NodeId", "RunId", "WorkerId", "new_id"]

RunId = NewType("RunId", str)
NodeId = NewType("NodeId", str)
WorkerId = NewType("WorkerId", str)


def new_id() -> str:
    """Make a UUID of version 7 as text: 48 bits of milliseconds, then 74 random bits.

    Source: RFC 9562, section 5.7. Safe to call from threads and after a fork.

    Example:
        >>> len(new_id()), new_id()[14]
        (36, '7')
    """
    ms = time.time_ns() // 1_000_000
    tail = os.urandom(10).hex()
    head = f"{ms:012x}"
    variant = "89ab"[int(tail[3], 16) & 3]
    return f"{head[:8]}-{head[8:]}-7{tail[:3]}-{variant}{tail[4:7]}-{tail[7:19]}"
