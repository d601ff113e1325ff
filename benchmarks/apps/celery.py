"""The application of Celery: broker and results on the Redis server of the measurement."""

from __future__ import annotations

from celery import Celery

from benchmarks import work
from benchmarks.redis_server import socket_path

app = Celery(
    "benchmarks", broker=f"redis+socket://{socket_path()}", backend=f"redis+socket://{socket_path()}"
)
TASKS = {fn: app.task(fn, name=fn.__name__) for fn in work.CALLS}
