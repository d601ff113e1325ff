"""A real server, real workers, and everything that can happen to them and between them."""

from __future__ import annotations

import functools
import os
import random
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow.ids import id_from
from taskflow.states import TERMINAL, State
from taskflow.stores import open_store
from taskflow.testing.checker import Expected, Verdict
from tests.acceptance.stage import DEADLINE_S, end, family, gone_within
from tests.crash import tasks
from tests.crash.server_stage import Graph, ServerStage, stop, url_by
from tests.crash.stage import LEASE_S, squares
from tests.servers import binaries

BACK_S = 6.0
CYCLES = 3
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
KINDS = ("valkey", "redis")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[ServerStage]:
    stage = ServerStage(tmp_path)
    yield stage
    stage.close()


class Load:
    """A map and a graph under way, and what must come of them."""

    def __init__(
        self,
        stage: ServerStage,
        *,
        items: int = 60,
        steps: int = 20,
        pause_s: float = 0.02,
        client: Any = None,
    ) -> None:
        client = (client or stage.client()).options(max_deliveries=20)
        self.stage = stage
        self.map = client.map(functools.partial(tasks.square, stage.ledger.path, pause_s), range(items))
        graph = Graph(stage.ledger.path, steps, 1, pause_s, width=5)
        self.graph = graph.workflow.run(client)
        self.expected = [squares(self.map.node_id, items), *graph.expected(self.graph.names)]
        self.total = sum(one.width for one in self.expected)

    def until_begun(self, share: float) -> None:
        """Wait until this share of all items has begun."""
        self.stage.until(lambda: len(self.stage.ledger.begun()) >= share * self.total)

    @property
    def over(self) -> bool:
        return all(self.stage.state(run) in TERMINAL for run in (self.map.id, self.graph.id))

    def verdict(self) -> Verdict:
        """Wait for the end, and judge."""
        self.stage.until_ended(self.map.id, self.graph.id)
        return self.stage.verdict(*self.expected)

    def deliveries(self) -> int:
        return self.stage.deliveries(one.node for one in self.expected)


# ── workers that die, or stand still ─────────────────────────────────────────────────


def test_workers_killed_in_the_middle_of_a_map_and_a_graph_lose_nothing(stage: ServerStage) -> None:
    stage.worker(2)
    load = Load(stage)

    for share in (0.2, 0.6):
        load.until_begun(share)
        end(stage.workers[-1])
        stage.worker(2)

    verdict = load.verdict()
    assert verdict.faults == {}
    assert load.deliveries() <= 1 + 2
    assert verdict.duplicates.total() <= 2 * 2 * 64, str(verdict)


def test_a_worker_stopped_past_its_lease_changes_nothing_when_it_goes_on(stage: ServerStage) -> None:
    way = stage.proxy()
    stopped = stage.worker(2, via=way)
    run = stage.client().map(functools.partial(tasks.square, stage.ledger.path, 0.5), range(4))
    stage.until(lambda: stage.ledger.begun().total() >= 2)
    stop(stopped)
    stage.worker(2)
    stage.until_ended(run.id)
    values, events = stage.store.values([run.node_id]), stage.store.events(-1)
    told = way.seen["settle"] + way.seen["renew"]

    os.kill(stopped.pid, signal.SIGCONT)
    stage.until(lambda: way.seen["settle"] + way.seen["renew"] > told)
    stopped.stop()

    assert stopped.wait(10) == 0
    assert way.seen["settle"] > 0  # it did try
    assert stage.store.values([run.node_id]) == values
    assert stage.store.events(-1) == events
    verdict = stage.verdict(squares(run.node_id, 4))
    assert verdict.faults == {}
    assert 1 <= verdict.duplicates.total() <= 2


@pytest.mark.parametrize("where", ["before", "inside", "after"])
@pytest.mark.parametrize("verb", ["claim", "settle", "renew", "reap"])
def test_a_worker_killed_at_a_step_of_the_server_loses_nothing(
    stage: ServerStage, verb: str, where: Any
) -> None:
    """The fault points of a store's step, on the way: not sent, half sent, executed and not told."""
    way = stage.proxy()
    killed = stage.worker(2, via=way)
    fault = way.fault(verb, where, skip=1 if verb == "settle" else 0, then=killed.kill)
    load = Load(stage, items=8, steps=6, pause_s=0.25)

    pids = family(killed.pid)
    assert killed.wait(40) == -signal.SIGKILL
    assert gone_within(pids, 5.0)
    stage.worker(2)

    verdict = load.verdict()
    assert fault.happened == 1
    assert verdict.faults == {}
    assert load.deliveries() <= 2
    assert verdict.duplicates.total() <= 4, str(verdict)


@pytest.mark.parametrize(
    "fault", ["worker.started:kill9", "child.before_run:kill9:4", "child.after_run:kill9:4"]
)
def test_a_process_killed_at_a_named_point_loses_nothing(stage: ServerStage, fault: str) -> None:
    faulty = stage.worker(2, fault=fault)
    load = Load(stage, items=20, steps=10, pause_s=0.001)
    if fault.startswith("worker"):
        assert faulty.wait(40) == -signal.SIGKILL
        stage.worker(2)

    assert load.verdict().faults == {}


# ── a client that dies ───────────────────────────────────────────────────────────────

GRAPH = """
from taskflow import Client
from tests.crash.server_stage import Graph
graph = Graph(LEDGER, {size}, 1, 0.0)
graph.workflow.run(Client(URL, workers=0).options(key="graph"))
"""


@pytest.mark.parametrize("where", ["before", "inside", "after"])
@pytest.mark.parametrize(("verb", "size"), [("submit", 100), ("assemble", 1500)])
def test_a_graph_never_half_runs_when_its_client_is_killed_while_sending_and_may_be_sent_again(
    stage: ServerStage, verb: str, size: int, where: Any
) -> None:
    way = stage.proxy()
    program = stage.program(GRAPH.format(size=size), via=way)
    way.fault(verb, where, then=program.kill)
    assert program.wait(DEADLINE_S) == -signal.SIGKILL
    stage.worker(2)
    if verb == "submit" and where != "after":
        assert stage.store.runs() == []
    assert stage.result(stage.send(pow, 2, 5)) == 32
    if where != "after":
        assert stage.ledger.begun().total() == 0

    again = stage.program(GRAPH.format(size=size))

    assert again.wait(DEADLINE_S) == 0
    client = stage.client()
    found = client.attach(id_from("graph"))
    stage.until_ended(found.id)
    assert stage.verdict(*Graph(stage.ledger.path, size, 1, 0.0).expected(found.names)).faults == {}


BURST = """
from taskflow import Client
client = Client(URL, workers=0)
for x in range(100_000):
    client.submit(tasks.square, LEDGER, 0.0, x)
    if x == 50:
        client.flush()
        print("begun", flush=True)
"""


def test_all_that_a_killed_client_had_sent_of_many_calls_runs_once(stage: ServerStage) -> None:
    program = stage.program(BURST)
    assert program.stdout is not None
    assert program.stdout.readline() == "begun\n"
    stage.until(lambda: len(stage.store.runs(limit=1000)) > 3)
    program.kill()
    program.wait()
    runs = {run.id: run.total for run in stage.store.runs(limit=1 << 20)}

    stage.worker(2)
    stage.until_ended(*runs)

    assert sum(runs.values()) >= 51
    ended = [stage.state(run) for run in runs]
    assert set(ended) == {State.SUCCEEDED}
    began = stage.ledger.begun()
    assert len(began) == sum(runs.values())
    assert set(began.values()) == {1}


# ── a server that dies, and comes back ───────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_killed_under_200_runs_loses_nothing(tmp_path: Path, kind: str) -> None:
    if kind not in binaries():
        pytest.skip(f"{kind} is not installed")
    stage = ServerStage(tmp_path, kind)
    try:
        client = stage.client().options(max_deliveries=20)
        path, expected, runs = stage.ledger.path, [], []
        for number in range(100):
            run = client.map(functools.partial(tasks.square, path, 0.002), range(5))
            graph = Graph(path, 5, number, 0.002)
            sent = graph.workflow.run(client)
            expected += [squares(run.node_id, 5), *graph.expected(sent.names)]
            runs += [run.id, sent.id]
        stage.worker(2)
        stage.worker(2)

        for begun in (100, 300, 600):
            stage.until(lambda n=begun: stage.ledger.begun().total() >= n)
            stage.restart()
        stage.until_ended(*runs)

        verdict = stage.verdict(*expected)
        assert verdict.faults == {}
        assert verdict.duplicates.total() <= 3 * 2 * 2 * 64, str(verdict)
        assert stage.deliveries(one.node for one in expected) <= 1 + 3
    finally:
        stage.close()


@pytest.mark.parametrize("lease_s", [LEASE_S, 15.0])
def test_all_workers_work_again_soon_after_a_server_was_away(stage: ServerStage, lease_s: float) -> None:
    """Also when the server comes back just after a worker looked for it."""
    workers = [stage.worker(1, lease_s=lease_s) for _ in range(2)]
    stage.until_ready(2)

    for _ in range(CYCLES):
        stage.server.kill()
        time.sleep(random.uniform(0.1, 3.0))
        stage.server.start()
        back = time.monotonic()
        for view in stage.store.workers():
            node = stage.send(pow, 2, 5, queue=f"worker/{view.id}")
            stage.wait(node, State.SUCCEEDED)
        assert time.monotonic() - back <= BACK_S

    assert all(worker.poll() is None for worker in workers)


def test_a_bell_that_lost_its_server_rings_when_it_is_heard_again(stage: ServerStage) -> None:
    """Who sleeps beside it is woken, and can look for what was published meanwhile."""
    way = stage.proxy()
    store = open_store(url_by(way))
    bell = store.listen("work")
    fd = bell.fileno()
    try:
        for _ in range(CYCLES):
            subscribed = way.seen["SUBSCRIBE"]
            way.refuse()
            bell.hush()
            way.heal()

            while way.seen["SUBSCRIBE"] == subscribed:
                assert select.select([fd], [], [], 2.0)[0]  # woken, to try and to look
                bell.hush()
            bell.hush()
            stage.send(pow, 2, 5)
            assert select.select([fd], [], [], 2.0)[0]
            bell.hush()
    finally:
        bell.close()
        store.close()


def test_a_server_that_stands_still_for_longer_than_the_leases_loses_nothing(stage: ServerStage) -> None:
    """Its clock goes on: when it wakes all leases are over, though everybody lives."""
    stage.worker(2)
    stage.worker(2)
    load = Load(stage)
    load.until_begun(0.2)
    assert stage.server.process is not None

    stage.server.process.send_signal(signal.SIGSTOP)
    time.sleep(2 * LEASE_S)
    stage.server.process.send_signal(signal.SIGCONT)

    verdict = load.verdict()
    assert verdict.faults == {}
    assert load.deliveries() <= 3


def test_a_server_that_forgets_its_functions_and_its_clients_loses_nothing(stage: ServerStage) -> None:
    stage.worker(2)
    stage.worker(2)
    load = Load(stage)
    beside = stage.server.client()

    kicks = 0
    while not load.over and kicks < 20:
        beside.function_flush()
        beside.client_kill_filter(_type="normal")
        beside.client_kill_filter(_type="pubsub")
        kicks += 1
        time.sleep(0.1)
    beside.close()

    verdict = load.verdict()
    assert verdict.faults == {}
    assert verdict.duplicates.total() == 0, str(verdict)
    assert load.deliveries() <= 1 + kicks


@pytest.mark.parametrize("busy", [False, True])
def test_a_worker_told_to_end_while_the_server_is_away_exits_well(stage: ServerStage, busy: bool) -> None:
    worker = stage.worker(1)
    stage.until_ready(1)
    if busy:
        node = stage.send(tasks.square, stage.ledger.path, 60.0, 3)
        stage.wait(node, State.RUNNING)
        stage.until(lambda: stage.ledger.begun().total() == 1)
    pids = family(worker.pid)

    stage.server.kill()
    worker.stop()
    if busy:  # what runs may go on for a while, unless it is told again
        time.sleep(0.1)
        worker.stop()

    assert worker.wait(10) == 0
    assert gone_within(pids, 5.0)


# ── networks ─────────────────────────────────────────────────────────────────────────


def test_connections_that_are_cut_again_and_again_lose_nothing(stage: ServerStage) -> None:
    ways = [stage.proxy() for _ in range(3)]
    for way in ways[:2]:
        stage.worker(2, via=way)
    load = Load(stage, client=stage.client(ways[2]))
    chance = random.Random(3)

    cuts = 0
    while not load.over and cuts < 40:
        time.sleep(chance.uniform(0.01, 0.1))
        cuts += bool(chance.choice(ways).cut())

    verdict = load.verdict()
    assert load.map.results() == [x * x for x in range(60)]
    assert cuts > 0
    assert verdict.faults == {}
    assert verdict.duplicates.total() == 0, str(verdict)  # nobody died: the leases go on
    assert load.deliveries() <= 1 + cuts


def test_a_network_that_refuses_for_a_while_costs_that_while_only(stage: ServerStage) -> None:
    way = stage.proxy()
    stage.worker(2, via=way)
    load = Load(stage, client=stage.client(way))
    load.until_begun(0.2)

    way.refuse()
    time.sleep(1.0)
    begun = len(stage.ledger.begun())
    way.heal()

    healed = time.monotonic()
    stage.until(lambda: load.over or len(stage.ledger.begun()) > begun)
    assert time.monotonic() - healed < BACK_S
    assert load.verdict().faults == {}


def test_a_slow_network_only_makes_it_slower(stage: ServerStage) -> None:
    way = stage.proxy()
    way.delay_s = 0.03
    stage.worker(2, via=way)
    stage.worker(2, via=way)
    load = Load(stage, client=stage.client(way))

    verdict = load.verdict()
    assert verdict.faults == {}
    assert (verdict.duplicates.total(), load.deliveries()) == (0, 1)


@pytest.mark.parametrize("verb", ["claim", "settle", "renew", "reap", "submit"])
def test_an_answer_that_is_lost_doubles_nothing(stage: ServerStage, verb: str) -> None:
    """The repeated question finds that it was answered; a claim is answered as before."""
    way = stage.proxy()
    stage.worker(2, via=way)
    stage.until_ready(1)
    fault = way.fault(verb, "after", times=2)
    load = Load(stage, items=8, steps=6, pause_s=0.3, client=stage.client(way))

    verdict = load.verdict()
    assert fault.happened == 2 or verb == "submit"
    assert verdict.faults == {}
    assert verdict.duplicates.total() == 0, str(verdict)
    assert len(stage.store.runs()) == 2
    assert load.deliveries() == 1


def test_a_claim_whose_answer_was_lost_costs_one_delivery_at_most(stage: ServerStage) -> None:
    way = stage.proxy()
    fault = way.fault("claim", "after")
    node = stage.send(tasks.square, stage.ledger.path, 0.0, 3)
    stage.worker(2, via=way)

    assert stage.result(node) == 9
    assert fault.happened == 1
    assert stage.deliveries([node]) <= 2
    verdict = stage.verdict(Expected(node, 1, lambda _: 9))
    assert (verdict.faults, verdict.duplicates.total()) == ({}, 0)


@pytest.mark.parametrize("where", ["inside", "after"])
def test_one_in_five_steps_that_fails_on_the_way_loses_nothing(stage: ServerStage, where: Any) -> None:
    ways = [stage.proxy() for _ in range(3)]
    for way in ways[:2]:
        stage.worker(2, via=way)
    stage.until_ready(2)
    faults = [way.fault("*", where, times=1 << 30, chance=0.2) for way in ways]
    load = Load(stage, client=stage.client(ways[2]))

    verdict = load.verdict()
    assert sum(fault.happened for fault in faults) >= 10
    assert verdict.faults == {}
    assert verdict.duplicates.total() == 0, str(verdict)


# ── clocks ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def clock(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Sets the clock of processes that are started with this environment; they see each change."""
    if not FAKETIME.exists():
        pytest.skip("libfaketime is not installed: apt install faketime")
    path = tmp_path / "clock"

    def put(offset: str) -> dict[str, str]:
        path.write_text(offset + "\n")
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    return put


@pytest.mark.parametrize("jump", ["+1h", "-1h", "+1d", "-1d"])
def test_a_jump_of_a_workers_clock_changes_nothing(
    stage: ServerStage, clock: Callable[[str], dict[str, str]], jump: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for name, value in clock("+0").items():
            patch.setenv(name, value)
        stage.worker(2)
    stage.worker(2)
    load = Load(stage, items=40, steps=10, pause_s=0.05)
    load.until_begun(0.2)

    clock(jump)

    verdict = load.verdict()
    assert verdict.faults == {}
    assert (verdict.duplicates.total(), load.deliveries()) == (0, 1)


@pytest.mark.parametrize("jump", ["+1h", "-1h"])
def test_a_jump_of_the_servers_clock_loses_nothing(
    tmp_path: Path, clock: Callable[[str], dict[str, str]], jump: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for name, value in clock("+0").items():
            patch.setenv(name, value)
        stage = ServerStage(tmp_path)
    try:
        stage.worker(2)
        load = Load(stage, items=40, steps=10, pause_s=0.05)
        load.until_begun(0.2)
        before = stage.store._seconds()

        clock(jump)
        stage.until(lambda: abs(stage.store._seconds() - before) > 1800)

        verdict = load.verdict()
        assert verdict.faults == {}
        assert verdict.duplicates.total() <= 2 * 64, str(verdict)
        assert load.deliveries() <= 2
    finally:
        stage.close()
