"""What runs in the workers of a Dask cluster for `taskflow.pools.dask`."""

from __future__ import annotations

import marshal
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["attend", "by_value", "end_worker", "start", "take_back"]

_KEPT_S = 600.0

_lock = threading.Lock()
_begun: set[int] = set()
_taken: dict[int, float] = {}


def start(number: int, topic: str, message: bytes, given: dict[str, bytes]) -> tuple[bytes, list[str]]:
    """Call `attend`, wherever this is: it travels by `by_value`."""
    from taskflow.pools.dask_there import attend

    return attend(number, topic, message, given)


def by_value(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function that travels as its code: the scheduler opens it too, and need not have taskflow."""
    fn.__module__ = "__main__"
    return fn


def attend(number: int, topic: str, message: bytes, given: Mapping[str, bytes]) -> tuple[bytes, list[str]]:
    """Run a message in a thread of a worker, unless it was taken back; a marshalled
    `taskflow.pools.guest.Answer`, and the names of the large data that was made and is kept here.
    """
    from taskflow.pools.guest import answer

    with _lock:
        if _taken.pop(number, None) is not None:
            return b"", []
        _begun.add(number)
    try:
        told = answer(message, _Ground(number, topic), given)
        return marshal.dumps(tuple(told), 2), list(told.made)
    finally:
        with _lock:
            _begun.discard(number)


def take_back(number: int) -> bool:
    """See that a message does not begin here; one that runs is interrupted instead, and `False` told."""
    from taskflow.pools.guest import cancel

    with _lock:
        if number not in _begun:
            now = time.monotonic()
            for old in [n for n, at in _taken.items() if now - at > _KEPT_S]:
                del _taken[old]
            _taken[number] = now
            return True
    cancel(number)
    return False


def end_worker(dask_worker: Any = None) -> None:
    """Kill the worker of a nanny, in the nanny's process: it starts another."""
    if dask_worker.pid:
        os.kill(dask_worker.pid, signal.SIGKILL)


class _Ground:
    """What Dask offers to a guest, see `taskflow.pools.guest.Ground`."""

    def __init__(self, number: int, topic: str) -> None:
        from distributed import get_worker

        self._worker = get_worker()
        self._number, self._topic = number, topic
        self._is_out = False
        self.alone = self._worker.state.nthreads == 1 and self._worker.nanny is not None

    def speak(self, records: bytes, /) -> bool:
        """By an event of the cluster, which takes a few milliseconds."""
        self._worker.log_event(self._topic, (self._number, 0, records))
        return True

    def want(self, more: int, /) -> None:
        """Leave the threads that Dask counts: the worker begins something else beside this."""
        from distributed import secede

        if not self._is_out:
            self._is_out = True
            secede()
        self._worker.log_event(self._topic, (self._number, more, b""))
