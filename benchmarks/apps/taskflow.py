"""The application of taskflow: the Celery face on the Redis server of the measurement."""

from __future__ import annotations

from benchmarks import work
from benchmarks.redis_server import socket_path
from taskflow import Taskflow

app = Taskflow("benchmarks", broker=f"redis+socket://{socket_path()}?namespace=benchmarks")
TASKS = {fn: app.task(name=fn.__name__)(fn) for fn in work.CALLS}
