"""taskflow: a client with an embedded store in a new file, so every call is kept on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from benchmarks import work
from benchmarks.subject import WORKERS, Subject
from benchmarks.work import Graph


class Taskflow(Subject):
    """`taskflow.Client`; graphs as a `taskflow.Workflow`, chords as `taskflow.chord`."""

    title = "taskflow"
    packages: ClassVar[tuple[str, ...]] = ("jupyter-taskflow", "cloudpickle")
    is_rival = False
    notes = "every call and every result is committed to a SQLite file; frames go by `map` and `scatter`"

    def start(self) -> None:
        """See `Subject`."""
        import taskflow

        self._folder = tempfile.TemporaryDirectory(prefix="taskflow-bench-")
        self._client = taskflow.Client(f"sqlite:///{self._folder.name}/runs.db", workers=WORKERS)

    def stop(self) -> None:
        """See `Subject`."""
        self._client.shutdown()
        self._folder.cleanup()

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """See `Subject`."""
        return self._client.submit(fn, *args).result()

    def submit(self, fn: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        """See `Subject`."""
        futures = [self._client.submit(fn, item) for item in items]
        return [future.result() for future in futures]

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        return list(self._client.map(fn, items))

    def chord(self, fn: Callable[[int], int], items: Sequence[int]) -> int:
        """The store releases the body; the client fetches one value."""
        from taskflow import chord, signature

        header = [signature(fn, (item,)) for item in items]
        value: int = chord(header, signature(work.total)).apply_async(client=self._client).get()
        return value

    def graph(self, graph: Graph) -> Callable[[], int]:
        """See `Subject`."""
        from taskflow import Workflow

        flow = Workflow("layers")
        above = [flow.add(work.leaf, *node) for node in graph[0]]
        for layer in graph[1:]:
            above = [flow.add(work.join, above[left], above[right]) for left, right in layer]
        flow.add(work.total, above, name="total")
        run = flow.run(self._client)
        return lambda: int(run.result("total"))

    def put(self, parts: Sequence[Any]) -> Sequence[Any]:
        """See `Subject`."""
        return [self._client.scatter(part) for part in parts]


SUBJECT = Taskflow
