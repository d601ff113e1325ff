"""Where crash tests of a server take place: a real server, and bad networks between it and who uses it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from taskflow import Workflow
from taskflow.client import Client
from taskflow.ids import NodeId
from taskflow.testing.checker import Expected
from taskflow.worker.process import Process
from tests.acceptance.stage import alive, family, is_stopped, until
from tests.crash import tasks
from tests.crash.stage import Stage
from tests.proxy import Proxy
from tests.servers import RedisServer

WHERE = "?namespace=stage"


class ServerStage(Stage):
    """A server and those who work on it; the stage itself looks at it directly."""

    def __init__(self, folder: Path, kind: str = "valkey", options: Sequence[str] = ()) -> None:
        self.server = RedisServer(kind, options=options).start()
        self._proxies: list[Proxy] = []
        try:
            super().__init__(folder, f"{self.server.url}{WHERE}")
        except BaseException:
            self.server.close()
            raise

    def proxy(self) -> Proxy:
        """A way to the server that can be made bad."""
        self._proxies.append(Proxy(str(self.server.socket)))
        return self._proxies[-1]

    def worker(self, slots: int = 2, *, via: Proxy | None = None, **more: Any) -> Process:
        """A worker, perhaps by a way of its own."""
        return super().worker(slots, url=None if via is None else url_by(via), **more)

    def client(self, via: Proxy | None = None) -> Client:
        """A client, perhaps by a way of its own."""
        self._clients.append(Client(self.url if via is None else url_by(via), workers=0))
        return self._clients[-1]

    def program(self, code: str, *, via: Proxy | None = None, **more: Any) -> subprocess.Popen[str]:
        """A client in a process of its own, perhaps by a way of its own."""
        return super().program(code, url=None if via is None else url_by(via), **more)

    def until_ready(self, count: int) -> None:
        """Wait until so many workers have said that they are there."""
        self.until(lambda: len(self.store.workers()) >= count)

    def restart(self) -> None:
        """Kill the server, and start it again from its log of commands."""
        self.server.kill()
        self.server.start()

    def deliveries(self, nodes: Iterable[str]) -> int:
        """The most times that any item of these was handed out."""
        return max(item.deliveries for node in nodes for item in self.items(node))

    def close(self) -> None:
        """End what is left, the server last."""
        families = [family(worker.pid) for worker in self.workers if worker.poll() is None]
        try:
            if self.server.process is None:
                self.server.start()
            super().close()
        finally:
            for proxy in self._proxies:
                proxy.close()
            self.server.close()
            for pid in set().union(*families):
                if alive(pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def url_by(proxy: Proxy) -> str:
    """The store of a stage, by a proxy."""
    return proxy.url + WHERE


def stop(worker: Process | subprocess.Popen[bytes]) -> None:
    """Stop a worker or a beat where it is: on a server it holds no lock."""
    os.kill(worker.pid, signal.SIGSTOP)
    until(lambda: is_stopped(worker.pid))


class Graph:
    """A workflow of calls, of which each has up to three before it; what it should give is known.

    Args:
        ledger: Where its steps write that they ran.
        size: How many steps.
        seed: Which one.
        pause_s: How long a step takes.
        width: Every tenth step is a map of up to so many items, when it is not 0.
    """

    def __init__(self, ledger: str, size: int, seed: int, pause_s: float, width: int = 0) -> None:
        chance = random.Random(seed)
        self.workflow = Workflow(f"graph {seed}")
        self.values: dict[str, Any] = {}
        self.parents: dict[str, list[str]] = {}
        self.widths: dict[str, int] = {}
        steps: dict[str, Any] = {}
        for number in range(size):
            name = f"s{number}"
            calls = [other for other in self.values if other not in self.widths]
            before = chance.sample(calls, min(len(calls), chance.randrange(4)))
            if width and number % 10 == 5:
                self.widths[name] = chance.randrange(1, width + 1)
                items = range(self.widths[name])
                after = [steps[other] for other in before]
                steps[name] = self.workflow.map(
                    tasks.squared, items, ledger, pause_s / 5, name=name, after=after
                )
                self.values[name] = [x * x for x in items]
            else:
                inputs = [steps[other] for other in before]
                steps[name] = self.workflow.add(tasks.follow, ledger, pause_s, *inputs, name=name)
                self.values[name] = (sum(self.values[other] for other in before) + 1) % tasks.MODULUS
            self.parents[name] = before

    def expected(self, names: Mapping[str, NodeId]) -> list[Expected]:
        """What the history checker has to know, once the ids are known."""
        found = []
        for name, value in self.values.items():
            after = tuple(names[other] for other in self.parents[name])
            if name in self.widths:
                found.append(Expected(names[name], self.widths[name], value.__getitem__, after))
            else:
                found.append(Expected(names[name], 1, lambda _, value=value: value, after))
        return found
