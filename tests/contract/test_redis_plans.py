"""Large plans go to the server in pieces: none of it runs before all of it is there."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import suppress

import pytest

from taskflow.errors import GraphError, UnknownNode, UsageError
from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.records import Edge, EdgeMode, Kind, Lease, Node, Outcome, Plan, Settlement, Want
from taskflow.states import State
from taskflow.stores import redis
from taskflow.stores.redis import RedisStore
from taskflow.testing import ManualClock
from taskflow.testing.histories import live
from tests.servers import RedisServer, running

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    yield from running("valkey")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "PIECE_NODES", 4)


@pytest.fixture
def store(server: RedisServer, clock: ManualClock) -> Iterator[RedisStore]:
    store = RedisStore(f"{server.url}?namespace=p{next(_numbers)}", clock=clock)
    yield store
    store.close()


def graph(count: int, run: str = "run", names: str = "") -> Plan:
    """Nodes with up to two predecessors among those before, named in any order; by the run, or by `names`."""
    chance, names = random.Random(3), names or run
    nodes = [
        Node(
            NodeId(f"{names}{i}"),
            "fn",
            b"args",
            tuple(Edge(NodeId(f"{names}{p}")) for p in chance.sample(range(i), min(2, i))),
        )
        for i in range(count)
    ]
    chance.shuffle(nodes)
    return Plan(RunId(run), tuple(nodes))


def want(slots: int = 8) -> Want:
    return Want(WorkerId("w"), ("default",), slots)


def run_all(store: RedisStore) -> list[str]:
    """Run what there is; the names of the nodes in the order in which they were claimed."""
    order = []
    while leases := store.claim(want()):
        order += [str(lease.key.node) for lease in leases]
        store.settle([Settlement(lease.key, (Outcome(0, 1, Kind.SUCCEEDED, b"v"),)) for lease in leases])
    return order


def break_off(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, at: int, error: type[BaseException]
) -> None:
    """That is raised in place of a step that assembles a plan, after so many of them."""
    step, count = store._step, itertools.count()

    def breaking(verb: str, *given: object) -> object:
        if verb == "assemble" and next(count) == at:
            raise error
        return step(verb, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_step", breaking)


def claimed_meanwhile(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> list[Lease]:
    """What can be claimed between the pieces of a plan."""
    step, claimed = store._step, list[Lease]()

    def watched(verb: str, *given: object) -> object:
        if verb == "assemble":
            claimed.extend(store.claim(want()))
        return step(verb, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_step", watched)
    return claimed


def test_a_plan_that_is_handed_over_twice_at_once_is_there_once(store: RedisStore) -> None:
    store.submit([graph(3), graph(3)])

    assert len(run_all(store)) == 3
    assert [run.id for run in store.runs()] == ["run"]


def test_plans_that_are_handed_over_at_once_share_no_node(store: RedisStore) -> None:
    first = graph(2, "one")

    with pytest.raises(GraphError, match="given once"):
        store.submit([first, Plan(RunId("two"), first.nodes)])

    assert list(store.runs()) == []


def test_a_plan_in_pieces_runs_in_order(store: RedisStore) -> None:
    plan = graph(50)

    store.submit([plan])
    order = run_all(store)

    at = {name: number for number, name in enumerate(order)}
    assert len(order) == 50
    assert all(at[edge.parent] < at[node.id] for node in plan.nodes for edge in node.edges)
    assert store.runs()[0].state is State.SUCCEEDED
    assert all(well for what, well, _ in store.check())
    stage = f"stage:{plan.nodes[0].id}"
    assert not store._ask("EXISTS", *(store._key(name) for name in (stage, "hold:run", "assembling")))


def test_nothing_of_it_runs_before_all_of_it_is_there(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = claimed_meanwhile(store, monkeypatch)
    store.submit([graph(20)])

    assert claimed == []
    assert len(run_all(store)) == 20


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_client_that_dies_in_the_middle_leaves_nothing_that_runs(
    store: RedisStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    break_off(store, monkeypatch, steps, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        store.submit([graph(20)])

    assert store.claim(want()) == []
    assert store.runs() == []
    clock.advance(121)
    store.reap()
    assert store.claim(want()) == []
    assert not store._ask("EXISTS", store._key("n:run"), store._key("assembling"))


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_submit_that_is_repeated_goes_on(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    break_off(store, monkeypatch, steps, ConnectionError)
    with pytest.raises(ConnectionError):
        store.submit([graph(20)])
    store.submit([graph(20)])
    store.submit([graph(20)])

    assert sorted(run_all(store)) == sorted(f"run{i}" for i in range(20))


def test_a_piece_whose_answer_was_lost_is_there_once(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = store._step

    def twice(verb: str, *given: object) -> object:
        step(verb, *given)  # type: ignore[arg-type]
        return step(verb, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(store, "_step", twice)
        store.submit([graph(20)])

    assert sorted(run_all(store)) == sorted(f"run{i}" for i in range(20))
    assert all(well for what, well, _ in store.check())


@pytest.mark.parametrize("steps", [0, 1, 3, 99])
@pytest.mark.parametrize("pieces", [1, 3])
def test_of_a_run_that_two_clients_have_drawn_one_drawing_is_there(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, pieces: int, steps: int
) -> None:
    """The second comes when the first has staged some pieces, and dies after some steps, or does not."""
    other = RedisStore(store.url, clock=store._clock)
    stage, staged = store._stage, itertools.count(1)

    def between(*given: object) -> None:
        stage(*given)  # type: ignore[arg-type]
        if next(staged) == pieces:
            with suppress(KeyboardInterrupt):
                other.submit([graph(20, names="other")])

    monkeypatch.setattr(store, "_stage", between)
    break_off(other, monkeypatch, steps, KeyboardInterrupt)
    store.submit([graph(20)])
    other.close()

    name = "other" if steps else "run"
    assert sorted(run_all(store)) == sorted(f"{name}{i}" for i in range(20))
    assert store.runs()[0].state is State.SUCCEEDED
    left = store._ask("KEYS", store._key("stage:*"))
    assert len(left) == (0 if steps else 1), "what a client has left that died before it began"


def test_a_plan_of_which_the_rest_is_gone_does_not_begin(
    store: RedisStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(store, monkeypatch, 2, ConnectionError)
    with pytest.raises(ConnectionError):
        store.submit([graph(20)])
    store._ask("DEL", store._key(f"stage:{graph(20).nodes[0].id}"))

    with pytest.raises(UsageError, match="anew"):
        store.submit([graph(20)])
    clock.advance(121)
    store.reap()
    store.sweep(age_s=1000, size_bytes=1 << 40)
    assert store.claim(want()) == []
    assert store.runs() == []
    store.submit([graph(20)])
    assert len(run_all(store)) == 20


def test_what_it_needs_of_other_runs_has_to_be_there(store: RedisStore) -> None:
    nodes = [
        Node(NodeId(f"n{i}"), "fn", b"args", (Edge(NodeId("elsewhere")),) if i == 9 else ())
        for i in range(10)
    ]

    with pytest.raises(UnknownNode, match="n9 depends on elsewhere"):
        store.submit([Plan(RunId("run"), tuple(nodes))])
    assert store.runs() == []
    assert store.claim(want()) == []

    store.submit([Plan(RunId("other"), (Node(NodeId("elsewhere"), "fn", b"args"),))])
    store.submit([Plan(RunId("run"), tuple(nodes))])
    assert len(run_all(store)) == 11


def test_who_waits_for_some_items_of_a_later_piece_is_released_by_these(store: RedisStore) -> None:
    waiting = tuple(
        Node(NodeId(f"w{i}"), "fn", b"args", (Edge(NodeId("map"), EdgeMode.AFTER, i, i + 1),))
        for i in range(6)
    )
    array = Node(NodeId("map"), "fn", b"args", (), 6, True)
    store.submit([Plan(RunId("run"), (*waiting, array))])

    (lease,) = store.claim(want(1))
    store.settle([Settlement(lease.key, (Outcome(0, 1, Kind.SUCCEEDED, b"v"),))])

    states = {node.id: node.state for node in store.snapshot(RunId("run"))[0].nodes}
    assert states["w0"] is State.QUEUED
    assert {states[f"w{i}"] for i in range(1, 6)} == {State.BLOCKED}


@pytest.mark.parametrize("comes_first", [True, False])
def test_who_waits_for_items_that_have_their_results_begins_with_the_rest(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, comes_first: bool
) -> None:
    waiting = Node(NodeId("waiting"), "fn", b"args", (Edge(NodeId("map"), EdgeMode.AFTER, 1, 4),))
    given = ((0, 2, b"values"), (2, 4, b"values"))
    array = Node(NodeId("map"), "fn", b"args", (), 6, True, given=given)
    others = graph(10).nodes
    first, last = (array, waiting) if comes_first else (waiting, array)
    claimed = claimed_meanwhile(store, monkeypatch)
    store.submit([Plan(RunId("run"), (first, *others[:5], last, *others[5:]))])

    assert claimed == []
    states = {node.id: node.state for node in store.snapshot(RunId("run"))[0].nodes}
    assert states["waiting"] is State.QUEUED


@pytest.mark.timeout(600)
def test_plans_in_pieces_live_as_the_oracle_says(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "PIECE_NODES", 2)

    def opened(clock: ManualClock) -> RedisStore:
        return RedisStore(f"{server.url}?namespace=h{next(_numbers)}", clock=clock)

    live(opened, examples=8, steps=25, shrink=False)
