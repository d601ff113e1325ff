"""Five things done with joblib: ``python with_joblib.py``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from joblib import Memory, Parallel, delayed, parallel_config
from work import ITEMS, fetch, report, slow


def tried(fn: Callable[[int], int], number: int, attempts: int = 3) -> Any:
    """Retries are yours to write; and without this the first failure ends the whole call."""
    for attempt in range(attempts):
        try:
            return fn(number)
        except ConnectionError as error:
            failed: Exception = error
            time.sleep(0.05 * 2**attempt)
        except ValueError as error:
            return error
    return failed


def failure_and_retry() -> None:
    outcomes = Parallel(n_jobs=2)(delayed(tried)(fetch, number) for number in ITEMS)
    print([outcome for outcome in outcomes if not isinstance(outcome, Exception)])
    print([(i, str(outcome)) for i, outcome in enumerate(outcomes) if isinstance(outcome, Exception)])


def graph() -> None:
    parts = Parallel(n_jobs=2)(delayed(slow)(number) for number in ITEMS)  # one step after the other
    total, largest = Parallel(n_jobs=2)(delayed(fn)(parts) for fn in (sum, max))
    print(report(total, largest))


def progress_and_partial_results() -> None:
    # verbose=10 prints how far it is
    found = Parallel(n_jobs=2, return_as="generator_unordered")(delayed(slow)(number) for number in ITEMS)
    taken = []
    for value in found:
        taken.append(value)
        if value >= 25:
            break
    print(len(taken), "of", len(ITEMS), "so far")


def leave(folder: str) -> None:
    remembered = Memory(folder, verbose=0).cache(slow)

    found = Parallel(n_jobs=2, return_as="generator")(delayed(remembered)(number) for number in ITEMS)
    next(found)
    os._exit(1)  # as a kernel that is killed


def come_back(folder: str) -> None:
    remembered = Memory(folder, verbose=0).cache(slow)

    # said again, with the same function and data: what had ended is read from the disk
    print(Parallel(n_jobs=2)(delayed(remembered)(number) for number in ITEMS))


def scale_out(address: str) -> None:
    from dask.distributed import Client

    # joblib itself has one machine; it runs on Dask or Ray
    with Client(address), parallel_config(backend="dask"):
        print(Parallel()(delayed(slow)(number) for number in ITEMS))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
