"""Five things done with Celery: ``celery -A with_celery worker``, then ``python with_celery.py``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import work
from celery import Celery, chain, group
from celery.result import GroupResult
from work import ITEMS

server = os.environ.get("CELERY_BROKER", "redis://localhost:6379/0")  # Celery needs one, and a worker
app = Celery("with_celery", broker=server, backend=server)


@app.task(autoretry_for=(ConnectionError,), max_retries=2, retry_backoff=0.05, retry_jitter=False)
def fetch(number: int) -> int:
    return work.fetch(number)


@app.task
def slow(number: int) -> int:
    return work.slow(number)


@app.task
def total_and_largest(parts: list[int]) -> list[int]:
    return [sum(parts), max(parts)]


@app.task
def report(found: list[int]) -> str:
    return work.report(*found)


def failure_and_retry() -> None:
    found = group(fetch.s(number) for number in ITEMS)()
    outcomes = found.get(propagate=False)
    print([outcome for outcome in outcomes if not isinstance(outcome, Exception)])
    print([(i, str(outcome)) for i, outcome in enumerate(outcomes) if isinstance(outcome, Exception)])


def graph() -> None:
    # one body for a chord: two tasks that both need all parts are not a canvas
    found = chain(group(slow.s(number) for number in ITEMS), total_and_largest.s(), report.s())()
    print(found.get())


def progress_and_partial_results() -> None:
    found = group(slow.s(number) for number in ITEMS)()  # a bar is yours to write; Flower shows tasks
    for _, outcome in found.iter_native():
        if outcome["result"] >= 25:
            break
    print(found.completed_count(), "of", len(found), "so far")


def leave() -> None:
    found = group(slow.s(number) for number in ITEMS)()
    found.save()
    Path("left").write_text(found.id)  # who comes back has to know it
    os._exit(1)  # as a kernel that is killed


def come_back() -> None:
    found = GroupResult.restore(Path("left").read_text(), app=app)
    print(found.get())


def scale_out() -> None:
    # on every other machine, with the same module: celery -A with_celery worker
    print(group(slow.s(number) for number in ITEMS)().get())
    print([worker["pool"]["max-concurrency"] for worker in app.control.inspect().stats().values()])


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
