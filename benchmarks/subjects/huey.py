"""Huey: process workers on Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from benchmarks import work
from benchmarks.consumers import Consumers
from benchmarks.subject import Subject


class Huey(Subject):
    """`RedisHuey` with `notify_result`, without which its client looks for a result every 50 ms or later."""

    title = "Huey"
    packages = ("huey", "redis", "hiredis")
    notes = (
        "`huey_consumer -k process -w 2`, `notify_result=True`; bulk calls are `task.map`, chords its `chord`"
    )
    cannot: ClassVar[Mapping[str, str]] = {
        "graph": "pipelines, groups and chords: no node has two parents of its own choice"
    }
    parts: ClassVar[Mapping[str, float]] = {"map": 0.1}

    def start(self) -> None:
        """See `Subject`."""
        from benchmarks.apps.huey import TASKS, huey

        self._huey, self._tasks = huey, TASKS
        self._consumers = Consumers()
        self._consumers.start(
            *("huey.bin.huey_consumer", "benchmarks.apps.huey.huey"),
            *("-k", "process", "-w", str(self.workers), "--quiet"),
        )

    def stop(self) -> None:
        """See `Subject`."""
        self._consumers.stop()

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """See `Subject`."""
        return self._tasks[fn](*args).get(blocking=True)

    def submit(self, fn: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        """See `Subject`."""
        task = self._tasks[fn]
        results = [task(item) for item in items]
        return [result.get(blocking=True) for result in results]

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        return list(self._tasks[fn].map(items).get(blocking=True))

    def chord(self, fn: Callable[[int], int], items: Sequence[int]) -> int:
        """See `Subject`."""
        from huey import chord

        task = self._tasks[fn]
        sent = self._huey.enqueue(chord([task.s(item) for item in items], self._tasks[work.total].s()))
        return int(sent.get(blocking=True))


SUBJECT = Huey
