"""What was used most recently stays; the rest is forgotten."""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["keep"]

_keeping = threading.Lock()


def keep(cache: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    """Add to a cache of the most recent; safe from several threads."""
    with _keeping:
        cache.pop(key, None)
        cache[key] = value
        while len(cache) > most:
            del cache[next(iter(cache))]
