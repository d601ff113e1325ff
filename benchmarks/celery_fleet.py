"""A fleet of Celery on this host, for `benchmarks.engines`: a Redis server, workers of one process each."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.redis_server import RedisServer

__all__ = ["Directly", "fleet"]

_ROOT = Path(__file__).parents[1]
Directly = Callable[[Callable[[int], int], range], list[int]]

_APP = """
import os
import time

from celery import Celery

app = Celery("fleet", broker=os.environ["FLEET_URL"], backend=os.environ["FLEET_URL"])
app.conf.update(worker_prefetch_multiplier=4, broker_connection_retry_on_startup=True)


@app.task
def sleep(x):
    time.sleep({call_s})
    return x


@app.task
def busy(x):
    end = time.perf_counter() + {call_s}
    while time.perf_counter() < end:
        pass
    return x
"""


@contextmanager
def fleet(workers: int, call_s: float) -> Iterator[tuple[str, Directly]]:
    """Workers that are ready.

    Args:
        workers: How many.
        call_s: How long its tasks ``sleep`` and ``busy`` take.

    Yields:
        What ``--pool`` takes, and what sends calls of one of the two tasks to Celery itself.
    """
    with tempfile.TemporaryDirectory() as folder, RedisServer() as server:
        url = f"redis+socket://{server.path}"
        Path(folder, "benchmark_fleet.py").write_text(_APP.format(call_s=call_s), encoding="utf-8")
        sys.path.insert(0, folder)
        os.environ["FLEET_URL"] = url
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, str(_ROOT), os.environ.get("PYTHONPATH", "")])
        processes = [_worker(number, folder) for number in range(workers)]
        try:
            from benchmark_fleet import app  # type: ignore[import-not-found]

            while len(app.control.inspect(timeout=0.3, limit=workers).ping() or ()) < workers:
                pass

            def directly(fn: Callable[[int], int], items: range) -> list[int]:
                sent: list[Any] = [app.send_task(f"benchmark_fleet.{fn.__name__}", (x,)) for x in items]
                return [result.get() for result in sent]

            yield "celery://benchmark_fleet:app", directly
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


def _worker(number: int, folder: str) -> subprocess.Popen[bytes]:
    options = ["-A", "benchmark_fleet", "worker", "-c", "1", "-n", f"w{number}@here"]
    options += ["-I", "taskflow.contrib.fleet"]
    return subprocess.Popen(
        [sys.executable, "-m", "celery", *options, "--without-gossip", "--without-mingle", "-l", "error"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
