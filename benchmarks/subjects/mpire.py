"""mpire's WorkerPool, kept alive between calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from benchmarks import work
from benchmarks.driving import drive
from benchmarks.subject import WORKERS, Subject
from benchmarks.work import Graph


class Mpire(Subject):
    """`mpire.WorkerPool`; its map chooses its chunks by the length of the iterable."""

    title = "mpire"
    packages = ("mpire",)
    keeps_graphs = False
    notes = "graphs and chords are driven by the client"
    cannot: ClassVar[Mapping[str, str]] = {
        "put": "an object is shared at the start of the pool only (`shared_objects`)"
    }

    def start(self) -> None:
        """See `Subject`."""
        from mpire import WorkerPool

        self._pool = WorkerPool(n_jobs=WORKERS, keep_alive=True)

    def stop(self) -> None:
        """See `Subject`."""
        self._pool.terminate()

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """See `Subject`."""
        return self._pool.apply(fn, args)

    def submit(self, fn: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        """See `Subject`."""
        results = [self._pool.apply_async(fn, (item,)) for item in items]
        return [result.get() for result in results]

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        return list(self._pool.map(fn, items))

    def frames(self, fn: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
        """A frame is an iterable, which `map` would take for several arguments; so it goes in a tuple."""
        return list(self._pool.map(fn, [(part,) for part in parts]))

    def chord(self, fn: Callable[[int], int], items: Sequence[int]) -> int:
        """The client collects all results and sends them back."""
        return int(self._pool.apply(work.total, (self.map(fn, items),)))

    def graph(self, graph: Graph) -> Callable[[], int]:
        """See `Subject`."""
        return lambda: drive(graph, self._send)

    def _send(self, fn: Callable[..., Any], args: tuple[Any, ...], done: Callable[[Any], None]) -> None:
        self._pool.apply_async(fn, args, callback=done)


SUBJECT = Mpire
