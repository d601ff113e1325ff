"""The actors of Dramatiq, with a backend that keeps their results."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks import work
from benchmarks.redis_server import socket_path

broker = RedisBroker(url=f"unix://{socket_path()}")
broker.add_middleware(Results(backend=RedisBackend(url=f"unix://{socket_path()}"), store_results=True))
dramatiq.set_broker(broker)
TASKS = {fn: dramatiq.actor(fn) for fn in work.CALLS}
