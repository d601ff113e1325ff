"""RQ: two of its default workers, which fork a process for each job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from benchmarks import work
from benchmarks.consumers import Consumers
from benchmarks.redis_server import socket_path
from benchmarks.subject import Subject

TIMEOUT_S = 120


class Rq(Subject):
    """Jobs that are sent by their names; a client waits at the stream of a job's results."""

    title = "RQ"
    packages = ("rq", "redis", "hiredis")
    notes = "two `rq worker`, a process a job; bulk calls are `enqueue_many`; chords are driven by the client"
    cannot: ClassVar[Mapping[str, str]] = {
        "graph": "with 3.0.0 a job whose two dependencies end at the same time may stay `ready_to_enqueue`"
        " and never run: 4 of 100 nodes did when it was tried"
    }
    parts: ClassVar[Mapping[str, float]] = {
        "submit": 0.1, "map": 0.005, "chord-1k": 0.25, "chord-10k": 0.05, "crews": 0.1,
        "memory": 0.2, "server": 0.1,
    }  # fmt: skip

    def start(self) -> None:
        """See `Subject`."""
        import redis
        import rq

        self._queue = rq.Queue(connection=redis.Redis(unix_socket_path=socket_path()))
        self._prepare = rq.Queue.prepare_data
        self._consumers = Consumers()
        for _ in range(self.workers):
            self._consumers.start("rq.cli", "worker", "--url", f"unix://{socket_path()}", "--quiet")

    def stop(self) -> None:
        """See `Subject`."""
        self._consumers.stop()

    def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """See `Subject`."""
        return self._fetch(self._queue.enqueue(fn, *args))

    def submit(self, fn: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        """See `Subject`."""
        jobs = [self._queue.enqueue(fn, item) for item in items]
        return [self._fetch(job) for job in jobs]

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        jobs = self._queue.enqueue_many([self._prepare(fn, (item,)) for item in items])
        return [self._fetch(job) for job in jobs]

    def chord(self, fn: Callable[[int], int], items: Sequence[int]) -> int:
        """Not by `depends_on`: see `cannot`."""
        return int(self.call(work.total, self.map(fn, items)))

    def _fetch(self, job: Any) -> Any:
        result = job.latest_result(timeout=TIMEOUT_S)
        if result is None or result.return_value is None:
            raise RuntimeError(f"no result of {job.id}: {result and result.exc_string}")
        return result.return_value


SUBJECT = Rq
