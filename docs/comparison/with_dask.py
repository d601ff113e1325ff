"""Five things done with Dask: ``python with_dask.py``."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from dask.distributed import Client, as_completed, wait
from work import ITEMS, fetch, report, slow


def failure_and_retry() -> None:
    client = Client(n_workers=2, threads_per_worker=1)

    futures = client.map(fetch, ITEMS, retries=2)  # of whatever, at once
    wait(futures)
    print([future.result() for future in futures if future.status == "finished"])
    print([(i, str(future.exception())) for i, future in enumerate(futures) if future.status == "error"])

    client.shutdown()


def graph() -> None:
    client = Client(n_workers=2, threads_per_worker=1)

    parts = client.map(slow, ITEMS)
    total, largest = client.submit(sum, parts), client.submit(max, parts)
    print(client.submit(report, total, largest).result())

    client.shutdown()


def progress_and_partial_results() -> None:
    client = Client(n_workers=2, threads_per_worker=1)

    futures = client.map(slow, ITEMS)  # in a notebook: progress(futures), as the last line of a cell
    for future in as_completed(futures):
        if future.result() >= 25:
            break
    print(sum(future.done() for future in futures), "of", len(futures), "so far")

    client.shutdown()


def leave(address: str) -> None:
    client = Client(address)  # of a scheduler that runs elsewhere: `dask scheduler`, `dask worker`

    futures = client.map(slow, ITEMS)
    client.publish_dataset(left=futures)  # what is not published goes with its client
    futures[0].result()
    os._exit(1)  # as a kernel that is killed


def come_back(address: str) -> None:
    client = Client(address)

    futures = client.get_dataset("left")  # as long as the scheduler lives: it keeps all in its memory
    print(client.gather(futures))

    client.shutdown()


def scale_out(address: str) -> None:
    # on every other machine: dask worker tcp://here:8786
    client = Client(address)

    print(client.gather(client.map(slow, ITEMS)))
    print([worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()])

    client.shutdown()


def cluster() -> tuple[str, list[subprocess.Popen[bytes]]]:
    """A scheduler and two workers, in processes of their own."""
    address = "tcp://127.0.0.1:18786"
    commands = (
        ["scheduler", "--host", "127.0.0.1", "--port", "18786", "--no-dashboard"],
        ["worker", address, "--nthreads", "2", "--no-dashboard"],
        ["worker", address, "--nthreads", "2", "--no-dashboard"],
    )
    started = []
    for command in commands:
        started.append(subprocess.Popen([sys.executable, "-m", "dask", *command], stderr=subprocess.DEVNULL))
        time.sleep(2)
    return address, started


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
