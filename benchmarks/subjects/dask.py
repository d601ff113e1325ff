"""Dask: a LocalCluster of processes with one thread each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import work
from benchmarks.subject import WORKERS, Subject
from benchmarks.work import Graph


class Dask(Subject):
    """`dask.distributed.Client`; every call is impure, or equal ones would run once."""

    title = "Dask"
    packages = ("distributed", "dask")
    notes = "`pure=False`, or equal calls would run once; frames by `scatter` and `map`, graphs by `delayed`"

    def start(self) -> None:
        """See `Subject`."""
        from distributed import Client, LocalCluster

        self._cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
        self._client = Client(self._cluster)

    def stop(self) -> None:
        """See `Subject`."""
        self._client.close()
        self._cluster.close()

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """See `Subject`."""
        return self._client.submit(fn, *args, pure=False).result()

    def submit(self, fn: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        """See `Subject`."""
        return self._fetch([self._client.submit(fn, item, pure=False) for item in items])

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        return self._fetch(self._client.map(fn, items, pure=False))

    def frames(self, fn: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
        """Large arguments are to be scattered first, says its manual."""
        from distributed import Future

        there = parts if isinstance(parts[0], Future) else self.put(parts)
        return self._fetch(self._client.map(fn, there, pure=False))

    def chord(self, fn: Callable[[int], int], items: Sequence[int]) -> int:
        """The values go from worker to worker."""
        header = self._client.map(fn, items, pure=False)
        return int(self._client.submit(work.total, header, pure=False).result())

    def graph(self, graph: Graph) -> Callable[[], int]:
        """See `Subject`."""
        from dask import delayed

        leaf, join = delayed(work.leaf, pure=False), delayed(work.join, pure=False)
        above = [leaf(*node) for node in graph[0]]
        for layer in graph[1:]:
            above = [join(above[left], above[right]) for left, right in layer]
        future = self._client.compute(delayed(work.total, pure=False)(above))
        return lambda: int(future.result())

    def put(self, parts: Sequence[Any]) -> Sequence[Any]:
        """Without hashing: equal data would get the name of data that is just being released."""
        there: Sequence[Any] = self._client.scatter(list(parts), hash=False)
        return there

    def _fetch(self, futures: Sequence[Any]) -> list[Any]:
        return list(self._client.gather(futures))


SUBJECT = Dask
