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
from taskflow.records import WorkerView

__all__ = ["Card", "worker_name"]


def worker_name() -> str:
    """A name that no other worker has, and that tells where it is."""
    return f"{socket.gethostname()}-{os.getpid()}-{new_id()[-4:]}"


class Card:
    """The part of a `WorkerView` that stays, and how to fill in the rest.

    Args:
        name: The worker's id.
        queues: What it serves.
        info: Added to versions and memory.
    """

    def __init__(self, name: WorkerId, queues: tuple[str, ...], info: Mapping[str, Any]) -> None:
        self._name, self._queues = name, queues
        self._host = socket.gethostname()
        self._started_at = time.time()
        self._info = {
            **versions.here(),
            "platform": sys.platform,
            **info,
        }

    def view(self, *, slots: int, free: int, held: int, refused: int = 0) -> WorkerView:
        """How the worker is now."""
        info = self._info | {"memory_bytes": _resident_bytes(), "held": held, "refused": refused}
        busy = max(0, slots - free)
        return WorkerView(
            self._name,
            self._host,
            os.getpid(),
            self._queues,
            slots,
            busy,
            self._started_at,
            time.time(),
            info,
        )


def _resident_bytes() -> int:
    """Memory of this process, without its children; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - pathlib is slow to import
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
