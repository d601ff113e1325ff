"""What tests with real processes stand on: clients, workers, scripts, and what is left of them."""

from __future__ import annotations

import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client
from taskflow.codec import Codec, Keyring
from taskflow.ids import NodeId, RunId, new_id
from taskflow.records import ItemView, Node, Plan
from taskflow.states import State
from taskflow.stores import open_store
from taskflow.worker.process import Process, spawn

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[Client]:
    """A client with two workers over a store in `folder`; at the end it does not wait."""
    folder.chmod(0o700)
    client = Client(url_in(folder), **({"workers": 2} | options))
    try:
        yield client
    finally:
        client.shutdown(wait=False)


def of_store(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Client]:
    """A client with two workers over a store: ``"sqlite"`` in a folder, or ``"redis"``, which is the fixture
    `server` of a module.
    """
    if kind == "sqlite":
        with opened(folder) as client:
            yield client
        return
    server = request.getfixturevalue("server")
    client = Client(f"{server.url}?namespace={folder.name}", workers=2)
    yield client
    client.shutdown(wait=False)


def url_in(folder: Path) -> str:
    """The store of a folder."""
    return f"sqlite:///{folder / 'runs.db'}"


def until(true: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Look again and again: for what no bell rings."""
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


class Desk:
    """A client's end of a store, without the client: what is sent, who works, and what became of it.

    Args:
        folder: Where the store is.
        url: Another store.
    """

    def __init__(self, folder: Path, url: str | None = None) -> None:
        folder.chmod(0o700)
        self.folder = folder
        self.url = url or url_in(folder)
        self.store: Any = open_store(self.url)
        self.codec = Codec(Keyring.load(), self.store.blobs)
        self.workers: list[Process] = []
        self._bell = self.store.listen("watch")

    def worker(self, slots: int = 2, *, url: str | None = None, **more: Any) -> Process:
        """A worker process; it may have a way of its own to the store."""
        self.workers.append(spawn(url or self.url, slots, **more))
        return self.workers[-1]

    def send(self, fn: Callable[..., Any], *args: Any, **more: Any) -> NodeId:
        """Submit one call."""
        node = NodeId(new_id())
        digest = self.codec.function(fn)
        sealed = self.codec.dump_args(digest, args, {}, None)
        self.store.submit([Plan(RunId(node), (Node(node, digest, sealed, **more),))])
        return node

    def items(self, node: str) -> list[ItemView]:
        """The rows of a node's result table."""
        return list(self.store.items(node))

    def item(self, node: str) -> ItemView:
        """The row of a call."""
        return self.items(node)[0]

    def value(self, node: str) -> Any:
        """The result of a call that has ended."""
        (segment,) = self.store.values([NodeId(node)])[node]
        return self.codec.load_result(node, 0, 1, segment.fence, segment.value)

    def wait(self, node: NodeId, *states: State) -> State:
        """Wait until a call is in one of these states."""
        self.until(lambda: self.item(node).state in states)
        return self.item(node).state

    def result(self, node: NodeId) -> Any:
        """Wait for the result of a call."""
        self.wait(node, State.SUCCEEDED)
        return self.value(node)

    def until(self, true: Callable[[], Any], within_s: float = DEADLINE_S) -> Any:
        """Look whenever the store rings, and now and then."""
        end = time.monotonic() + within_s
        while True:
            self._bell.hush()
            if found := true():
                return found
            assert time.monotonic() < end, f"waited {within_s} s in vain{self.words()}"
            select.select([self._bell], [], [], 0.02)

    def words(self) -> str:
        """What is going on, for a test that failed."""
        return ""

    def close(self) -> None:
        """End what is left."""
        for worker in self.workers:
            end(worker)
        self._bell.close()
        self.store.close()


def pause(worker: Process | subprocess.Popen[bytes], url: str) -> None:
    """Stop a worker or a beat between two of its steps: within one it would hold the lock of the file."""
    file = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, timeout=0.2, isolation_level=None)) as other:
        for _ in range(100):
            os.kill(worker.pid, signal.SIGSTOP)
            until(lambda: is_stopped(worker.pid))
            with suppress(sqlite3.OperationalError):
                other.execute("BEGIN IMMEDIATE")
                other.execute("ROLLBACK")
                return
            os.kill(worker.pid, signal.SIGCONT)
    raise AssertionError("the worker never let go of the file")


def is_stopped(pid: int) -> bool:
    """Whether the kernel has stopped a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def end(worker: Process) -> None:
    """Kill a worker, running or stopped."""
    if worker.poll() is None:
        for number in (signal.SIGCONT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(worker.pid, number)
        worker.wait(10)


class Script:
    """A Python script that runs beside the test, in a session of its own."""

    def __init__(self, folder: Path, source: str, *args: str, env: dict[str, str] | None = None) -> None:
        folder.chmod(0o700)
        self.url = url_in(folder)
        path = folder / "script.py"
        path.write_text(source, encoding="utf-8")
        kept = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
        # A path that the script inherits, not one that it has to know.
        kept |= {"PYTHONPATH": str(ROOT), "TASKFLOW_URL": self.url, "PYTHONUNBUFFERED": "1"} | (env or {})
        self.process = subprocess.Popen(
            [sys.executable, str(path), *args],
            cwd=folder,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, deadline_s: float = DEADLINE_S) -> tuple[int, str, str]:
        """Exit code, what else it printed, and its errors."""
        try:
            out, err = self.process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            out, err = self.process.communicate()
            raise AssertionError(f"the script hangs\n{out}\n{err}") from None
        return self.process.returncode, out, err

    def stop(self) -> None:
        """Kill what is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with suppress(Exception):
            self.process.communicate(timeout=5)


def run_script(folder: Path, source: str, *args: str, deadline_s: float = DEADLINE_S, **how: Any) -> str:
    """What a script prints; it has to end well."""
    script = Script(folder, source, *args, **how)
    try:
        code, out, err = script.end(deadline_s)
    finally:
        script.stop()
    assert code == 0, f"exit code {code}\n{out}\n{err}"
    return out


def processes_of(url: str) -> list[int]:
    """The processes whose command line names a store: its worker processes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if url.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def family(pid: int) -> set[int]:
    """A process and its descendants."""
    found, todo = set(), [pid]
    while todo:
        one = todo.pop()
        found.add(one)
        with suppress(OSError):
            todo += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found


def alive(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone_within(pids: Iterable[int], seconds: float) -> bool:
    """Whether processes end in time."""
    end_at = time.monotonic() + seconds
    left = set(pids)
    while left := {pid for pid in left if alive(pid)}:
        if time.monotonic() > end_at:
            return False
        time.sleep(0.005)
    return True
