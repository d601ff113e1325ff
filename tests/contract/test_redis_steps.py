"""What would keep a server busy for too long is done a piece at a time, with the same outcome."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.links.redis import Library
from taskflow.machine import releasing
from taskflow.policy import Policy
from taskflow.records import (
    Edge,
    EdgeMode,
    Growth,
    Kind,
    Lease,
    Node,
    Outcome,
    Plan,
    Settled,
    Settlement,
    Want,
)
from taskflow.states import State
from taskflow.stores import redis, redis_ask, redis_scripts
from taskflow.stores.memory import MemoryStore
from taskflow.stores.redis import RedisStore
from taskflow.testing import ManualClock
from taskflow.testing.histories import live
from tests.servers import RedisServer, running

_numbers = itertools.count()
MANY = 25


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    yield from running("valkey")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of the server that take four nodes, instead of a thousand or two."""
    text = redis_scripts.moves().text
    small, count = re.subn(r"(local \w+_PER_STEP = )\d+", r"\g<1>4", text)
    assert count == 4
    library = Library("steps_", re.sub(redis_scripts.moves().prefix[:-1], "steps", small))
    monkeypatch.setattr(redis_ask, "moves", lambda: library)
    monkeypatch.setattr(redis, "PIECE_NODES", 4)
    monkeypatch.setattr(releasing, "RELEASES_PER_STEP", 4)


@pytest.fixture
def store(server: RedisServer, clock: ManualClock) -> Iterator[RedisStore]:
    store = RedisStore(f"{server.url}?namespace=s{next(_numbers)}", clock=clock)
    yield store
    store.close()


def node(name: str, *edges: Edge, on_failure: str = "continue") -> Node:
    return Node(NodeId(name), "fn", b"args", edges, policy=Policy(on_failure=on_failure))  # type: ignore[arg-type]


def stopping(count: int = MANY) -> Plan:
    """The first node stops the run when it fails; one handles that, the others do not need it."""
    first, handler = node("n0", on_failure="stop"), node("h", Edge(NodeId("n0"), EdgeMode.FAILED))
    rest = [node(f"n{i}", *([Edge(NodeId(f"n{i - 1}"))] if i % 3 else [])) for i in range(1, count)]
    return Plan(RunId("run"), (first, *rest, handler))


def fail_first(store: RedisStore | MemoryStore) -> None:
    (lease,) = store.claim(Want(WorkerId("w"), ("default",), 1))
    assert lease.key.node == "n0"
    store.settle([Settlement(lease.key, (Outcome(0, 1, Kind.FAILED, error="{}"),))])


def go_on(store: RedisStore | MemoryStore) -> int:
    """Let the store do what is left to do; how many steps that took."""
    return sum(1 for _ in itertools.takewhile(lambda _: store.reap() == 0.0, itertools.count()))


def states(store: RedisStore | MemoryStore, run: str = "run") -> dict[str, State]:
    return {str(view.id): view.state for view in store.snapshot(RunId(run))[0].nodes}


def test_a_run_is_stopped_a_piece_at_a_time(store: RedisStore, clock: ManualClock) -> None:
    store.submit([stopping()])
    go_on(store)

    fail_first(store)
    assert sum(state is State.CANCELLED for state in states(store).values()) == 3
    steps = go_on(store)

    memory = MemoryStore(clock=clock)
    memory.submit([stopping()])
    fail_first(memory)
    go_on(memory)
    assert states(store) == states(memory)
    assert states(store)["h"] is State.QUEUED
    assert steps >= MANY // 4
    assert store.snapshot(RunId("run"))[0].counts == memory.snapshot(RunId("run"))[0].counts
    assert all(well for _, well, _ in store.check())


def test_what_began_while_a_run_was_being_stopped_is_told(store: RedisStore) -> None:
    store.submit([stopping()])
    go_on(store)
    fail_first(store)

    leases = store.claim(Want(WorkerId("w"), ("default",), 3))
    go_on(store)

    told = store.renew([lease.key for lease in leases], lease_s=15.0)
    assert set(told.cancelled) == {lease.key for lease in leases if lease.key.node != "h"}
    assert told.cancelled


def test_a_large_run_is_run_again_a_piece_at_a_time_and_begins_as_a_whole(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.submit([stopping()])
    go_on(store)
    fail_first(store)
    go_on(store)
    for lease in store.claim(Want(WorkerId("w"), ("default",), 1)):
        store.settle([Settlement(lease.key, (Outcome(0, 1, Kind.SUCCEEDED, b"v"),))])
    step, pieces = store._step, []

    def watched(verb: str, *given: object) -> object:
        if verb == "clone_piece":
            pieces.append(store.claim(Want(WorkerId("w"), ("default",), 1)))
            assert [run.id for run in store.runs()] == ["run"]
        return step(verb, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(store, "_step", watched)
        names = store.rerun(RunId("run"), RunId("again"))
    assert store.rerun(RunId("run"), RunId("again")) == names
    go_on(store)

    assert set(names) == {"h", *(f"n{i}" for i in range(MANY))}
    assert len(pieces) >= MANY // 4
    assert not any(pieces)
    view, _ = store.snapshot(RunId("again"))
    assert view.counts == {State.QUEUED: 1 + MANY // 3, State.BLOCKED: MANY - MANY // 3}
    assert all(well for _, well, _ in store.check())


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_rerun_of_which_a_part_came_is_not_there_and_may_be_asked_for_again(
    store: RedisStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    store.submit([stopping()])
    store.cancel(RunId("run"))
    go_on(store)
    step, count = store._step, itertools.count()

    def dying(verb: str, *given: object) -> object:
        if verb == "clone_piece" and next(count) == steps:
            raise KeyboardInterrupt
        return step(verb, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(store, "_step", dying)
        with pytest.raises(KeyboardInterrupt):
            store.rerun(RunId("run"), RunId("again"))
        assert [run.id for run in store.runs()] == ["run"]

    names = store.rerun(RunId("run"), RunId("again"))
    assert len(names) == MANY + 1
    assert store.runs()[0].total == MANY + 1

    with monkeypatch.context() as patched:
        count = itertools.count()
        patched.setattr(store, "_step", dying)
        with pytest.raises(KeyboardInterrupt):
            store.rerun(RunId("run"), RunId("other"))
    clock.advance(121)
    store.reap()
    store.sweep(age_s=1000, size_bytes=1 << 40)
    assert not store._ask("EXISTS", store._key("n:other"), store._key("n:other.0"), store._key("hold:other"))


def test_what_grows_in_a_rerun_finds_the_clones_at_once(store: RedisStore) -> None:
    """Not by looking through all nodes of the run."""
    store.submit([Plan(RunId("run"), (node("a"), *(node(f"n{i}") for i in range(20))))])
    store.cancel(RunId("run"))
    names = store.rerun(RunId("run"), RunId("again"))
    go_on(store)
    lease, other = store.claim(Want(WorkerId("w"), ("default",), 2))
    read = store._ask("INFO", "commandstats")["cmdstat_hmget"]["calls"]

    growth = Growth((node("x", Edge(NodeId("n19"))),))
    store.settle([Settlement(lease.key, (Outcome(0, 1, Kind.SUCCEEDED, b"v"),), growth)])

    told = {view.id: view for view in store.snapshot(RunId("again"))[0].nodes}
    assert [edge.parent for edge in told[NodeId("x")].parents] == [names[NodeId("n19")]]
    assert other.key.node in told
    assert store._ask("INFO", "commandstats")["cmdstat_hmget"]["calls"] - read < 40


class Diligent:
    """A store that goes on with what a step has left before anything else is asked of it."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    def _go_on(self) -> None:
        while self._store._ask("LLEN", self._store._key("todo")):
            self._store.settle([])

    def submit(self, plans: Sequence[Plan], /) -> Mapping[RunId, RunId]:
        held = self._store.submit(plans)
        self._go_on()
        return held

    def purge(self, queue: str, /) -> int:
        items = self._store.purge(queue)
        self._go_on()
        return items

    def cancel(self, target: NodeId, /, **more: Any) -> bool:
        changed = self._store.cancel(target, **more)
        self._go_on()
        return changed

    def rerun(self, run: RunId, new: RunId, /) -> Mapping[NodeId, NodeId]:
        names = self._store.rerun(run, new)
        self._go_on()
        return names

    def reap(self, /, *, limit: int = 1000) -> float | None:
        while (rest_s := self._store.reap(limit=limit)) == 0.0:
            self._go_on()
        return rest_s

    def settle(self, done: Sequence[Settlement], /, *, want: Want | None = None) -> Settled:
        settled = self._store.settle(done)
        self._go_on()
        leases = [] if want is None else self._store.claim(want)
        return settled._replace(leases=leases)

    def claim(self, want: Want, /) -> list[Lease]:
        leases = self._store.claim(want)
        self._go_on()
        return leases


@pytest.mark.timeout(600)
def test_small_steps_live_as_the_oracle_says(server: RedisServer) -> None:
    def opened(clock: ManualClock) -> Any:
        return Diligent(RedisStore(f"{server.url}?namespace=h{next(_numbers)}", clock=clock))

    live(opened, examples=8, steps=25, shrink=False)
