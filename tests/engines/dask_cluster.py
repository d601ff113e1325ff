"""A Dask scheduler and its workers, each a process of its own, gone with the test process."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import free_port, until

__all__ = ["DaskCluster", "dask_cluster"]

_QUIET = {
    "DASK_DISTRIBUTED__HTTP__ROUTES": "[]",
    "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "1h",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
_LOOPBACK = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
_HERE = Path(__file__).parent


class DaskCluster:
    """A scheduler on a port of loopback, and workers that are added one by one.

    Args:
        options: More of every command line, such as those of TLS.
        scheme: ``tcp`` or ``tls``.
    """

    def __init__(self, *, options: tuple[str, ...] = (), scheme: str = "tcp") -> None:
        self.address = f"{scheme}://127.0.0.1:{free_port()}"
        self.folder = Path(tempfile.mkdtemp(prefix="tf-dask-"))
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.scheduler: subprocess.Popen[bytes] | None = None
        self._options = [*options, *(["--protocol", "tls"] if scheme == "tls" else [])]

    @property
    def url(self) -> str:
        """What ``--pool`` takes."""
        scheme, _, place = self.address.partition("://")
        return f"dask{'+tls' if scheme == 'tls' else ''}://{place}"

    def start_scheduler(self) -> None:
        """Start it, for the first time or again."""
        port = self.address.rpartition(":")[2]
        file = ["--scheduler-file", str(self.folder / "scheduler.json")]
        self.scheduler = self._start("scheduler", "scheduler", "--port", port, *file)

    def add(self, threads: int = 1, *, nanny: bool = False, **environment: str) -> str:
        """Start a worker and return its name at once; `until_ready` waits for it."""
        name = f"w{secrets.token_hex(3)}"
        self.workers[name] = self._start(
            name, "worker", self.address, "--name", name, "--nthreads", str(threads),
            "--nanny" if nanny else "--no-nanny", "--memory-limit", "0",
            "--local-directory", str(self.folder / name), environment=environment,
        )  # fmt: skip
        return name

    def until_ready(self, workers: int) -> None:
        """Wait until the scheduler knows so many workers, no more and no less."""
        from distributed import Client

        try:
            with Client(self.address, timeout=60, set_as_default=False) as client:
                until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == workers, 60.0)
        except (AssertionError, OSError) as error:
            raise AssertionError(self.log()) from error

    def kill(self, name: str) -> None:
        """End a worker (or ``"scheduler"``) by SIGKILL."""
        process = self.scheduler if name == "scheduler" else self.workers.pop(name)
        assert process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def mend(self) -> int:
        """Start a worker in the place of each that has ended; how many that were."""
        gone = [name for name, process in self.workers.items() if process.poll() is not None]
        for name in gone:
            del self.workers[name]
            self.add()
        return len(gone)

    @contextlib.contextmanager
    def mended(self) -> Iterator[None]:
        """Whoever ends workers inside of the ``with`` block finds others in their place."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.05):
                self.mend()

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.mend()
            self.until_ready(len(self.workers))

    def stop(self) -> None:
        """End all of it, and remove its files."""
        for name in [*self.workers, "scheduler"]:
            if name != "scheduler" or self.scheduler is not None:
                self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What its processes wrote."""
        return "\n".join(f"── {p.name}\n{p.read_text()}" for p in sorted(self.folder.glob("*.log")))

    def _start(self, log: str, *command: str, environment: Any = None) -> subprocess.Popen[bytes]:
        with (self.folder / f"{log}.log").open("ab") as file:
            leashed = [sys.executable, str(_HERE / "leashed.py"), "-m", "dask"]
            return subprocess.Popen(
                [*leashed, *command, *_LOOPBACK, *self._options],
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, **_QUIET, **(environment or {})},
            )  # fmt: skip


@pytest.fixture(scope="session")
def dask_cluster() -> Iterator[DaskCluster]:
    """Two workers of one thread; a test that ends a worker puts another one in its place."""
    pytest.importorskip("distributed", reason="not installed: pip install 'jupyter-taskflow[dask]'")
    cluster = DaskCluster()
    try:
        cluster.start_scheduler()
        cluster.add()
        cluster.add()
        cluster.until_ready(2)
        yield cluster
    finally:
        cluster.stop()
