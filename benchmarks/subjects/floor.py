"""What no pool can be better than, or has to be better than."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, ClassVar

from benchmarks.subject import Subject


class Floor(Subject):
    """Single calls by a bare pipe to one process; maps and frames by a plain loop in this process."""

    title = "no pool"
    is_rival = False
    notes = "a plain loop in one process; single calls by a bare pipe to one other process"
    cannot: ClassVar[Mapping[str, str]] = {
        "submit": "it would be the same loop",
        "chord": "it would be the same loop",
        "graph": "it would be the same loop",
        "put": "the frame is there",
    }

    def start(self) -> None:
        """See `Subject`."""
        self._near, far = multiprocessing.Pipe()
        self._other = multiprocessing.Process(target=_serve, args=(far,), daemon=True)
        self._other.start()

    def stop(self) -> None:
        """See `Subject`."""
        self._near.send(None)
        self._other.join()

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """See `Subject`."""
        self._near.send((fn, args))
        return self._near.recv()

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        return [fn(item) for item in items]


def _serve(pipe: Connection) -> None:
    while (message := pipe.recv()) is not None:
        fn, args = message
        pipe.send(fn(*args))


SUBJECT = Floor
