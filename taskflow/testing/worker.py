"""A worker inside the process of a test: its loop in a thread, its calls in child processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from taskflow.worker.loop import Worker

__all__ = ["start_worker"]

STOP_S = 30.0


@contextmanager
def start_worker(
    app: Any,
    *,
    slots: int = 2,
    pool: Literal["process", "thread", "async"] = "process",
    queues: str = "default",
    grace_s: float = 0.0,
) -> Iterator[Worker]:
    """Run a worker for an application, or a client, as long as the block lasts; it takes work when it begins.

    Calls run as they do everywhere: in processes of their own, so that a crash is the outcome of a task and
    no more.

    Args:
        app: Whose store; an application, or a `Client`.
        slots: Calls at once.
        pool: How they are run.
        queues: What it serves, as for ``taskflow worker -Q``.
        grace_s: How long running calls may go on at the end, seconds; what does not end goes back.

    Example:
        ``with start_worker(app): assert add.delay(2, 2).get(timeout=10) == 4``
    """
    from taskflow.pools.process import ProcessPool
    from taskflow.stores import blobs_place, open_store
    from taskflow.worker.card import worker_name
    from taskflow.worker.loop import Worker

    client = app.client() if hasattr(app, "client") else app
    url, name = client.url, worker_name()
    store = open_store(url, serves=True)
    children = ProcessPool(slots, mode=pool, url=url, blobs=blobs_place(url), worker=name)
    worker = Worker(
        store,
        children,
        queues=queues,
        name=name,
        grace_s=grace_s,
        info={"pool": pool, "embedded": True, "tasks": sorted(getattr(app, "tasks", ()))},
    )
    thread = threading.Thread(target=worker.run, name=f"taskflow-worker-{name}", daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop(drain_s=grace_s)
        thread.join(STOP_S + grace_s)
        store.close()
        if thread.is_alive():
            raise AssertionError(f"The worker did not stop within {STOP_S + grace_s:.0f} s.")
