"""taskflow on Redis: the same client, by another URL."""

from __future__ import annotations

from benchmarks.redis_server import socket_path
from benchmarks.subjects.taskflow import Taskflow


class TaskflowRedis(Taskflow):
    """`taskflow.Client` with the URL of a server; everything else is as with a file."""

    title = "taskflow"
    packages = ("jupyter-taskflow", "cloudpickle", "redis")
    notes = "`Client` with the URL of the server; leases, retries, events and results are all kept there"

    def start(self) -> None:
        """See `Subject`."""
        import taskflow

        url = f"redis+socket://{socket_path()}?namespace=benchmarks"
        self._client = taskflow.Client(url, workers=self.workers)

    def stop(self) -> None:
        """See `Subject`."""
        self._client.shutdown()


SUBJECT = TaskflowRedis
