"""Five things done with taskflow: ``python with_taskflow.py``."""

from __future__ import annotations

import os
import subprocess
import sys

from work import ITEMS, fetch, report, slow

import taskflow


def failure_and_retry() -> None:
    client = taskflow.Client(workers=2)
    careful = client.options(retry=taskflow.RetryPolicy(2, on=ConnectionError, delay=0.05))

    run = careful.map(fetch, ITEMS)
    print(run.results(errors="skip"))
    print([(index, failure.message) for index, failure in run.failed])

    client.shutdown()


def graph() -> None:
    client = taskflow.Client(workers=2)

    parts = [client.submit(slow, number) for number in ITEMS]
    total, largest = client.submit(sum, parts), client.submit(max, parts)
    print(client.submit(report, total, largest).result())

    client.shutdown()


def progress_and_partial_results() -> None:
    client = taskflow.Client(workers=2)

    run = client.map(slow, ITEMS)  # in a notebook `run` is a bar, a table, and what failed
    for future in run.as_completed():
        if future.result() >= 25:
            break
    print(len(run.partial()), "of", len(run), "so far")

    client.shutdown(wait=False)


def leave() -> None:
    client = taskflow.Client(workers=2)

    run = client.options(label="left").map(slow, ITEMS)
    next(run)
    os._exit(1)  # as a kernel that is killed


def come_back() -> None:
    client = taskflow.Client(workers=2)

    run = client.attach()  # the newest that has not ended; functions and data are in the store
    print(run.results())

    client.shutdown()


def scale_out(url: str) -> None:
    # on every other machine: taskflow worker redis://here:6379/0 -n 8
    worker = subprocess.Popen([sys.executable, "-m", "taskflow", "worker", url, "-n", "2"])
    client = taskflow.Client(url)

    print(client.map(slow, ITEMS).results())
    print(list(client.workers()["slots"]))

    client.control.shutdown()
    worker.wait()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
