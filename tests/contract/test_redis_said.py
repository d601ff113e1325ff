"""What a Redis server says with a ring: leases for a worker whose claim stands, news for clients."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest

from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.ports import Bell
from taskflow.records import Edge, EdgeMode, Heard, Kind, Lease, Node, Outcome, Plan, Settlement, Want
from taskflow.states import State
from taskflow.stores.redis import RedisStore
from taskflow.testing import ManualClock
from tests.servers import RedisServer, running

_numbers = count()
STANDING = Want(WorkerId("w"), ("worker/w", "default"), 2, standing=True)


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    yield from running(request.param)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(server: RedisServer, clock: ManualClock) -> Iterator[RedisStore]:
    with closing(RedisStore(f"{server.url}?namespace=said{next(_numbers)}", clock=clock)) as store:
        yield store


@pytest.fixture
def bell(store: RedisStore) -> Iterator[Bell]:
    with closing(store.listen("work", worker="w")) as bell:
        yield bell


@pytest.fixture
def ends(store: RedisStore) -> Iterator[Bell]:
    with closing(store.listen("ends")) as bell:
        yield bell


def submit(store: RedisStore, *nodes: str, run: str | None = None, queue: str = "default") -> None:
    plan = tuple(Node(NodeId(node), "fn", b"args of " + node.encode(), queue=queue) for node in nodes)
    store.submit([Plan(RunId(run or f"run of {nodes[0]}"), plan)])


def end(lease: Lease, value: bytes = b"value", kind: Kind = Kind.SUCCEEDED) -> Settlement:
    return Settlement(lease.key, (Outcome(lease.key.lo, lease.key.hi, kind, value),))


def hear(bell: Bell) -> Heard:
    assert select.select([bell.fileno()], [], [], 5.0)[0], "it does not ring"
    return bell.hush()


def is_silent(bell: Bell) -> bool:
    return not select.select([bell.fileno()], [], [], 0.05)[0]


class TestHandingOver:
    def test_who_left_a_claim_standing_is_given_what_comes(self, store: RedisStore, bell: Bell) -> None:
        assert store.claim(STANDING) == []

        submit(store, "a")

        heard = hear(bell)
        (lease,) = heard.leases
        assert (lease.key.node, lease.args, lease.delivery, heard.is_turn) == ("a", b"args of a", 1, True)
        assert store.snapshot(RunId("run of a"))[0].nodes[0].worker == "w"
        assert store.renew([lease.key], lease_s=15.0).lost == frozenset()
        store.settle([end(lease)])
        assert store.snapshot(RunId("run of a"))[0].state is State.SUCCEEDED

    def test_it_stands_for_one_step(self, store: RedisStore, bell: Bell) -> None:
        store.claim(STANDING)
        submit(store, "a")
        (first,) = hear(bell).leases

        submit(store, "b")

        heard = hear(bell)
        assert (heard.leases, heard.is_turn) == ((), True)
        settled = store.settle([end(first)], want=STANDING)
        assert [lease.key.node for lease in settled.leases] == ["b"]
        submit(store, "c")
        assert [lease.key.node for lease in hear(bell).leases] == ["c"]

    def test_no_more_than_there_are_slots(self, store: RedisStore, bell: Bell) -> None:
        store.claim(STANDING)
        submit(store, "a", "b", "c")

        assert len(hear(bell).leases) == 2
        assert len(store.claim(STANDING)) == 1

    def test_what_was_given_and_not_heard_is_claimed(self, store: RedisStore) -> None:
        with closing(store.listen("work", worker="w")):
            store.claim(STANDING)
            submit(store, "a")

        (lease,) = store.claim(STANDING)

        assert (lease.key.node, lease.delivery) == ("a", 1)
        store.settle([end(lease)])
        assert store.snapshot(RunId("run of a"))[0].state is State.SUCCEEDED

    def test_with_what_came_since(self, store: RedisStore) -> None:
        with closing(store.listen("work", worker="w")):
            store.claim(STANDING)
            submit(store, "a")
            submit(store, "b")

        assert [lease.key.node for lease in store.claim(STANDING)] == ["a", "b"]

    def test_what_was_claimed_is_not_heard_once_more(self, store: RedisStore, bell: Bell) -> None:
        store.claim(STANDING)
        submit(store, "a")

        assert len(store.claim(STANDING)) == 1
        assert hear(bell).leases == ()

    def test_a_settlement_brings_it_too(self, store: RedisStore) -> None:
        with closing(store.listen("work", worker="w")):
            submit(store, "a")
            (lease,) = store.claim(STANDING)
            submit(store, "b")

        settled = store.settle([end(lease)], want=STANDING)

        assert [one.key.node for one in settled.leases] == ["b"]

    def test_who_claims_in_the_step_that_brings_work_is_given_it_once(
        self, store: RedisStore, bell: Bell
    ) -> None:
        parent = NodeId("parent")
        children = (Node(NodeId(f"c{i}"), "fn", b"args", edges=(Edge(parent),)) for i in range(5))
        store.submit([Plan(RunId("r"), (Node(parent, "fn", b"args"), *children))])
        (lease,) = store.claim(STANDING)

        settled = store.settle([end(lease)], want=STANDING)

        assert [one.key.node for one in settled.leases] == ["c0", "c1"]
        assert is_silent(bell)
        running = [node.id for node in store.snapshot(RunId("r"))[0].nodes if node.state is State.RUNNING]
        assert running == ["c0", "c1"]

    def test_who_does_not_listen_is_given_nothing(self, store: RedisStore) -> None:
        store.claim(STANDING)
        submit(store, "a")

        assert store.snapshot(RunId("run of a"))[0].nodes[0].state is State.QUEUED
        assert len(store.claim(Want(WorkerId("other"), ("default",), 1))) == 1

    def test_who_takes_it_back_is_given_nothing(self, store: RedisStore, bell: Bell) -> None:
        store.claim(STANDING)
        store.claim(Want(WorkerId("w"), STANDING.queues, 0))
        submit(store, "a")

        assert is_silent(bell)
        assert len(store.claim(Want(WorkerId("other"), ("default",), 1))) == 1

    def test_nor_from_a_queue_that_is_paused(self, store: RedisStore, bell: Bell) -> None:
        store.claim(STANDING)
        store.pause("default")
        bell.hush()
        submit(store, "a")

        assert hear(bell).leases == ()
        assert store.claim(STANDING) == []
        store.pause("default", resume=True)
        bell.hush()
        submit(store, "b")
        assert [lease.key.node for lease in hear(bell).leases] == ["a", "b"]

    def test_what_is_for_one_worker_is_given_to_it(self, store: RedisStore, bell: Bell) -> None:
        store.claim(STANDING)
        submit(store, "a", queue="worker/w")

        assert [lease.key.node for lease in hear(bell).leases] == ["a"]

    def test_what_was_never_taken_up_runs_out(
        self, store: RedisStore, bell: Bell, clock: ManualClock
    ) -> None:
        store.claim(STANDING)
        submit(store, "a")
        clock.advance(16)
        store.reap()

        (lease,) = store.claim(Want(WorkerId("other"), ("default",), 1))

        assert lease.delivery == 2

    def test_what_others_say_there_is_a_ring(self, store: RedisStore, bell: Bell) -> None:
        store.claim(STANDING)
        for text in (b"", b"\0\0\0\1", b"\0\0\0\x08\x92\x92\xa1n\x90\x90", bytes(range(256))):
            store._ask("PUBLISH", store._key("work:w"), text)
            assert hear(bell) == Heard(is_turn=True)


class TestNews:
    def test_what_ended_is_told(self, store: RedisStore, ends: Bell) -> None:
        after = store.events(-1)[0].cursor if store.events(-1) else 0
        submit(store, "a")
        (lease,) = store.claim(STANDING)
        store.settle([end(lease)])

        heard = hear(ends)

        assert list(heard.events) == store.events(heard.after)
        assert heard.after == after
        assert heard.values == {"a": store.values([NodeId("a")])[NodeId("a")]}

    def test_news_follow_one_another(self, store: RedisStore, ends: Bell) -> None:
        submit(store, "a", "b")
        first, second = store.claim(STANDING)
        store.settle([end(first)])
        store.settle([end(second, b"", Kind.FAILED)])

        heard = hear(ends)
        while heard.events[-1].cursor < store.events(-1)[0].cursor:
            more = hear(ends)
            assert more.after == heard.events[-1].cursor
            heard = more._replace(after=heard.after, events=heard.events + more.events)

        assert list(heard.events) == store.events(heard.after)

    def test_what_was_told_together_is_one(self, store: RedisStore, ends: Bell) -> None:
        submit(store, "a", "b")
        first, second = store.claim(STANDING)
        for lease in (first, second):
            store.settle([end(lease)])
        hear(ends)
        submit(store, "c", "d", run="another")
        first, second = store.claim(STANDING)
        for lease in (first, second):
            store.settle([end(lease)])
        select.select([ends.fileno()], [], [], 5.0)
        store._ask("PING")

        heard = ends.hush()

        assert list(heard.events) == store.events(heard.after)[: len(heard.events)]

    def test_a_replaced_node_is_asked_for(self, store: RedisStore, ends: Bell) -> None:
        parent, child = NodeId("a"), NodeId("b")
        plan = (Node(parent, "fn", b"x"), Node(child, "fn", b"y", edges=(Edge(parent, EdgeMode.FAILED),)))
        store.submit([Plan(RunId("r"), plan)])
        (lease,) = store.claim(STANDING)
        store.settle([end(lease)])

        heard = hear(ends)

        assert {event.node for event in heard.events} >= {"a", "b"}
        assert all(segments == store.values([node])[node] for node, segments in heard.values.items())

    def test_many_are_asked_for(self, store: RedisStore, ends: Bell) -> None:
        submit(store, *(f"n{i}" for i in range(200)))
        leases = store.claim(Want(WorkerId("w"), ("default",), 200))
        store.settle([end(lease) for lease in leases])

        assert hear(ends) == Heard()

    def test_a_large_value_is_asked_for(self, store: RedisStore, ends: Bell) -> None:
        submit(store, "a")
        (lease,) = store.claim(STANDING)
        store.settle([end(lease, b"x" * 10_000)])

        heard = hear(ends)

        assert heard.events[-1].state is State.SUCCEEDED
        assert heard.values == {}

    def test_a_gap_is_no_news(self, store: RedisStore, ends: Bell) -> None:
        submit(store, "a")
        (lease,) = store.claim(STANDING)
        store._ask("SET", store._key("said"), 1)
        store._ask("XTRIM", store._key("events"), "MAXLEN", 0)
        store.settle([end(lease)])

        assert hear(ends) == Heard()

    def test_what_others_say_there_is_a_ring(self, store: RedisStore, ends: Bell) -> None:
        for text in (b"", b"\0\0\0\1", b"\0\0\0\x08\x92\x92\xa1n\x90\x90", bytes(range(256))):
            store._ask("PUBLISH", store._key("ends"), text)
            assert hear(ends) == Heard()


def test_a_retry_is_handed_over_when_it_is_due(store: RedisStore, bell: Bell, clock: ManualClock) -> None:
    submit(store, "a")
    (lease,) = store.claim(STANDING)
    store.settle([Settlement(lease.key, (Outcome(0, 1, Kind.RETRY, delay_s=5.0),))], want=STANDING)
    bell.hush()
    clock.advance(6)
    store.reap()

    heard = hear(bell)
    while not heard.leases:  # a ring from before
        heard = hear(bell)
    (again,) = heard.leases
    assert (again.key.node, again.attempt) == ("a", 2)
