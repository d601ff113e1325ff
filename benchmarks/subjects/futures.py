"""The standard library's `concurrent.futures.ProcessPoolExecutor`."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from benchmarks import work
from benchmarks.driving import drive
from benchmarks.subject import WORKERS, Subject
from benchmarks.work import Graph


class Futures(Subject):
    """`ProcessPoolExecutor`; its map sends items one by one unless it is given a chunksize."""

    title = "concurrent.futures"
    is_rival = False
    keeps_graphs = False
    notes = "`map` as it comes, with `chunksize=1`; graphs and chords are driven by the client"
    cannot: ClassVar[Mapping[str, str]] = {"put": "arguments are sent with each call"}

    def start(self) -> None:
        """See `Subject`."""
        self._pool = concurrent.futures.ProcessPoolExecutor(WORKERS)

    def stop(self) -> None:
        """See `Subject`."""
        self._pool.shutdown()

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """See `Subject`."""
        return self._pool.submit(fn, *args).result()

    def submit(self, fn: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        """See `Subject`."""
        futures = [self._pool.submit(fn, item) for item in items]
        return [future.result() for future in futures]

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        return list(self._pool.map(fn, items))

    def chord(self, fn: Callable[[int], int], items: Sequence[int]) -> int:
        """The client collects all results and sends them back."""
        return self._pool.submit(work.total, self.submit(fn, items)).result()

    def graph(self, graph: Graph) -> Callable[[], int]:
        """See `Subject`."""
        return lambda: drive(graph, self._send)

    def _send(self, fn: Callable[..., Any], args: tuple[Any, ...], done: Callable[[Any], None]) -> None:
        self._pool.submit(fn, *args).add_done_callback(lambda future: done(future.result()))


SUBJECT = Futures
