"""Celery: prefork workers, broker and results on Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar

from benchmarks import work
from benchmarks.consumers import Consumers
from benchmarks.subject import Subject


class Celery(Subject):
    """Its defaults, JSON among them; the bulk call is `group`."""

    library: ClassVar[str] = "celery"
    """Where `group` and `chord` come from."""
    title = "Celery"
    packages: ClassVar[tuple[str, ...]] = ("celery", "kombu", "billiard", "redis", "hiredis")
    notes = "`worker -P prefork -c 2`, settings as they come; bulk calls are a `group`, chords its `chord`"
    cannot: ClassVar[Mapping[str, str]] = {
        "graph": "chains, groups and chords cannot say that a node with two parents shares each with others"
    }
    parts: ClassVar[Mapping[str, float]] = {"map": 0.05}

    def start(self) -> None:
        """See `Subject`."""
        from benchmarks.apps.celery import TASKS

        self._tasks = TASKS
        self._consumers = Consumers()
        self._consumers.start(
            *("celery", "-A", "benchmarks.apps.celery", "--quiet", "worker"),
            *("-P", "prefork", "-c", str(self.workers), "-l", "error"),
        )

    def stop(self) -> None:
        """See `Subject`."""
        self._consumers.stop()

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """See `Subject`."""
        return self._tasks[fn].delay(*args).get()

    def submit(self, fn: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        """See `Subject`."""
        task = self._tasks[fn]
        results = [task.delay(item) for item in items]
        return [result.get() for result in results]

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        group = import_module(self.library).group
        task = self._tasks[fn]
        return list(group(task.s(item) for item in items)().get())

    def chord(self, fn: Callable[[int], int], items: Sequence[int]) -> int:
        """See `Subject`."""
        chord = import_module(self.library).chord
        task = self._tasks[fn]
        return int(chord([task.s(item) for item in items])(self._tasks[work.total].s()).get())


SUBJECT = Celery
