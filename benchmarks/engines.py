"""Measure what it costs to have calls run by a cluster through taskflow, beside the cluster's own way.

::

    python -m benchmarks.engines                    a minute for each engine that is installed; prints a table
    python -m benchmarks.engines --calls 100        does it all work?
    python -m benchmarks.engines --only dask

Each engine is a cluster of two workers on this host. The same calls of ten milliseconds, which sleep or are
busy, are submitted one by one to the engine itself and to a client of taskflow whose agent uses that cluster,
and all results are fetched. They take turns, and the table has medians. An engine is a function: it makes its
cluster, and gives the address for ``--pool`` and what submits directly.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from taskflow import Client

CALL_S = 0.010
WORKERS = 2
GOAL = 1.15


class Cluster(NamedTuple):
    """An engine that is there.

    Args:
        url: What ``--pool`` takes.
        directly: Submits calls of a function to the engine itself, one for each item, and gives the results.
    """

    url: str
    directly: Callable[[Callable[[int], int], range], list[int]]


Engine = Callable[[], AbstractContextManager[Cluster]]


def sleep(x: int) -> int:
    """A call that waits."""
    time.sleep(CALL_S)
    return x


def busy(x: int) -> int:
    """A call that computes."""
    end = time.perf_counter() + CALL_S
    while time.perf_counter() < end:
        pass
    return x


# ── the engines ──────────────────────────────────────────────────────────────────────


@contextmanager
def dask() -> Iterator[Cluster]:
    """A scheduler and workers of one thread, each a process of its own."""
    import distributed

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "scheduler.json")
        host = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        known = ["--scheduler-file", str(file)]
        commands = [["scheduler", "--port", "0", *known]]
        commands += [["worker", "--nthreads", "1", "--no-nanny", *known]] * WORKERS
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "dask", *command, *host],
                cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for command in commands
        ]  # fmt: skip
        try:
            with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
                client.wait_for_workers(WORKERS)

                def directly(fn: Callable[[int], int], items: range) -> list[int]:
                    results: list[int] = client.gather([client.submit(fn, x, pure=False) for x in items])
                    return results

                yield Cluster(f"dask://{file}", directly)
        finally:
            for process in processes:
                process.kill()
                process.wait()


@contextmanager
def ray() -> Iterator[Cluster]:
    """A head on loopback with two processors."""
    import secrets

    private = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux: nothing listens beyond loopback
    }
    os.environ.update(private)
    import ray

    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        context = ray.init(
            num_cpus=WORKERS, object_store_memory=100 << 20, include_dashboard=False, log_to_driver=False,
            logging_level="ERROR", _temp_dir=folder,
        )  # fmt: skip
        try:

            def directly(fn: Callable[[int], int], items: range) -> list[int]:
                task = ray.remote(num_cpus=1, max_retries=0)(fn)
                results: list[int] = ray.get([task.remote(x) for x in items])
                return results

            yield Cluster(f"ray://{context.address_info['gcs_address']}", directly)
        finally:
            ray.shutdown()


@contextmanager
def celery() -> Iterator[Cluster]:
    """Workers of one process on a Redis server of their own; sent directly are tasks that they know."""
    from benchmarks.celery_fleet import fleet

    with fleet(WORKERS, CALL_S) as (url, directly):
        yield Cluster(url, directly)


ENGINES: dict[str, Engine] = {"dask": dask, "ray": ray, "celery": celery}
"""By the name of the pool."""


# ── measured ─────────────────────────────────────────────────────────────────────────


def measure(cluster: Cluster, pool: str, calls: int, rounds: int) -> list[tuple[str, float, float]]:
    """For each kind of call its name, and seconds: directly, and through taskflow."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o700)  # noqa: PTH101 - as the mode of a directory is written
        client = Client(f"sqlite:///{folder}/runs.db", pool=pool, pool_url=cluster.url)  # type: ignore[arg-type]
        try:
            return [(fn.__name__, *_pair(cluster, client, fn, calls, rounds)) for fn in (sleep, busy)]
        finally:
            client.shutdown(wait=False, cancel_futures=True)


def _pair(
    cluster: Cluster, client: Client, fn: Callable[[int], int], calls: int, rounds: int
) -> tuple[float, float]:
    def through(fn: Callable[[int], int], items: range) -> list[int]:
        return [future.result() for future in [client.submit(fn, x) for x in items]]

    ways = (cluster.directly, through)
    took: tuple[list[float], list[float]] = ([], [])
    for turn in range(-1, rounds):
        items = range(calls if turn >= 0 else 20)  # the first turn is to get warm
        for way, seconds in zip(ways, took, strict=True):
            begun = time.perf_counter()
            assert way(fn, items) == list(items)
            if turn >= 0:
                seconds.append(time.perf_counter() - begun)
    return statistics.median(took[0]), statistics.median(took[1])


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=ENGINES, default=None)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{options.calls} calls of {CALL_S * 1000:g} ms, {WORKERS} workers, load {load:.1f}\n")
    print("| engine | call | itself, s | through taskflow, s | ratio |\n|---|---|---|---|---|")
    for name in [options.only] if options.only else ENGINES:
        try:
            with ENGINES[name]() as cluster:
                for call, alone, through in measure(cluster, name, options.calls, options.rounds):
                    cells = f"{alone:.2f} | {through:.2f} | {through / alone:.2f}"
                    print(f"| {name} | {call} | {cells} |", flush=True)
        except ImportError as error:
            print(f"| {name} | | | | not installed: {error.name} |")


if __name__ == "__main__":
    main()
