"""The standard library's `multiprocessing.Pool`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from benchmarks import work
from benchmarks.driving import drive
from benchmarks.subject import WORKERS, Subject
from benchmarks.work import Graph


class Pool(Subject):
    """`multiprocessing.Pool`; its map sends a few large chunks."""

    title = "multiprocessing.Pool"
    is_rival = False
    keeps_graphs = False
    notes = "`map` as it comes, in about four chunks a worker; graphs and chords are driven by the client"
    cannot: ClassVar[Mapping[str, str]] = {"put": "arguments are sent with each call"}

    def start(self) -> None:
        """See `Subject`."""
        self._pool = multiprocessing.Pool(WORKERS)

    def stop(self) -> None:
        """See `Subject`."""
        self._pool.close()
        self._pool.join()

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """See `Subject`."""
        return self._pool.apply(fn, args)

    def submit(self, fn: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        """See `Subject`."""
        results = [self._pool.apply_async(fn, (item,)) for item in items]
        return [result.get() for result in results]

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        return self._pool.map(fn, items)

    def chord(self, fn: Callable[[int], int], items: Sequence[int]) -> int:
        """The client collects all results and sends them back."""
        return self._pool.apply(work.total, (self.submit(fn, items),))

    def graph(self, graph: Graph) -> Callable[[], int]:
        """See `Subject`."""
        return lambda: drive(graph, self._send)

    def _send(self, fn: Callable[..., Any], args: tuple[Any, ...], done: Callable[[Any], None]) -> None:
        self._pool.apply_async(fn, args, callback=done)


SUBJECT = Pool
