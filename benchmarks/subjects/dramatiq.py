"""Dramatiq: two processes of eight threads, which is its default."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from benchmarks import work
from benchmarks.consumers import Consumers
from benchmarks.subject import Subject

THREADS = 8
TIMEOUT_MS = 120_000


class Dramatiq(Subject):
    """`RedisBroker` with the middleware that keeps results."""

    title = f"Dramatiq, {THREADS} threads"
    packages = ("dramatiq", "redis", "hiredis")
    notes = f"`--processes 2 --threads {THREADS}`; bulk calls are a `group`, chords are driven by the client"
    cannot: ClassVar[Mapping[str, str]] = {"graph": "pipelines and groups only"}
    parts: ClassVar[Mapping[str, float]] = {"map": 0.05}

    def start(self) -> None:
        """See `Subject`."""
        from benchmarks.apps.dramatiq import TASKS

        self._actors = TASKS
        self._consumers = Consumers()
        self._consumers.start(
            *("dramatiq", "benchmarks.apps.dramatiq"),
            *("--processes", str(self.workers), "--threads", str(THREADS), "--skip-logging"),
        )

    def stop(self) -> None:
        """See `Subject`."""
        self._consumers.stop()

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """See `Subject`."""
        return self._actors[fn].send(*args).get_result(block=True, timeout=TIMEOUT_MS)

    def submit(self, fn: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        """See `Subject`."""
        actor = self._actors[fn]
        messages = [actor.send(item) for item in items]
        return [message.get_result(block=True, timeout=TIMEOUT_MS) for message in messages]

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        from dramatiq import group

        actor = self._actors[fn]
        sent = group([actor.message(item) for item in items]).run()
        return list(sent.get_results(block=True, timeout=TIMEOUT_MS))

    def chord(self, fn: Callable[[int], int], items: Sequence[int]) -> int:
        """What runs after a group is not given its results; so the client collects and sends them."""
        return int(self.call(work.total, self.map(fn, items)))


SUBJECT = Dramatiq
