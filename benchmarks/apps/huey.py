"""The Huey of the measurement; its client is told when a result is there, and does not poll.

redis-py gives up a read after 5 s, and Huey then says that there is no result; so its client waits longer.
"""

from __future__ import annotations

from huey import RedisHuey

from benchmarks import work
from benchmarks.redis_server import socket_path

SOCKET_TIMEOUT_S = 600

huey = RedisHuey(
    "benchmarks", url=f"unix://{socket_path()}?socket_timeout={SOCKET_TIMEOUT_S}", notify_result=True
)
TASKS = {fn: huey.task()(fn) for fn in work.CALLS}
