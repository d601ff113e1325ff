"""Wait for news from a store without asking it all the time."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskflow.ports import Store

__all__ = ["news"]

INTERVAL_S = 0.1
IDLE_S = 1.0
SHARE = 10


def news(
    store: Store,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Come round at once, then whenever something happened, and once a second when nothing did.

    At most ten times a second, and less often when looking takes long: at most a tenth of the time
    is spent on it.
    """
    bell = store.listen("watch")
    try:
        while True:
            bell.hush()
            began = monotonic()
            yield
            took_s = monotonic() - began
            sleep(max(INTERVAL_S - took_s, SHARE * took_s))
            select.select([bell], [], [], IDLE_S)
    finally:
        bell.close()
