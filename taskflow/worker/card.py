"""What a worker says of itself."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from taskflow import versions
from taskflow.ids import WorkerId, new_id
from taskflow.pools.linux import tree_rss_bytes
from taskflow.records import WorkerView

__all__ = ["Card", "worker_name"]


def worker_name() -> str:
    """A name that no other worker has, and that tells where it is."""
    return f"{socket.gethostname()}-{os.getpid()}-{new_id()[-4:]}"


class Card:
    """The part of a `WorkerView` that stays, and how to fill in the rest.

    Args:
        name: The worker's id.
        info: Added to versions and memory.
    """

    def __init__(self, name: WorkerId, info: Mapping[str, Any]) -> None:
        self._name = name
        self._host = socket.gethostname()
        self.started_at = time.time()
        self._info = {
            **versions.here(),
            "platform": sys.platform,
            **info,
        }

    def view(
        self, *, queues: tuple[str, ...], slots: int, free: int, held: int, told: Mapping[str, Any]
    ) -> WorkerView:
        """How the worker is now, its memory with that of its children; `told` is added to what it says."""
        info = {**self._info, "memory_bytes": tree_rss_bytes(os.getpid()), "held": held, **told}
        busy = max(0, slots - free)
        return WorkerView(
            self._name,
            self._host,
            os.getpid(),
            queues,
            slots,
            busy,
            self.started_at,
            time.time(),
            info,
        )
