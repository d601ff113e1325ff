"""The Huey of the measurement; its client is told when a result is there, and does not poll."""

from __future__ import annotations

from huey import RedisHuey

from benchmarks import work
from benchmarks.redis_server import socket_path

huey = RedisHuey("benchmarks", url=f"unix://{socket_path()}", notify_result=True)
TASKS = {fn: huey.task()(fn) for fn in work.CALLS}
