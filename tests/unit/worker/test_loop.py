"""A worker's turns, over the memory store, with a clock that only the test moves."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from taskflow.codec import Keyring
from taskflow.errors import ConfigError, ResultExpired, UnknownNode
from taskflow.ids import NodeId, WorkerId, new_id
from taskflow.policy import Policy
from taskflow.records import (
    WORKERS,
    Edge,
    Failure,
    Growth,
    Heard,
    Kind,
    Lease,
    LeaseKey,
    Node,
    Note,
    Outcome,
    Posted,
    Segment,
    Settlement,
    Want,
)
from taskflow.states import State
from taskflow.worker.inputs import Inputs
from taskflow.worker.loop import Worker
from taskflow.worker.queues import Queues
from taskflow.worker.steward import opened, sealed
from taskflow.worker.wishes import ALL, Setting, What, Wishes
from tests.unit.worker.doubles import Clock, FlakyStore, HeldPool, submit_call, submit_map

LEASE_S = 15.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> FlakyStore:
    return FlakyStore(clock=clock)


@pytest.fixture
def pool() -> HeldPool:
    return HeldPool()


@pytest.fixture
def worker(store: FlakyStore, pool: HeldPool, clock: Clock) -> Iterator[Worker]:
    worker = Worker(store, pool, lease_s=LEASE_S, name="w1", clock=clock)
    yield worker
    store.away = False
    worker.close()


def settle_down(worker: Worker) -> None:
    """Turn until there is nothing to do."""
    for _ in range(100):
        if not worker.step(0):
            return
    raise AssertionError("the worker never comes to rest")


def state_of(store: FlakyStore, node: NodeId) -> State:
    return store.snapshot(store.find(node)[0])[0].nodes[0].state


def only_key(pool: HeldPool) -> LeaseKey:
    (key,) = pool.running
    return key


# ── the way of a call ────────────────────────────────────────────────────────────────


def test_a_call_is_claimed_run_and_settled(store: FlakyStore, pool: HeldPool, worker: Worker) -> None:
    node = submit_call(store)
    settle_down(worker)
    assert state_of(store, node) is State.RUNNING

    pool.end(only_key(pool))
    settle_down(worker)

    assert state_of(store, node) is State.SUCCEEDED
    assert worker.held == 0


def test_it_settles_and_claims_in_one_step_of_the_store(
    store: FlakyStore, pool: HeldPool, worker: Worker
) -> None:
    for _ in range(3):
        submit_call(store)
    settle_down(worker)
    store.asked.clear()

    pool.end(next(iter(pool.running)))
    worker.step(0)

    assert store.asked[:1] == ["settle"]
    assert "claim" not in store.asked
    assert len(pool.started) == 3


def test_it_asks_for_no_more_than_the_pool_has_room_for(
    store: FlakyStore, pool: HeldPool, worker: Worker
) -> None:
    nodes = [submit_call(store) for _ in range(5)]

    settle_down(worker)

    assert [state_of(store, n) for n in nodes].count(State.RUNNING) == pool.slots


def test_an_idle_worker_asks_nothing_of_the_store(store: FlakyStore, worker: Worker) -> None:
    settle_down(worker)
    store.asked.clear()

    for _ in range(5):
        assert not worker.step(0)

    assert store.asked == []


class Hand:
    """A bell by which the store gives what is queued: as Redis does for a claim that stands."""

    def __init__(self, store: FlakyStore) -> None:
        self._store = store
        self._read, self._write = os.pipe()
        os.write(self._write, b"!")

    def fileno(self) -> int:
        return self._read

    def hush(self) -> Heard:
        os.read(self._read, 1)
        return Heard(is_turn=True, leases=tuple(self._store.claim(Want(WorkerId("w1"), ("default",), 1))))

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


def handed(worker: Worker, store: FlakyStore) -> None:
    """What is queued is handed to the worker in its next turn."""
    worker._bell.close()
    worker._bell = Hand(store)


def test_what_is_handed_to_it_starts_before_it_looks_at_anything_else(
    store: FlakyStore, pool: HeldPool, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, finished = list[int](), pool.finished

    def look() -> tuple[list[Settlement], list[Note]]:
        looks.append(len(pool.started))
        return finished()

    settle_down(worker)
    node = submit_call(store)
    handed(worker, store)
    monkeypatch.setattr(pool, "finished", look)
    worker.step(0)

    assert looks == [1]
    assert only_key(pool).node == node


def test_what_is_handed_to_it_while_the_store_is_away_starts_when_it_is_back(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_down(worker)
    parent = submit_call(store)
    settle_down(worker)
    pool.end(only_key(pool))
    settle_down(worker)
    worker._inputs = Inputs(store)  # it does not know the value of that call any more
    child = submit_call(store, edges=(Edge(parent),))
    handed(worker, store)
    hush = worker._bell.hush

    def hush_and_go() -> Heard:
        heard = hush()
        store.away = True
        return heard

    monkeypatch.setattr(worker._bell, "hush", hush_and_go)
    worker.step(0)
    assert not pool.running

    store.away = False
    clock.pass_s(1.0)
    settle_down(worker)

    assert only_key(pool).node == child


def test_a_sleeping_worker_wakes_for_new_work(store: FlakyStore, pool: HeldPool) -> None:
    pool.instant = True
    worker = Worker(store, pool)
    thread = threading.Thread(target=worker.run)
    thread.start()
    watch = store.listen("watch")

    node = submit_call(store)

    while state_of(store, node) is not State.SUCCEEDED:
        os.read(watch.fileno(), 1) if _readable(watch.fileno()) else None
    worker.stop(drain_s=0)
    thread.join(10)
    watch.close()
    assert not thread.is_alive()
    assert store.workers() == []


def _readable(fd: int) -> bool:
    import select

    return bool(select.select([fd], [], [], 1.0)[0])


def test_inputs_and_pages_are_read_once_for_all_leases_of_a_turn(
    store: FlakyStore, pool: HeldPool, worker: Worker
) -> None:
    parent = submit_call(store)
    (lease,) = store.claim(Want(WorkerId("another"), ("default",), 1))
    store.settle([Settlement(lease.key, (Outcome(0, 1, Kind.SUCCEEDED, b"seven"),))])
    for _ in range(2):
        submit_call(store, edges=(Edge(parent),))
    store.asked.clear()

    settle_down(worker)

    assert store.asked.count("values") == 1
    assert [inputs for _, inputs, _ in pool.started] == [
        {Edge(parent): [Segment(parent, 0, 1, State.SUCCEEDED, b"seven", None, 1)]}
    ] * 2


def test_what_its_own_calls_gave_is_not_read(store: FlakyStore, pool: HeldPool, worker: Worker) -> None:
    parent, array = submit_call(store), submit_map(store, 1)
    settle_down(worker)
    for key in list(pool.running):
        pool.end(key, Outcome(0, 1, Kind.SUCCEEDED, b"seven"))
    settle_down(worker)
    store.asked.clear()

    submit_call(store, edges=(Edge(parent),))
    settle_down(worker)

    assert store.asked.count("values") == 0
    assert pool.started[-1][1] == {Edge(parent): [Segment(parent, 0, 1, State.SUCCEEDED, b"seven", None, 1)]}

    submit_call(store, edges=(Edge(array),))
    settle_down(worker)

    assert store.asked.count("values") == 1
    assert pool.started[-1][1][Edge(array)] == store.values([array])[array]


def test_a_range_comes_with_its_pages_and_they_are_read_once(
    store: FlakyStore, pool: HeldPool, worker: Worker
) -> None:
    pool.pace_s["f"] = 0.01
    node = submit_map(store, 8)
    store.asked.clear()

    while state_of(store, node) is not State.SUCCEEDED:
        settle_down(worker)
        for key in list(pool.running):
            pool.end(key, Outcome(key.lo, key.hi, Kind.SUCCEEDED, b"values"))

    for lease, _, pages in pool.started:
        assert pages[0].lo <= lease.key.lo
        assert pages[-1].hi >= lease.key.hi
    assert store.asked.count("pages") <= 2


def test_the_parts_of_a_range_are_settled_as_they_come(
    store: FlakyStore, pool: HeldPool, worker: Worker
) -> None:
    pool.slots, pool.pace_s["f"] = 1, 0.001
    node = submit_map(store, 6)
    settle_down(worker)
    key = only_key(pool)

    pool.end(key, Outcome(key.lo + 1, key.lo + 2, Kind.SUCCEEDED, b"v"), last=False)
    settle_down(worker)
    assert worker.held == 1
    pool.end(
        key,
        Outcome(key.lo, key.lo + 1, Kind.SUCCEEDED, b"v"),
        Outcome(key.lo + 2, key.hi, Kind.SUCCEEDED, b"v"),
    )
    settle_down(worker)
    while pool.running:
        pool.end(only_key(pool))
        settle_down(worker)

    assert state_of(store, node) is State.SUCCEEDED


# ── failures that are not the task's ─────────────────────────────────────────────────


def test_a_call_whose_input_was_forgotten_fails_and_says_why(
    store: FlakyStore, pool: HeldPool, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = submit_call(store)
    settle_down(worker)
    pool.end(only_key(pool))
    settle_down(worker)
    child, other = submit_call(store, edges=(Edge(parent),)), submit_call(store)
    monkeypatch.setattr(worker._inputs, "_values", type(worker._inputs._values)())

    def gone(nodes: object) -> object:
        raise ResultExpired("the run was removed", expired_at=0.0)

    monkeypatch.setattr(worker._inputs._source, "values", gone)
    settle_down(worker)
    monkeypatch.undo()

    assert state_of(store, child) is State.FAILED
    assert "removed" in str(store.items(child)[0].error)
    assert state_of(store, other) is State.RUNNING


def test_a_call_that_the_pool_cannot_run_fails_alone(
    store: FlakyStore, pool: HeldPool, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(lease: Lease, inputs: object, pages: object) -> None:
        raise ConfigError("threads cannot be killed: no time_limit here")

    monkeypatch.setattr(pool, "start", refuse)
    node = submit_call(store, policy=Policy(time_limit_s=1.0))

    settle_down(worker)

    failure = Failure.from_json(store.items(node)[0].error or "")
    assert (state_of(store, node), failure.data["error"]) == (State.FAILED, "ConfigError")


def test_an_outcome_that_cannot_be_stored_fails_its_item_and_no_other(
    store: FlakyStore, pool: HeldPool, worker: Worker
) -> None:
    bad, good = submit_call(store), submit_call(store)
    settle_down(worker)
    keys = {key.node: key for key in pool.running}
    hole = Node(NodeId(new_id()), "f", b"", edges=(Edge(NodeId("nowhere")),))

    pool.end(keys[good])
    pool._ended.append(
        Settlement(keys[bad], (Outcome(0, 1, Kind.REPLACED),), Growth(nodes=(hole,), final=hole.id))
    )
    settle_down(worker)

    assert state_of(store, good) is State.SUCCEEDED
    assert state_of(store, bad) is State.FAILED
    assert UnknownNode.__name__ in str(store.items(bad)[0].error)


def test_an_unexpected_error_ends_run_after_releasing(store: FlakyStore, pool: HeldPool) -> None:
    node = submit_call(store)
    worker = Worker(store, pool)
    settle_down(worker)

    def broken() -> object:
        raise ZeroDivisionError("a bug")

    pool.finished = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(ZeroDivisionError):
        worker.run()

    assert pool.closed
    assert state_of(store, node) is State.QUEUED
    assert store.items(node)[0].deliveries == 0


# ── leases ───────────────────────────────────────────────────────────────────────────


def test_leases_are_renewed_long_before_they_run_out(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    node = submit_call(store)
    settle_down(worker)

    for _ in range(8):
        clock.pass_s(LEASE_S / 3)
        settle_down(worker)

    assert state_of(store, node) is State.RUNNING
    assert store.items(node)[0].deliveries == 1
    assert pool.killed == []


def test_a_cancelled_call_is_stopped_as_soon_as_the_bell_rings(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    node = submit_call(store)
    settle_down(worker)
    clock.pass_s(0.1)

    store.cancel(node, reason="changed my mind")
    settle_down(worker)

    assert [reason for _, reason in pool.killed] == ["changed my mind"]
    assert state_of(store, node) is State.CANCELLED


def test_many_rings_do_not_make_many_renewals(store: FlakyStore, worker: Worker, clock: Clock) -> None:
    submit_call(store)
    settle_down(worker)
    clock.pass_s(1.0)
    store.asked.clear()

    for _ in range(20):
        clock.pass_s(0.01)
        store._ring("work")
        worker.step(0)

    assert store.asked.count("renew") <= 5


def test_a_lost_lease_is_stopped_and_its_outcome_dropped(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    node = submit_call(store)
    settle_down(worker)
    clock.at += LEASE_S + 1
    store.reap()
    store.claim(Want(WorkerId("other"), ("default",), 1))

    settle_down(worker)

    assert len(pool.killed) == 1
    assert worker.held == 0
    assert state_of(store, node) is State.RUNNING


def test_it_gives_up_its_leases_before_others_may_have_them(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    node = submit_call(store)
    settle_down(worker)
    store.away = True

    while clock.at < 1_000_000.0 + LEASE_S - 2.5:
        clock.pass_s(0.5)
        worker.step(0)
    assert pool.killed == []
    clock.pass_s(1.0)
    worker.step(0)
    worker.step(0)

    assert [key.node for key, _ in pool.killed] == [node]
    store.away = False
    clock.pass_s(5.0)
    worker.step(0)
    assert state_of(store, node) in (State.QUEUED, State.RUNNING)


def test_outcomes_are_kept_while_the_store_is_away(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    node = submit_call(store)
    settle_down(worker)
    store.away = True
    pool.end(only_key(pool))
    settle_down(worker)

    store.away = False
    clock.pass_s(5.0)
    settle_down(worker)

    assert state_of(store, node) is State.SUCCEEDED


def test_a_store_that_is_away_is_asked_less_and_less_often(
    store: FlakyStore, worker: Worker, clock: Clock
) -> None:
    settle_down(worker)
    submit_call(store)
    store.away = True
    store.asked.clear()

    for _ in range(1000):
        clock.pass_s(0.01)
        worker.step(0)

    assert 3 < len(store.asked) < 20


def test_leases_that_were_claimed_but_not_read_are_started_when_the_store_is_back(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = submit_map(store, 2)
    claim = store.claim

    def claim_and_go_away(want: Want) -> list[Lease]:
        leases = claim(want)
        store.away = True
        return leases

    monkeypatch.setattr(store, "claim", claim_and_go_away)
    settle_down(worker)
    assert (worker.held, pool.started) == (2, [])

    monkeypatch.undo()
    store.away = False
    clock.pass_s(5.0)
    settle_down(worker)

    assert len(pool.started) == 2
    assert state_of(store, node) is not State.FAILED


def test_after_a_pause_it_renews_before_it_reaps(store: FlakyStore, worker: Worker, clock: Clock) -> None:
    submit_call(store)
    settle_down(worker)
    other = submit_call(store, queue="elsewhere")
    store.claim(Want(WorkerId("other"), ("elsewhere",), 1, lease_s=LEASE_S))
    store.asked.clear()
    poll = worker._poll

    class Pausing:
        """The process is stopped while it waits."""

        def poll(self, _: float) -> list[tuple[int, int]]:
            worker._poll = poll
            clock.pass_s(60.0)
            return []

    worker._poll = Pausing()  # type: ignore[assignment]
    worker.step(0)
    assert store.asked[0] == "renew"
    assert "reap" not in store.asked
    assert state_of(store, other) is State.RUNNING

    clock.pass_s(1.5)
    worker.step(0)

    assert "reap" in store.asked


# ── time ─────────────────────────────────────────────────────────────────────────────


def test_what_is_due_later_is_claimed_when_it_is_due(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    submit_call(store, delay_s=2.0)
    settle_down(worker)
    assert not pool.started

    clock.pass_s(2.2)
    settle_down(worker)

    assert len(pool.started) == 1


def test_a_retry_runs_when_its_wait_is_over(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    submit_call(store)
    settle_down(worker)
    pool.end(only_key(pool), Outcome(0, 1, Kind.RETRY, delay_s=0.3))
    settle_down(worker)

    clock.pass_s(0.35)
    settle_down(worker)

    assert [lease.attempt for lease, _, _ in pool.started] == [1, 2]


def test_the_work_of_a_dead_worker_is_taken_over(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    submit_call(store)
    store.claim(Want(WorkerId("dead"), ("default",), 1, lease_s=LEASE_S))
    settle_down(worker)

    for _ in range(20):
        clock.pass_s(0.9)
        settle_down(worker)

    assert [lease.delivery for lease, _, _ in pool.started] == [2]


def test_it_says_that_it_lives_and_how_many_share_the_work(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    settle_down(worker)
    other = Worker(store, HeldPool(6), name="w2", clock=clock)
    settle_down(other)
    clock.pass_s(1.1)
    settle_down(worker)

    names = {view.id: view.slots for view in store.workers()}
    other.close()

    assert names == {"w1": 2, "w2": 6}
    assert worker._share == 8
    assert [view.id for view in store.workers()] == ["w1"]


def test_it_tidies_up_when_nothing_was_held_for_a_while(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    clock.pass_s(100.0)
    pool.instant = True
    submit_call(store)
    settle_down(worker)
    assert "sweep" not in store.asked

    for _ in range(30):
        clock.pass_s(1.1)
        settle_down(worker)

    assert store.asked.count("sweep") == 1


# ── stop ─────────────────────────────────────────────────────────────────────────────


def test_a_draining_worker_lets_calls_end_and_takes_no_more(store: FlakyStore, pool: HeldPool) -> None:
    running, waiting = submit_call(store), submit_call(store)
    pool.slots = 1
    worker = Worker(store, pool)
    settle_down(worker)

    worker.stop(drain_s=30.0)
    settle_down(worker)
    pool.end(only_key(pool))
    worker.run()

    assert (state_of(store, running), state_of(store, waiting)) == (State.SUCCEEDED, State.QUEUED)


def test_a_cold_stop_gives_everything_back_uncharged(store: FlakyStore, pool: HeldPool) -> None:
    node = submit_map(store, 6)
    worker = Worker(store, pool)
    settle_down(worker)

    worker.stop(drain_s=0.0)
    worker.run()

    assert state_of(store, node) is State.QUEUED
    assert {item.deliveries for item in store.items(node)} == {0}


def test_a_drain_that_takes_too_long_ends(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    node = submit_call(store)
    settle_down(worker)
    worker.stop(drain_s=5.0)
    assert worker._goes_on()

    clock.pass_s(5.0)
    worker.run()

    assert state_of(store, node) is State.QUEUED


def test_the_end_of_the_parent_stops_it_at_once(store: FlakyStore, pool: HeldPool) -> None:
    reader, writer = os.pipe()
    node = submit_call(store)
    worker = Worker(store, pool, parent_fd=reader)
    settle_down(worker)

    os.close(writer)
    worker.run()
    os.close(reader)

    assert state_of(store, node) is State.QUEUED
    assert pool.closed


def test_the_parent_may_resize_the_pool(store: FlakyStore, pool: HeldPool, clock: Clock) -> None:
    reader, writer = os.pipe()
    worker = Worker(store, pool, parent_fd=reader, clock=clock)
    for _ in range(5):
        submit_call(store)
    settle_down(worker)

    os.write(writer, b"slots 4\n")
    settle_down(worker)

    assert len(pool.running) == 4
    assert store.workers()[0].slots == 4
    worker.close()
    os.close(writer)
    os.close(reader)


def test_an_idle_worker_goes_away_but_not_while_something_is_due_later(
    store: FlakyStore, pool: HeldPool, clock: Clock
) -> None:
    worker = Worker(store, pool, idle_exit_s=60.0, clock=clock)
    node = submit_call(store, delay_s=100.0)
    settle_down(worker)
    clock.pass_s(61.0)
    settle_down(worker)
    assert worker._goes_on()

    store.cancel(node)
    clock.pass_s(61.0)
    settle_down(worker)

    worker.run()
    assert pool.closed


def test_work_that_comes_at_the_last_moment_keeps_an_idle_worker(
    store: FlakyStore, pool: HeldPool, clock: Clock
) -> None:
    worker = Worker(store, pool, idle_exit_s=60.0, clock=clock)
    settle_down(worker)
    clock.pass_s(61.0)
    submit_call(store)

    assert worker._goes_on()
    settle_down(worker)

    assert len(pool.running) == 1
    assert len(store.workers()) == 1
    worker.close()


def test_closing_twice_is_closing_once(store: FlakyStore, pool: HeldPool) -> None:
    worker = Worker(store, pool)

    worker.close()
    worker.close()

    assert pool.closed


# ── what is wanted of it ─────────────────────────────────────────────────────────────


def tell(store: FlakyStore, worker: str, what: What, value: object) -> int:
    """Want something of a worker, as `taskflow.control` does; the revision."""
    ring = Keyring.load()
    known = store.posted(WORKERS) or Posted(0, b"")
    wishes = opened(ring, known.body, known.revision) if known.body else Wishes()
    revision = known.revision + 1
    new = wishes.having([Setting(revision, worker, what, value)])
    assert store.post(WORKERS, known.revision, sealed(ring, new, revision))
    return revision


def said(store: FlakyStore) -> dict[str, object]:
    (view,) = store.workers()
    return {"slots": view.slots, "queues": view.queues, **view.info}


def test_a_worker_says_what_it_follows(store: FlakyStore, worker: Worker, clock: Clock) -> None:
    settle_down(worker)
    before = said(store)["followed"]

    revision = tell(store, ALL, "slots", 3)
    clock.pass_s(0.5)
    settle_down(worker)

    assert (before, said(store)["followed"], said(store)["slots"]) == (0, revision, 5)


def test_a_worker_takes_nothing_before_it_knows_what_is_wanted(
    store: FlakyStore, pool: HeldPool, worker: Worker
) -> None:
    """It started when all were to be drained."""
    tell(store, ALL, "drain", True)
    submit_call(store)

    settle_down(worker)

    assert not pool.running
    assert said(store)["status"] == "drained"


def test_a_drained_worker_ends_what_runs_and_goes_on_when_it_is_resumed(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    first, second = submit_call(store), submit_call(store)
    pool.slots = 1
    settle_down(worker)
    tell(store, "w1", "drain", True)
    clock.pass_s(0.5)
    settle_down(worker)
    pool.end(only_key(pool))
    settle_down(worker)
    drained = (state_of(store, first), state_of(store, second))

    tell(store, "w1", "drain", False)
    clock.pass_s(0.5)
    settle_down(worker)

    assert drained == (State.SUCCEEDED, State.QUEUED)
    assert state_of(store, second) is State.RUNNING
    assert "status" not in said(store)


def test_calls_of_a_task_start_at_the_rate_that_was_told(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    pool.slots, pool.instant = 4, True
    tell(store, ALL, "rate", ["add", 0.5])
    slow = [submit_call(store, label="add") for _ in range(3)]
    quick = submit_call(store, label="mul")

    settle_down(worker)
    first = [state_of(store, node) for node in (*slow, quick)]
    clock.pass_s(2.0)
    settle_down(worker)

    assert first == [State.SUCCEEDED, State.RUNNING, State.RUNNING, State.SUCCEEDED]
    assert [state_of(store, node) for node in slow] == [State.SUCCEEDED, State.SUCCEEDED, State.RUNNING]
    clock.pass_s(10.0)
    settle_down(worker)
    assert said(store)["total"] == {"add": 3, "mul": 1}


def test_of_a_map_items_start_at_the_rate_that_was_told_and_the_rest_can_be_cancelled(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    pool.slots = 1
    tell(store, ALL, "rate", ["add", 0.5])
    node = submit_map(store, 4, label="add")
    settle_down(worker)
    (first,) = pool.running
    clock.pass_s(2.0)
    pool.end(first)
    settle_down(worker)
    started = [(lease.key.lo, lease.key.hi) for lease, _, _ in pool.started]

    store.cancel(node, reason="enough")
    clock.pass_s(0.5)
    settle_down(worker)

    assert started[0] == (0, 1)
    assert all(hi - lo == 1 for lo, hi in started)
    assert [key.lo for key, _ in pool.killed] == [started[-1][0]]
    assert {item.state for item in store.items(node)} == {State.SUCCEEDED, State.CANCELLED}
    assert worker.held == 0


def test_a_worker_that_keeps_much_asks_for_no_more(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    pool.slots = 1
    tell(store, ALL, "rate", ["add", 0.001])
    for _ in range(20):
        submit_call(store, label="add")
    other = submit_call(store, label="mul")

    settle_down(worker)
    pool.end(only_key(pool))
    settle_down(worker)

    assert worker.held == 4
    assert state_of(store, other) is State.QUEUED
    tell(store, ALL, "rate", ["add", None])
    clock.pass_s(0.5)
    settle_down(worker)
    assert len(pool.started) > 1


def test_what_is_kept_for_its_rate_can_be_cancelled_and_goes_back_when_the_worker_leaves(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    pool.instant = True
    tell(store, ALL, "rate", ["add", 0.001])
    started, kept, other = (submit_call(store, label="add") for _ in range(3))
    settle_down(worker)

    store.cancel(kept, reason="enough")
    clock.pass_s(0.5)
    settle_down(worker)
    cancelled = state_of(store, kept)
    worker.stop()
    settle_down(worker)

    assert state_of(store, started) is State.SUCCEEDED
    assert cancelled is State.CANCELLED
    assert state_of(store, other) is State.QUEUED
    assert worker.held == 0


def test_calls_get_the_limits_of_time_that_were_told(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    tell(store, ALL, "time", ["add", 3.0, 4.0])
    submit_call(store, label="add", policy=Policy(time_limit_s=60.0))

    settle_down(worker)

    policy = pool.started[0][0].policy
    assert (policy.soft_time_limit_s, policy.time_limit_s) == (3.0, 4.0)


def test_a_worker_that_is_told_to_start_anew_leaves_first(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    submit_call(store)
    settle_down(worker)
    tell(store, "w1", "restart", [store.workers()[0].started_at])
    clock.pass_s(0.5)
    settle_down(worker)

    assert worker.is_stopping
    assert worker.starts_anew
    assert pool.running


def test_a_drained_worker_stays_however_long_it_is_idle(
    store: FlakyStore, pool: HeldPool, clock: Clock
) -> None:
    worker = Worker(store, pool, name="w1", idle_exit_s=5.0, clock=clock)
    tell(store, ALL, "drain", True)
    for _ in range(10):
        clock.pass_s(5.0)
        settle_down(worker)

    assert worker._goes_on()
    worker.close()


def test_queues_come_and_go(store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock) -> None:
    node = submit_call(store, queue="gpu")
    settle_down(worker)
    before = state_of(store, node)

    tell(store, ALL, "queue", ["gpu", None])
    tell(store, ALL, "queue", ["default", 0])
    clock.pass_s(0.5)
    settle_down(worker)
    other = submit_call(store)
    settle_down(worker)

    assert (before, state_of(store, node), state_of(store, other)) == (
        State.QUEUED, State.RUNNING, State.QUEUED,
    )  # fmt: skip
    assert said(store)["queues"] == ("gpu",)


def test_a_worker_leaves_when_it_is_told(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    """When what runs has ended; one that started at another moment does not."""
    submit_call(store)
    settle_down(worker)
    tell(store, "w1", "shutdown", [0.0, True])
    clock.pass_s(0.5)
    settle_down(worker)
    stayed = not worker.is_stopping

    (view,) = store.workers()
    tell(store, "w1", "shutdown", [view.started_at, False])
    clock.pass_s(0.5)
    settle_down(worker)
    waits = worker._goes_on()
    pool.end(only_key(pool))
    settle_down(worker)

    assert (stayed, waits, worker._goes_on()) == (True, True, False)


def test_a_worker_that_is_to_leave_now_gives_back_what_runs(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock
) -> None:
    node = submit_call(store)
    settle_down(worker)
    tell(store, ALL, "shutdown", [None, True])
    clock.pass_s(0.5)

    worker.run()

    assert state_of(store, node) is State.QUEUED
    assert store.workers() == []


def test_what_nobody_with_the_key_has_written_is_not_followed(
    store: FlakyStore, pool: HeldPool, worker: Worker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so once; and follows again what is sealed well."""
    settle_down(worker)
    foreign = Wishes().having([Setting(1, ALL, "slots", 9)])
    store.post(WORKERS, 0, sealed(Keyring.ephemeral(), foreign, 1))
    for _ in range(3):
        clock.pass_s(10)
        settle_down(worker)
    refused = (said(store)["followed"], pool.slots, caplog.text.count("refused"))

    ring = Keyring.load()
    store.post(WORKERS, 1, sealed(ring, foreign, 2))
    clock.pass_s(10)
    settle_down(worker)

    assert refused == (0, 2, 1)
    assert pool.slots == 11


def test_the_bell_of_a_busy_store_makes_a_worker_look_twice_a_second_at_most(
    store: FlakyStore, worker: Worker, clock: Clock
) -> None:
    settle_down(worker)
    before = store.asked.count("posted")
    for _ in range(100):
        clock.pass_s(0.01)
        submit_call(store, queue="elsewhere")
        settle_down(worker)

    assert 1 <= store.asked.count("posted") - before <= 3


def test_a_worker_drops_what_was_wanted_of_those_that_are_gone(
    store: FlakyStore, worker: Worker, pool: HeldPool, clock: Clock
) -> None:
    tell(store, "gone", "slots", 1)
    tell(store, "w1", "slots", 1)
    submit_call(store)
    settle_down(worker)
    pool.end(only_key(pool))
    settle_down(worker)
    clock.pass_s(100)
    settle_down(worker)
    clock.pass_s(10)
    settle_down(worker)

    kept = store.posted(WORKERS)
    assert kept is not None
    assert [s.worker for s in opened(Keyring.load(), kept.body, kept.revision).settings] == ["w1"]
    assert said(store)["followed"] == kept.revision


def test_slots_follow_the_load(store: FlakyStore, clock: Clock) -> None:
    """More while work waits, fewer when there is none; a busy one is never stopped."""
    pool = HeldPool(1)
    worker = Worker(store, pool, name="w1", autoscale=(6, 1), clock=clock)
    nodes = [submit_call(store) for _ in range(4)]
    for _ in range(10):
        settle_down(worker)
        clock.pass_s(1.0)
    grown = (pool.slots, len(pool.running))
    for key in list(pool.running)[:3]:
        pool.end(key)
    for _ in range(40):
        settle_down(worker)
        clock.pass_s(1.0)

    assert grown[0] >= 4
    assert grown[1] == 4
    assert (pool.slots, len(pool.running), pool.killed) == (1, 1, [])
    assert sum(state_of(store, node) is State.SUCCEEDED for node in nodes) == 3
    worker.close()


def test_a_worker_that_scales_takes_its_queues_into_account(store: FlakyStore, clock: Clock) -> None:
    """What waits in another queue is not its affair."""
    pool = HeldPool(1)
    worker = Worker(store, pool, name="w1", autoscale=(6, 1), clock=clock)
    submit_call(store)
    for _ in range(5):
        submit_call(store, queue="elsewhere")
    for _ in range(10):
        settle_down(worker)
        clock.pass_s(1.0)

    assert pool.slots == 1
    worker.close()


@pytest.mark.parametrize(
    ("queues", "first"),
    [("high:3,default:1", 6), (Queues(("high", "default"), strict=True), 8), ("default,high", 0)],
)
def test_slots_are_shared_among_queues(
    store: FlakyStore, clock: Clock, queues: Queues | str, first: int
) -> None:
    """One slot is free at a time; the calls of high are the younger ones."""
    pool = HeldPool(1)
    worker = Worker(store, pool, queues=queues, name="w1", clock=clock)
    for queue in ("default", "high"):
        for _ in range(20):
            submit_call(store, queue=queue)
    for _ in range(8):
        settle_down(worker)
        pool.end(only_key(pool))
    settle_down(worker)

    assert [lease.queue for lease, _, _ in pool.started[:8]].count("high") == first
    worker.close()


def test_what_is_sent_to_one_worker_alone_goes_before_its_queues(store: FlakyStore, clock: Clock) -> None:
    pool = HeldPool(1)
    worker = Worker(store, pool, queues="high:3,default:1", name="w1", clock=clock)
    submit_call(store, queue="high", priority=9)
    node = submit_call(store, queue="worker/w1")
    settle_down(worker)

    assert [key.node for key in pool.running] == [node]
    worker.close()
