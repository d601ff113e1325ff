"""The chaos: clients and workers on a real server, and whatever can happen to them, at any time."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from taskflow.ids import NodeId
from taskflow.states import TERMINAL, State
from taskflow.testing.checker import Ends, Expected, Verdict, examine
from tests.acceptance.stage import ROOT, end
from tests.chaos.client import graph_of
from tests.crash.server_stage import ServerStage, url_by

LEASE_S = 2.0
DRAIN_S = 240.0
LET_GO_S = LEASE_S + 1.0  # a worker waits for an answer for a second at least, with so short a lease
BACK_S = 6.0
CLIENT_KILLS = 5
LONG_S = 60.0


@dataclass
class Size:
    """How much happens.

    Args:
        tasks, graphs, steps: What is submitted, all clients together; steps of each graph.
        clients, workers: Processes.
        pause_s: How long a task takes.
        spread_s: Over how long the clients submit.
        worker_kills, server_kills: At least so many, while there is work.
        seed: Of all that happens.
    """

    tasks: int = 20_000
    graphs: int = 200
    steps: int = 100
    clients: int = 4
    workers: int = 4
    pause_s: float = 0.005
    spread_s: float = 150.0
    worker_kills: int = 100
    server_kills: int = 10
    seed: int = 1


@dataclass
class Report:
    """What came of it."""

    size: Size
    verdict: Verdict = field(default_factory=Verdict)
    submitted: int = 0
    done: int = 0
    runs: int = 0
    unfinished: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    network: Counter[str] = field(default_factory=Counter)
    back_s: list[float] = field(default_factory=list)
    deliveries: Counter[int] = field(default_factory=Counter)
    took_s: float = 0.0

    @property
    def broken(self) -> dict[str, int]:
        """What may not be, by name."""
        found = {name: len(items) for name, items in self.verdict.faults.items()}
        found |= {"seen wrong by a client": self.seen["wrong"], "never told": self.seen["unreachable"]}
        found |= {"runs not ended": len(self.unfinished), "store out of order": len(self.disordered)}
        return {name: count for name, count in found.items() if count}

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken and self.submitted == self.done

    def table(self) -> str:
        """For people."""
        verdict, back = self.verdict, sorted(self.back_s)
        lines: list[tuple[str, Any]] = [
            ("submitted (items and nodes)", self.submitted),
            ("in runs", self.runs),
            ("done", self.done),
            ("lost", len(verdict.lost)),
            ("wrong", len(verdict.wrong)),
            ("double records", len(verdict.double)),
            ("records without event", len(verdict.untold)),
            ("unexpected", len(verdict.unexpected)),
            ("stale outcome accepted", len(verdict.stale)),
            ("begun before what it needs", len(verdict.disorder)),
            (f"overlaps beyond {LET_GO_S + 1:.0f} s", len(verdict.overlap)),
            ("results seen right / wrong / never", [self.seen[k] for k in ("right", "wrong", "unreachable")]),
            ("executions", verdict.executions),
            ("executions beyond once", verdict.duplicates.total()),
            ("items by deliveries", dict(sorted(self.deliveries.items()))),
            *sorted(self.happened.items()),
            ("network faults", dict(sorted(self.network.items()))),
        ]
        if back:
            text = f"median {median(back):.2f}, longest {back[-1]:.2f} of {len(back)}"
            lines.append(("work handed out again after (s)", text))
        lines.append(("took (s)", round(self.took_s, 1)))
        lines.append(("broken promises", self.broken or "none"))
        wide = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:<{wide}}  {value}" for name, value in lines)


class Storm:
    """One run of the chaos.

    Args:
        folder: For everything; private.
        size: How much happens.
        kind: Of the server.
    """

    def __init__(self, folder: Path, size: Size, kind: str = "valkey") -> None:
        self.size = size
        self.stage = ServerStage(folder, kind)
        self.report = Report(size)
        self.journal = folder / "journal"
        self._ways = [self.stage.proxy() for _ in range(3)]
        self._clients: dict[int, subprocess.Popen[bytes]] = {}
        self._stopped: list[tuple[float, Any]] = []
        self._living: list[int] = []
        self._hiring = threading.Lock()
        self._ending = threading.Event()
        self._troubles: list[BaseException] = []
        self._began = time.monotonic()

    def run(self) -> Report:
        """Do it all, and judge."""
        ends = Ends(self.stage.store)
        threads = [
            threading.Thread(target=self._watched, args=(deed,), daemon=True)
            for deed in (
                self._kill_workers,
                self._supervise,
                self._kill_servers,
                self._spoil_network,
                self._kill_a_client,
            )
        ]
        try:
            for number in range(self.size.workers):
                self._hire(number)
            self._living = list(range(self.size.workers))
            for number in range(self.size.clients):
                self._start_client(number)
            for thread in threads:
                thread.start()
            self._until_submitted(ends)
            self._ending.set()
            for thread in threads:
                thread.join(60)
            self._calm()
            self._until_over(ends)
            if self._troubles:
                raise self._troubles[0]
            self._judge(ends)
        finally:
            self._ending.set()
            for thread in threads:
                if thread.is_alive():  # it would start again what is ended here
                    thread.join(60)
            for client in self._clients.values():
                client.kill()
                client.wait()
            self.stage.close()
        self.report.took_s = time.monotonic() - self._began
        return self.report

    # ── who takes part ───────────────────────────────────────────────────────────────

    def _hire(self, number: int) -> None:
        """Every other worker has a way that can be made bad."""
        via = self._ways[number % 4 // 2] if number % 2 else None
        self.stage.worker(2, via=via, lease_s=LEASE_S)

    def _start_client(self, number: int) -> None:
        size = self.size
        url = self.stage.url if number % 2 else url_by(self._ways[2])
        shares = [size.tasks // size.clients, size.graphs // size.clients]
        command = [sys.executable, "-m", "tests.chaos.client", url, self.stage.ledger.path, str(self.journal)]
        command += [f"--number={number}", f"--tasks={shares[0]}", f"--graphs={shares[1]}"]
        command += [f"--steps={size.steps}", f"--pause={size.pause_s}", f"--spread={size.spread_s}"]
        command += [f"--began={self._began}"]
        command += ["--keyed"] if number == 0 else []
        with (self.stage.folder / f"client-{number}.log").open("ab") as log:
            self._clients[number] = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log)

    # ── what happens ─────────────────────────────────────────────────────────────────

    def _watched(self, deed: Callable[[], None]) -> None:
        try:
            deed()
        except BaseException as error:  # noqa: BLE001 - told at the end
            self._troubles.append(error)

    def _every(self, seconds: float, what: str = "", count: int = 0) -> Iterator[int]:
        """About so often, until there is no more to be submitted and this has happened `count` times."""
        chance, number = random.Random(f"{self.size.seed} {what}"), 0
        while not self._ending.is_set() or self.report.happened[what] < count:
            if self._ending.is_set():
                time.sleep(seconds / 4)
            self._ending.wait(seconds * chance.uniform(0.5, 1.5))
            yield number
            number += 1

    def _gap_s(self, count: int) -> float:
        return self.size.spread_s / max(1, count) * 0.9

    def _kill_workers(self) -> None:
        chance = random.Random(self.size.seed + 1)
        for _ in self._every(self._gap_s(self.size.worker_kills), "worker kills", self.size.worker_kills):
            self._wake_stopped()
            place = chance.randrange(self.size.workers)
            worker = self.stage.workers[self._living[place]]
            if chance.random() < 0.1 and worker.poll() is None:
                os.kill(worker.pid, signal.SIGSTOP)
                self._stopped.append((time.monotonic() + 2 * LEASE_S, worker))
                self.report.happened["workers paused past their lease"] += 1
            elif worker.poll() is None:
                worker.kill()
                self.report.happened["worker kills"] += 1
            self._replace(place)
        self._wake_stopped(everyone=True)

    def _replace(self, place: int) -> None:
        with self._hiring:
            self._hire(len(self.stage.workers))
            self._living[place] = len(self.stage.workers) - 1

    def _supervise(self) -> None:
        """Start anew who found no server when it started, as those who look after processes do."""
        for _ in self._every(0.2):
            for place, number in enumerate(list(self._living)):
                ended = self.stage.workers[number].poll()
                if ended is not None and ended >= 0:
                    self.report.happened[f"workers that ended with {ended}"] += 1
                    self._replace(place)

    def _wake_stopped(self, everyone: bool = False) -> None:
        for at, worker in list(self._stopped):
            if everyone or time.monotonic() >= at:
                self._stopped.remove((at, worker))
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGCONT)
                    worker.stop()

    def _kill_servers(self) -> None:
        chance = random.Random(self.size.seed + 2)
        for _ in self._every(self._gap_s(self.size.server_kills), "server kills", self.size.server_kills):
            self.stage.server.kill()
            time.sleep(chance.uniform(0.0, 2.0))
            self.stage.server.start()
            self.report.happened["server kills"] += 1
            self._measure_return()

    def _measure_return(self) -> None:
        began = time.monotonic()
        newest = self.stage.store.events(-1)
        cursor = newest[0].cursor if newest else 0
        while time.monotonic() < began + 30:
            events = self.stage.store.events(cursor)
            if any(event.state is State.RUNNING for event in events):
                self.report.back_s.append(time.monotonic() - began)
                return
            cursor = events[-1].cursor if events else cursor  # there may be more than are told at once
            if not events and not any(row.get("queued") for row in self.stage.store.queues()):
                return  # there is nothing to hand out
            time.sleep(0.01)
        self.report.back_s.append(30.0)

    def _spoil_network(self) -> None:
        chance = random.Random(self.size.seed + 3)
        for _ in self._every(3.0):
            way = chance.choice(self._ways)
            what = chance.choice(["cut", "refuse", "half-open", "delay", "answers dropped", "requests cut"])
            self.report.network[what] += 1
            if what == "cut":
                for _ in range(5):
                    way.cut()
                    time.sleep(0.1)
                continue
            if what == "refuse":
                way.refuse()
            elif what == "half-open":
                way.swallow()
            elif what == "delay":
                way.delay_s = 0.05
            else:
                where: Any = "after" if what == "answers dropped" else "inside"
                way.fault("*", where, times=1 << 30, chance=0.2)
            self._ending.wait(2.0)
            way.heal()
            if self.size.spread_s < LONG_S:  # nobody has the time to find out by himself
                way.cut()

    def _kill_a_client(self) -> None:
        for number in self._every(self.size.spread_s / 8):
            if number < CLIENT_KILLS and not self._ending.is_set() and self._clients[0].poll() is None:
                self._clients[0].kill()
                self._clients[0].wait()
                self.report.happened["client kills"] += 1
                self._start_client(0)

    def _calm(self) -> None:
        """Let everything be well again, and have some workers that live."""
        for way in self._ways:
            way.heal()
            way.cut()
        for number in range(2):
            self._hire(2 * number)

    # ── until it is over ─────────────────────────────────────────────────────────────

    def _journal(self) -> bytes:
        return self.journal.read_bytes() if self.journal.exists() else b""

    def _until_submitted(self, ends: Ends) -> None:
        deadline = time.monotonic() + self.size.spread_s + DRAIN_S
        while True:
            said = self._journal()
            late = [n for n in self._clients if b'"submitted", "client": %d' % n not in said]
            if not late:
                return
            failed = [n for n in late if self._clients[n].poll() not in (None, 0, -signal.SIGKILL)]
            assert not failed, f"clients {failed} have failed{self._words()}"
            assert time.monotonic() < deadline, f"clients {late} have not submitted all{self._words()}"
            ends.read()
            time.sleep(0.2)

    def _until_over(self, ends: Ends) -> None:
        deadline = time.monotonic() + DRAIN_S
        while any(client.poll() is None for client in self._clients.values()):
            if time.monotonic() > deadline:
                break
            ends.read()
            time.sleep(0.1)

    def _words(self) -> str:
        return "".join(
            f"\n{path.name}: {path.read_text()[-1000:]}" for path in self.stage.folder.glob("client-*.log")
        )

    # ── judge ────────────────────────────────────────────────────────────────────────

    def _judge(self, ends: Ends) -> None:
        report, store = self.report, self.stage.store
        lines = [json.loads(line) for line in self._journal().splitlines()]
        expected = list(self._expected(lines))
        for line in lines:
            if line["kind"] == "seen":
                report.seen.update({name: line[name] for name in ("right", "wrong", "unreachable")})
        report.submitted = sum(one.width for one in expected)
        runs = {line["run"] for line in lines if "run" in line}
        report.runs = len(runs)
        report.unfinished = [run.id for run in store.runs(limit=1 << 20) if run.state not in TERMINAL]
        report.verdict = examine(
            store, self.stage.codec, expected, self.stage.ledger, lease_s=LET_GO_S, ends=ends
        )
        report.done = report.submitted - len(report.verdict.lost) - len(report.verdict.wrong)
        report.disordered = [text for _, well, text in store.check() if not well]
        for one in expected:
            for item in store.items(one.node):
                report.deliveries[item.deliveries] += item.hi - item.lo

    def _expected(self, lines: list[dict[str, Any]]) -> Iterator[Expected]:
        squares: dict[str, dict[int, int]] = {}
        graphs: set[str] = set()
        for line in lines:
            if line["kind"] == "squares":
                lo, hi = line["values"]
                squares[line["node"]] = {x - lo: x * x for x in range(lo, hi)}
            elif line["kind"] == "square":
                squares.setdefault(line["node"], {})[line["index"]] = line["value"] ** 2
            elif line["kind"] == "graph" and line["run"] not in graphs:
                graphs.add(line["run"])
                graph = graph_of("", line["steps"], line["seed"], 0.0)
                yield from graph.expected({name: NodeId(node) for name, node in line["names"].items()})
        for node, values in squares.items():
            yield Expected(NodeId(node), len(values), values.__getitem__)


def returns(folder: Path, cycles: int, kind: str = "valkey", lease_s: float = 15.0) -> list[float]:
    """Kill a server and start it, again and again; the seconds until every worker had done something."""
    stage = ServerStage(folder, kind)
    chance, found = random.Random(5), []
    try:
        for _ in range(3):
            stage.worker(1, lease_s=lease_s)
        stage.until_ready(3)
        for _ in range(cycles):
            stage.server.kill()
            time.sleep(chance.uniform(0.1, 4.0))
            stage.server.start()
            back = time.monotonic()
            views = stage.store.workers()
            assert len(views) == 3
            nodes = [stage.send(pow, 2, 5, queue=f"worker/{view.id}") for view in views]
            for node in nodes:
                stage.wait(node, State.SUCCEEDED)
            found.append(time.monotonic() - back)
        assert all(worker.poll() is None for worker in stage.workers)
    finally:
        for worker in stage.workers:
            end(worker)
        stage.close()
    return found
