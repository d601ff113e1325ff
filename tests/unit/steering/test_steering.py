"""Celery's words for looking at workers and telling them: over a memory store, with workers that obey."""

from __future__ import annotations

import time
from typing import Any

import pytest

from taskflow.codec import Codec, Keyring
from taskflow.control import Control
from taskflow.errors import NoSuchRun, UsageError
from taskflow.ids import NodeId, RunId, WorkerId, new_id
from taskflow.records import WORKERS, Kind, LeaseKey, Node, Outcome, Page, Plan, Settlement, Want, WorkerView
from taskflow.states import State
from taskflow.steering import AppControl, Desk
from taskflow.steering.inspect import NOBODY
from taskflow.stores.memory import MemoryStore


class Floor:
    """A store with workers; those in `deaf` hear nothing."""

    def __init__(self, *names: str) -> None:
        self.store, self.ring, self.deaf = MemoryStore(), Keyring.ephemeral(), {""}
        self.info: dict[str, dict[str, Any]] = {}
        self.codec = Codec(self.ring, self.store.blobs)
        for name in names:
            self.start(name)
        self.desk = Desk(self.store, keyring=self.ring)
        self.desk.control = Control(self.store, keyring=self.ring, sleep=lambda _: self.obey())
        self.control = AppControl(self.desk)

    def start(self, name: str, queues: tuple[str, ...] = ("default",), **info: Any) -> None:
        self.info[name] = info
        self.store.announce(
            WorkerView(WorkerId(name), "h", 9, queues, 2, 0, 7.0, time.time(), {"followed": 0, **info})
        )

    def obey(self) -> None:
        known = self.store.posted(WORKERS)
        for view in self.store.workers():
            if view.id not in self.deaf and known is not None:
                info = {"followed": known.revision, **self.info[view.id]}
                self.store.announce(WorkerView(*[getattr(view, n) for n in view.__slots__[:-1]], info))

    def send(self, label: str, *args: Any, **more: Any) -> NodeId:
        node = NodeId(new_id())
        fn = self.codec.function(abs)
        sealed = self.codec.dump_args(fn, args, {}, None)
        self.store.submit([Plan(RunId(node), (Node(node, fn, sealed, label=label, **more),))])
        return node

    def map(self, label: str, width: int) -> NodeId:
        node = NodeId(new_id())
        fn = self.codec.function(abs)
        args = self.codec.dump_args(fn, (), {}, None)
        page = Page(0, width, self.codec.dump_items(fn, 0, list(range(width))))
        plan = Plan(RunId(new_id()), (Node(node, fn, args, (), width, True, (page,), label=label),))
        self.store.submit([plan])
        return node

    def take(self, worker: str) -> LeaseKey:
        (lease,) = self.store.claim(Want(WorkerId(worker), ("default",), 1))
        return lease.key

    def state(self, node: NodeId) -> State:
        return self.store.items(node)[0].state

    def told(self) -> list[str]:
        return [f"{row['worker']}: {row['wanted']}" for row in self.desk.control.rows()]


@pytest.fixture
def floor() -> Floor:
    return Floor("w1", "w2")


# ── looking ──────────────────────────────────────────────────────────────────────────


def test_what_runs_is_told_of_the_worker_that_runs_it(floor: Floor) -> None:
    node = floor.send("shop.add", -3, priority=4)
    floor.desk.arguments = lambda name, index: ((-3,), {})
    floor.take("w2")

    found = floor.control.inspect().active()

    assert found is not None
    (told,) = found["w2"]
    assert found["w1"] == []
    assert told["time_start"] == pytest.approx(time.time(), abs=60)
    expected = {
        "id": node, "name": "shop.add", "type": "shop.add", "args": [-3], "kwargs": {}, "hostname": "w2",
        "worker_pid": 9, "acknowledged": False,
    }  # fmt: skip
    assert expected.items() <= told.items()
    assert told["delivery_info"] == {
        "exchange": "", "routing_key": "default", "priority": 4, "redelivered": False,
    }  # fmt: skip


def test_items_of_a_map_are_told_one_by_one(floor: Floor) -> None:
    node = floor.map("parse", 3)
    floor.take("w1")

    found = floor.control.inspect().active()

    assert found is not None
    assert found["w1"][0]["id"] == f"{node}[0]"
    assert found["w1"][0]["args"] is None


def test_what_is_kept_for_its_rate_is_reserved_and_not_active(floor: Floor) -> None:
    node = floor.send("shop.add")
    floor.take("w1")
    floor.info["w1"] = {"kept": [node]}
    inspect = floor.control.inspect()

    active, reserved = inspect.active(), inspect.reserved()

    assert active == {"w1": [], "w2": []}
    assert reserved is not None
    assert [one["id"] for one in reserved["w1"]] == [node]
    assert inspect.query_task([node])["w1"][node][0] == "reserved"  # type: ignore[index]


def test_what_waits_for_its_time_is_told_once(floor: Floor) -> None:
    floor.send("later", delay_s=60.0)
    floor.send("nobody", delay_s=60.0, queue="mail")

    found = floor.control.inspect().scheduled()

    assert found is not None
    assert {name: [one["request"]["name"] for one in told] for name, told in found.items()} == {
        "w1": ["later"], "w2": [], NOBODY: ["nobody"],
    }  # fmt: skip
    assert found["w1"][0]["eta"].endswith("+00:00")


def test_only_who_answers_in_time_is_told(floor: Floor) -> None:
    floor.deaf.add("w2")

    assert floor.control.inspect(timeout=0.02).ping() == {"w1": {"ok": "pong"}}
    assert floor.control.ping(timeout=0.02) == [{"w1": {"ok": "pong"}}]
    assert floor.control.inspect(["w2"], timeout=0.02).stats() is None


def test_nobody_is_none(floor: Floor) -> None:
    empty = Floor()

    assert empty.control.inspect().active() is None
    assert empty.control.ping() == []


def test_workers_are_named_by_prefix_list_or_pattern(floor: Floor) -> None:
    floor.start("gpu-1")
    inspect = floor.control.inspect

    assert list(inspect("gpu").ping() or {}) == ["gpu-1"]
    assert list(inspect(["w1", "gpu-1"]).ping() or {}) == ["gpu-1", "w1"]
    assert list(inspect(pattern="w*").ping() or {}) == ["w1", "w2"]
    assert list(inspect(pattern=r"w[2-9]", matcher="pcre", limit=1).ping() or {}) == ["w2"]
    assert inspect(pattern="x*").ping() is None
    with pytest.raises(UsageError, match="no worker 'w3'"):
        inspect("w3").ping()
    with pytest.raises(UsageError, match="no matcher"):
        inspect(pattern="w*", matcher="sql")


def test_counts_sizes_and_limits_of_a_worker(floor: Floor) -> None:
    floor.start("w1", total={"shop.add": 7}, times=[5.0, 9.0], autoscale="10,3", memory_bytes=1 << 20)

    told = floor.control.inspect("w1").stats()["w1"]  # type: ignore[index]

    assert told["total"] == {"shop.add": 7}
    assert (told["pid"], told["pool"]["max-concurrency"], told["pool"]["timeouts"]) == (9, 2, [5.0, 9.0])
    assert told["autoscaler"] == {"max": 10, "min": 3, "current": 2}
    assert told["rusage"] == {"maxrss": 1024}


def test_tasks_queues_settings_and_versions_of_a_worker(floor: Floor) -> None:
    class Add:
        rate_limit = "10/m"

    floor.start("w1", ("gpu", "default"), tasks=["shop.add", "shop.mul"], conf={"a": 1}, python="3.12")
    floor.desk.tasks = {"shop.add": Add()}
    inspect = floor.control.inspect("w1")

    assert inspect.registered() == {"w1": ["shop.add", "shop.mul"]}
    assert inspect.registered("rate_limit") == {"w1": ["shop.add [rate_limit=10/m]", "shop.mul"]}
    assert [one["name"] for one in inspect.active_queues()["w1"]] == ["gpu", "default"]  # type: ignore[index]
    assert inspect.conf() == {"w1": {"a": 1}}
    assert "python: 3.12" in inspect.report()["w1"]["ok"]  # type: ignore[index]
    assert inspect.clock() == {"w1": {"clock": floor.store.posted(WORKERS).revision}}  # type: ignore[union-attr]


def test_each_answer_is_told_as_it_comes(floor: Floor) -> None:
    heard: list[dict[str, Any]] = []

    floor.control.inspect(callback=heard.append).ping()

    assert heard == [{"w1": {"ok": "pong"}}, {"w2": {"ok": "pong"}}]


# ── telling ──────────────────────────────────────────────────────────────────────────


def test_every_verb_is_kept_for_workers_that_start_later(floor: Floor) -> None:
    control = floor.control
    assert control.pool_grow(2) is None
    control.add_consumer("gpu")
    control.rate_limit("shop.add", "30/m")
    control.time_limit("shop.add", 5, 9)
    control.cancel_consumer("default")

    assert floor.told() == [
        "all: +2 slots", "all: queue gpu", "all: shop.add at 0.5/s",
        "all: shop.add for 5 s (soft), 9 s (hard)", "all: no queue default",
    ]  # fmt: skip


def test_answers_have_celerys_shape(floor: Floor) -> None:
    control = floor.control

    assert control.autoscale(10, 3, destination=["w1"], reply=True) == [
        {"w1": {"ok": "autoscale now max=10 min=3"}}
    ]
    assert control.rate_limit("shop.add", 0, reply=True, limit=1) == [{"w1": {"ok": "shop.add: no bound"}}]
    assert len(control.pool_shrink(1, reply=True) or []) == 2
    assert control.pool_restart(destination="w2", reply=True) == [{"w2": {"ok": "starts anew"}}]
    assert control.shutdown(destination="w2", pattern=None) is None
    assert control.enable_events(reply=True)
    assert control.heartbeat(destination=["w1"], reply=True)
    assert floor.told() == ["w1: autoscale 10,3", "all: -1 slots", "w2: restart", "w2: shutdown"]


def test_a_verb_with_a_wrong_option_tells_nobody(floor: Floor) -> None:
    with pytest.raises(UsageError, match="Did you mean 'timeout'"):
        floor.control.pool_grow(1, timeuot=3)
    assert floor.told() == []


def test_commands_are_said_by_their_names(floor: Floor) -> None:
    broadcast = floor.control.broadcast
    heard: list[dict[str, Any]] = []

    assert broadcast("ping", reply=True) == [{"w1": {"ok": "pong"}}, {"w2": {"ok": "pong"}}]
    assert broadcast("rate_limit", {"task_name": "shop.add", "rate_limit": "1/s"}) is None
    assert broadcast("clock", destination=["w1"], reply=True, callback=heard.append) == heard
    assert broadcast("query_task", {"ids": ["x"]}, reply=True) == [{"w1": {}}, {"w2": {}}]
    with pytest.raises(UsageError, match="Did you mean 'pool_grow'"):
        broadcast("pool_gorw")
    assert floor.told() == ["all: shop.add at 1/s"]


# ── tasks ────────────────────────────────────────────────────────────────────────────


def test_a_task_that_waits_is_revoked_and_one_that_runs_goes_on(floor: Floor) -> None:
    running = floor.send("shop.add")
    key = floor.take("w1")
    waiting = floor.send("shop.add")

    floor.control.revoke([running, waiting])
    found = (floor.state(running), floor.state(waiting))
    floor.store.settle([Settlement(key, (Outcome(0, 1, Kind.SUCCEEDED, b"v"),))])

    assert found == (State.RUNNING, State.CANCELLED)
    assert floor.state(running) is State.SUCCEEDED
    assert floor.control.inspect("w1").revoked() == {"w1": [waiting]}


def test_a_task_that_runs_is_terminated(floor: Floor) -> None:
    running = floor.send("shop.add")
    key = floor.take("w1")

    answers = floor.control.terminate(running, reply=True)

    assert len(answers or []) == 2
    assert list(floor.store.renew([key], lease_s=9.0).cancelled.values()) == ["revoked"]


def test_of_a_map_what_has_not_started_is_revoked(floor: Floor) -> None:
    node = floor.map("parse", 3)
    floor.take("w1")

    floor.control.revoke(f"{node}[2]")
    one = {item.lo: item.state for item in floor.store.items(node)}
    floor.control.revoke(floor.store.find(node)[0])

    assert one[2] is State.CANCELLED
    assert [item.state for item in floor.store.items(node)] == [
        State.RUNNING, State.CANCELLED, State.CANCELLED,
    ]  # fmt: skip


def test_an_id_that_nobody_knows_is_said_after_the_others_were_revoked(floor: Floor) -> None:
    waiting = floor.send("shop.add")

    with pytest.raises(NoSuchRun):
        floor.control.revoke(["0000", waiting])

    assert floor.state(waiting) is State.CANCELLED


def test_tasks_are_revoked_by_their_stamps(floor: Floor) -> None:
    node = NodeId(new_id())
    fn = floor.codec.function(abs)
    args = floor.codec.dump_args(fn, (), {}, None)
    floor.store.submit([Plan(RunId(node), (Node(node, fn, args),), meta={"tags": {"batch": 7}})])
    other = floor.send("shop.add")

    answers = floor.control.revoke_by_stamped_headers({"batch": [6, 7]}, reply=True, limit=1)

    assert answers == [{"w1": {"ok": "cancelled 1 tasks"}}]
    assert (floor.state(node), floor.state(other)) == (State.CANCELLED, State.QUEUED)


def test_all_that_waits_is_purged(floor: Floor) -> None:
    for queue in ("default", "mail", "mail"):
        floor.send("shop.add", queue=queue)

    assert floor.control.purge() == 3
    assert floor.control.discard_all() == 0
