"""The one Redis server of a measurement: a private socket in a new folder, its log flushed once a second."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

PLACE = "BENCHMARKS_REDIS"
READY_S = 10.0
_SCRIPTS = ("cmdstat_eval", "cmdstat_evalsha", "cmdstat_fcall")


class Usage(NamedTuple):
    """What a server has done so far."""

    commands: float
    scripts: float
    size_bytes: float
    cpu_s: float


class RedisServer:
    """A server that nothing has used before; it ends with the `with` block."""

    def __enter__(self) -> RedisServer:
        self._folder = Path(tempfile.mkdtemp(prefix="taskflow-bench-"))
        self.path = str(self._folder / "redis.sock")
        self._process = subprocess.Popen(
            [
                *("redis-server", "--port", "0", "--unixsocket", self.path, "--dir", str(self._folder)),
                *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--logfile", "log"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pid = self._process.pid
        until = time.monotonic() + READY_S
        while not _accepts(self.path):
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("redis-server does not start")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as made:
        return made.connect_ex(path) == 0


def version() -> str | None:
    """Of the server that is installed here; `None` when there is none."""
    binary = shutil.which("redis-server")
    if binary is None:
        return None
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return said.partition("v=")[2].split()[0]


def socket_path() -> str:
    """Where the server of this measurement listens."""
    return os.environ[PLACE]


def usage() -> Usage:
    """What the server of this measurement has done so far.

    Its commands are all that it carried out, those that a script calls among them.
    """
    import redis

    with redis.Redis(unix_socket_path=socket_path()) as client:
        found: dict[str, Any] = client.info("everything")
    return Usage(
        found["total_commands_processed"],
        sum(found.get(name, {"calls": 0})["calls"] for name in _SCRIPTS),
        found["total_net_input_bytes"] + found["total_net_output_bytes"],
        found["used_cpu_user"] + found["used_cpu_sys"],
    )
