"""Names of things: made by the client, unique everywhere, sortable by time."""

from __future__ import annotations

import hashlib
import os
import time
from typing import NewType

__all__ = ["NodeId", "RunId", "WorkerId", "id_from", "new_id"]

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


def id_from(text: str) -> str:
    """Make a UUID of version 8 from a text: the same for the same text, whoever makes it.

    Source: RFC 9562, section 5.8.

    Example:
        >>> id_from("nightly") == id_from("nightly"), id_from("nightly")[14]
        (True, '8')
    """
    raw = hashlib.blake2b(text.encode(), digest_size=16, person=b"taskflow key").hexdigest()
    variant = "89ab"[int(raw[16], 16) & 3]
    return f"{raw[:8]}-{raw[8:12]}-8{raw[13:16]}-{variant}{raw[17:20]}-{raw[20:]}"
