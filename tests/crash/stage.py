"""Where crash tests take place: a store, real workers that can be killed, and the ledger of what ran."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from taskflow.client import Client
from taskflow.future import Future
from taskflow.ids import NodeId
from taskflow.states import TERMINAL
from taskflow.testing.checker import Expected, Ledger, Verdict, examine
from taskflow.worker.process import Process
from tests.acceptance.stage import DEADLINE_S, ROOT, Desk

LEASE_S = 2.0


class Stage(Desk):
    """One store and those who work on it."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        super().__init__(folder, url)
        self.ledger = Ledger(folder / "ledger")
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
            return super().worker(slots, lease_s=lease_s, log_file=log, **more)
        finally:
            del os.environ["TASKFLOW_FAULT"]

    def program(self, code: str, *, fault: str = "", url: str | None = None) -> subprocess.Popen[str]:
        """A client in a process of its own."""
        head = f"URL, LEDGER = {url or self.url!r}, {self.ledger.path!r}\nfrom tests.crash import tasks\n"
        program = subprocess.Popen(
            [sys.executable, "-c", head + code],
            cwd=ROOT,
            env=os.environ | {"TASKFLOW_FAULT": fault},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._programs.append(program)
        return program

    def until_ended(self, *runs: str, within_s: float = DEADLINE_S) -> None:
        """Wait for runs to end."""
        self.until(lambda: all(self.state(run) in TERMINAL for run in runs), within_s)

    def state(self, run: str) -> Any:
        return self.store.snapshot(run)[0].state

    def verdict(self, *expected: Expected) -> Verdict:
        """What the history checker says; also looks whether the store itself is in order."""
        unwell = [line for line in self.store.check() if not line[1] and line[0] != "disk"]
        assert unwell == []
        return examine(self.store, self.codec, expected, self.ledger, lease_s=LEASE_S)

    def words(self) -> str:
        """What is going on, for a test that failed."""
        runs = [(str(view.state), dict(view.counts)) for view in self.store.runs()]
        logs = [path.read_text()[-2000:] for path in sorted(self.folder.glob("worker-*.log"))]
        return f"; runs {runs}, began {self.ledger.begun().total()}, workers say {logs}"

    def close(self) -> None:
        """End what is left."""
        for program in self._programs:
            program.kill()
            program.wait()
            if program.stdout is not None:
                program.stdout.close()
        for client in self._clients:
            client.shutdown(wait=False)
        super().close()


def squares(node: str, width: int) -> Expected:
    """A map of `tasks.square` over a range."""
    return Expected(NodeId(node), width, lambda index: index * index)


def squares_of(calls: Sequence[Future[Any]]) -> list[Expected]:
    """Calls of `tasks.square` with their places in the list; some may have been sent as a burst."""
    values: dict[NodeId, dict[int, int]] = {}
    for x, call in enumerate(calls):
        values.setdefault(call.node_id, {})[call.index or 0] = x * x
    return [Expected(node, len(items), lambda i, items=items: items[i]) for node, items in values.items()]
