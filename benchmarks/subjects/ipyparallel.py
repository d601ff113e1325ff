"""ipyparallel: a controller and two engines on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from benchmarks import work
from benchmarks.subject import WORKERS, Subject

_MANY = 10_000


class Ipyparallel(Subject):
    """A load-balanced view; for maps of very many items the direct view, which sends one chunk an engine."""

    title = "ipyparallel"
    packages = ("ipyparallel",)
    notes = (
        "load-balanced view, one message an item; for maps of more than 10,000 items the direct view,"
        " which cuts them into one piece an engine; chords are driven by the client"
    )
    cannot: ClassVar[Mapping[str, str]] = {
        "graph": "dependencies say when a task may run, and carry no values",
        "put": "an object can be pushed under a name to engines, which a load-balanced task cannot rely on",
    }

    def start(self) -> None:
        """See `Subject`."""
        import ipyparallel

        self._cluster = ipyparallel.Cluster(n=WORKERS, log_level=logging.ERROR)
        self._client = self._cluster.start_and_connect_sync()
        self._view = self._client.load_balanced_view()

    def stop(self) -> None:
        """See `Subject`."""
        self._client.close()
        self._cluster.stop_cluster_sync()

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """See `Subject`."""
        return self._view.apply_sync(fn, *args)

    def submit(self, fn: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        """See `Subject`."""
        results = [self._view.apply_async(fn, item) for item in items]
        return [result.get() for result in results]

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        view = self._client[:] if len(items) > _MANY else self._view
        return list(view.map_sync(fn, items))

    def chord(self, fn: Callable[[int], int], items: Sequence[int]) -> int:
        """The client collects all results and sends them back."""
        return int(self.call(work.total, self.submit(fn, items)))


SUBJECT = Ipyparallel
