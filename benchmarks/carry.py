"""How far one Redis server carries: ``python -m benchmarks.carry``.

A server does one thing at a time, on one processor. So what a unit of work costs *it*, in processor time,
says how many of them it can take in a second; what clients and workers cost does not matter, for there can be
more machines of them. Measured with a client and a few workers here, by the server's own account.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter, sleep
from typing import Any, NamedTuple

from benchmarks import redis_server, work
from benchmarks.redis_server import PLACE, RedisServer, usage
from benchmarks.subjects.taskflow_redis import TaskflowRedis

FULL = 0.7
"""How much of its processor a server may be asked for, so that answers do not queue."""
IDLE_S = 10.0


class Cost(NamedTuple):
    """Of one unit, at the server."""

    cpu_us: float
    commands: float
    size_bytes: float
    kept_bytes: float
    took_s: float


def main() -> None:
    """Measure, and print a table."""
    rows: list[tuple[str, Cost]] = []
    for title, workers, units, run in _cases():
        with RedisServer() as server:
            os.environ[PLACE] = server.path
            rows.append((title, _cost(server.path, workers, units, run)))
    print(f"Redis {redis_server.version()}, {os.cpu_count()} processors; of one unit, at the server:\n")
    print(
        "| unit | processor time, µs | commands | bytes in and out | bytes kept | a second, of one server |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for title, cost in rows:
        most = FULL * 1e6 / cost.cpu_us if cost.cpu_us else float("inf")
        print(
            f"| {title} | {cost.cpu_us:,.1f} | {cost.commands:,.1f} | {cost.size_bytes:,.0f} |"
            f" {cost.kept_bytes:,.0f} | {most:,.0f} |"
        )


def _cases() -> Iterator[tuple[str, int, int, Callable[[Any], object]]]:
    """What it is, with how many workers, how many units, and how they are asked for."""
    yield "a call, each after the one before", 2, 500, lambda client: [_one(client, x) for x in range(500)]
    yield "a call of 1 ms among many, 2 workers", 2, 3_000, _many(3_000)
    yield "a call of 1 ms among many, 8 workers", 8, 3_000, _many(3_000)
    yield "an item of a map, 1 ms", 2, 5_000, lambda client: list(client.map(work.millisecond, range(5_000)))
    quick = range(300_000)
    yield "an item of a map, 1 µs", 2, len(quick), lambda client: list(client.map(work.microsecond, quick))
    yield "a node of a graph in layers of 20", 2, 2_000, _graph
    for workers in (2, 16):
        title = f"a worker that has nothing to do, a second ({workers} of them)"
        yield title, workers, int(workers * IDLE_S), lambda client: sleep(IDLE_S)


def _one(client: Any, x: int) -> Any:
    return client.submit(work.increment, x).result()


def _many(count: int) -> Callable[[Any], object]:
    def run(client: Any) -> list[int]:
        calls = [client.submit(work.millisecond, x) for x in range(count)]
        return [call.result() for call in calls]

    return run


def _graph(client: Any) -> int:
    subject = TaskflowRedis()
    subject._client = client
    return subject.graph(work.layered(100, 20))()


def _cost(path: str, workers: int, units: int, run: Callable[[Any], object]) -> Cost:
    with _crew(f"redis+socket://{path}", workers) as client:
        client.map(work.increment, range(50 * workers)).results()
        sleep(0.5)
        before, held, began = usage(), _memory(path), perf_counter()
        run(client)
        took_s = perf_counter() - began
        after = usage()
        spent = [now - then for now, then in zip(after, before, strict=True)]
        kept = _memory(path) - held
    commands, _, size_bytes, cpu_s = (each / units for each in spent)
    return Cost(cpu_s * 1e6, commands, size_bytes, kept / units, took_s)


@contextmanager
def _crew(url: str, workers: int) -> Iterator[Any]:
    """A client, and workers of one slot each."""
    from taskflow import Client
    from taskflow.worker.process import spawn

    started = [spawn(url, 1) for _ in range(workers)]
    client = Client(url, workers=0)
    try:
        while len(client._engine.store.workers()) < workers:
            sleep(0.05)
        yield client
    finally:
        client.shutdown(wait=False)
        for worker in started:
            worker.stop()
        for worker in started:
            worker.wait(30)


def _memory(path: str) -> int:
    import redis

    with redis.Redis(unix_socket_path=path) as client:
        return int(client.info("memory")["used_memory"])


if __name__ == "__main__":
    main()
