"""Where crash tests take place: a store, real workers that can be killed, and the ledger of what ran."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from taskflow.client import Client
from taskflow.codec import Codec, Keyring
from taskflow.ids import NodeId
from taskflow.states import TERMINAL
from taskflow.stores import open_store
from taskflow.testing.checker import Expected, Ledger, Verdict, examine
from taskflow.worker.process import Process, spawn

ROOT = Path(__file__).parents[2]
LEASE_S = 2.0


class Stage:
    """One store and those who work on it."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o700)
        self.folder = folder
        self.url = f"sqlite:///{folder / 'runs.db'}"
        self.store: Any = open_store(self.url)
        self.codec = Codec(Keyring.load(), self.store.blobs)
        self.ledger = Ledger(folder / "ledger")
        self.workers: list[Process] = []
        self._bell = self.store.listen("watch")
        self._clients: list[Client] = []
        self._programs: list[subprocess.Popen[str]] = []

    def client(self) -> Client:
        """A client whose calls are run by the workers of this stage."""
        self._clients.append(Client(self.url, workers=0))
        return self._clients[-1]

    def worker(self, slots: int = 2, *, fault: str = "", lease_s: float = LEASE_S, **more: Any) -> Process:
        """A worker process, with something that will go wrong in it."""
        os.environ["TASKFLOW_FAULT"] = fault
        try:
            log = self.folder / f"worker-{len(self.workers)}.log"
            self.workers.append(spawn(self.url, slots, lease_s=lease_s, log_file=log, **more))
        finally:
            del os.environ["TASKFLOW_FAULT"]
        return self.workers[-1]

    def program(self, code: str, *, fault: str = "") -> subprocess.Popen[str]:
        """A client in a process of its own."""
        head = f"URL, LEDGER = {self.url!r}, {self.ledger.path!r}\nfrom tests.crash import tasks\n"
        program = subprocess.Popen(
            [sys.executable, "-c", head + code],
            cwd=ROOT,
            env=os.environ | {"TASKFLOW_FAULT": fault},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._programs.append(program)
        return program

    def until(self, true: Callable[[], Any], within_s: float = 14.0) -> Any:
        """Look whenever the store rings, and now and then."""
        end = time.monotonic() + within_s
        while True:
            self._bell.hush()
            if found := true():
                return found
            assert time.monotonic() < end, f"waited {within_s} s in vain; {self.words()}"
            select.select([self._bell], [], [], 0.02)

    def until_ended(self, *runs: str, within_s: float = 14.0) -> None:
        """Wait for runs to end."""
        self.until(lambda: all(self.state(run) in TERMINAL for run in runs), within_s)

    def state(self, run: str) -> Any:
        return self.store.snapshot(run)[0].state

    def items(self, node: str) -> list[Any]:
        return list(self.store.items(node))

    def value(self, node: str) -> Any:
        """The result of a call."""
        (segment,) = self.store.values([NodeId(node)])[node]
        return self.codec.load_result(node, 0, 1, segment.fence, segment.value)

    def verdict(self, *expected: Expected) -> Verdict:
        """What the history checker says; also looks whether the store itself is in order."""
        unwell = [line for line in self.store.check() if not line[1] and line[0] != "disk"]
        assert unwell == []
        return examine(self.store, self.codec, expected, self.ledger, lease_s=LEASE_S)

    def words(self) -> str:
        """What is going on, for a test that failed."""
        runs = [(str(view.state), dict(view.counts)) for view in self.store.runs()]
        logs = [path.read_text()[-2000:] for path in sorted(self.folder.glob("worker-*.log"))]
        return f"runs {runs}, began {self.ledger.begun().total()}, workers say {logs}"

    def close(self) -> None:
        """End what is left."""
        for worker in self.workers:
            end(worker)
        for program in self._programs:
            program.kill()
            program.wait()
            if program.stdout is not None:
                program.stdout.close()
        for client in self._clients:
            client.shutdown(wait=False)
        self._bell.close()
        self.store.close()


def end(worker: Process) -> None:
    """Kill a worker, running or stopped."""
    if worker.poll() is None:
        for number in (signal.SIGCONT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(worker.pid, number)
        worker.wait(10)


def squares(node: str, width: int) -> Expected:
    """A map of `tasks.square` over a range."""
    return Expected(NodeId(node), width, lambda index: index * index)


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
